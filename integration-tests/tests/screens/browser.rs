//! The relay's page in a real browser: headless Chromium looks at real sources through a real relay. And other WebRTC clients.

mod appearance;
mod clients;
mod controls;
mod directing;
mod fixture;
mod grids;
mod interaction;
mod networks;
mod page_units;
mod staleness;
mod video;
