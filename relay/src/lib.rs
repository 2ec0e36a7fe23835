//! The relay: newest frame of each source, cut once, fanned out to every viewer over UDP.

// Not forbidden, as elsewhere: `udp/sendmmsg.rs` makes one call to the kernel that no crate offers.
#![deny(unsafe_code)]

pub mod config;
pub mod direct;
pub mod engine;
mod event_command;
pub mod link;
pub mod memory;
mod outputs;
mod own_http;
pub mod ready;
mod relay;
pub mod scene;
mod start_error;
pub mod udp;
pub mod upstream;

pub use relay::Relay;
pub use start_error::StartError;
