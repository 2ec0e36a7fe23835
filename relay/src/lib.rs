//! The relay: newest frame of each source, cut once, fanned out to every viewer over UDP.

#![forbid(unsafe_code)]

pub mod config;
pub mod engine;
mod relay;
pub mod udp;
pub mod upstream;

pub use relay::{Relay, StartError};
