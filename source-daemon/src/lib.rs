//! Captures pictures, makes JPEGs of them and publishes them.

#![forbid(unsafe_code)]

pub mod camera;
pub mod config;
pub mod controls;
pub mod jpeg;
pub mod orientation;
pub mod overlay;
pub mod picture;
pub mod pixel_buffer;
pub mod program;
mod remote_controls;
pub mod source;
pub mod status_client;
pub mod stream_parts;
pub mod supervisor;
pub mod verification;

pub use fanlight_publisher as publisher;
