//! The relay's page in a real browser: headless Chromium looks at real sources through a real relay.

mod appearance;
mod fixture;
mod grids;
mod interaction;
mod networks;
mod page_units;
mod staleness;
mod video;
