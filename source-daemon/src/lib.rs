//! Captures pictures, makes JPEGs of them and publishes them.

#![forbid(unsafe_code)]

pub mod asking;
pub mod camera;
pub mod config;
pub mod jpeg;
pub mod overlay;
pub mod picture;
pub mod program;
pub mod proof;
pub mod publisher;
pub mod source;
pub mod supervisor;
