//! The viewer: UDP datagrams become frames, frames become pictures, pictures come to the screen.

// Not forbidden, as elsewhere: `window/awake.rs` takes two addresses from winit.
#![deny(unsafe_code)]

mod canvas;
mod card;
pub mod config;
pub mod cover;
pub mod decode;
pub mod engine;
pub mod found_relays;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grey;
pub mod histogram;
pub mod marker;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
mod mini_relay;
pub mod overlay;
pub mod picture;
pub mod readings;
mod ready;
pub mod record;
pub mod relay_keys;
pub mod scene;
pub mod stats;
pub mod tcp;
pub mod trace;
pub mod track;
pub mod udp;
pub mod verdict;
pub mod view;
pub mod viewer;
pub mod window;
