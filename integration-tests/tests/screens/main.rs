//! What people see: the viewer's window on real X servers and the relay's page in a real browser.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

mod browser;
mod cards;
mod desktop;
mod directed;
mod foreign_jpegs;
mod grid;
mod kiosk;
mod stopped;
mod streams;
mod video_wall;
mod window;
