//! The relay's page in a real browser: headless Chromium looks at real sources through a real relay.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

mod grids;
mod honesty;
mod looks;
mod manners;
mod networks;
mod parts;
mod scene;
