//! What source, viewer and relay share about pictures: scaling, antialiased text, and the markers of a JPEG.
//!
//! It is a crate of its own because `fast_image_resize` compiles its kernels into each crate that calls it. They were two
//! thirds of the source's code, compiled once for the program and again for its tests.

#![forbid(unsafe_code)]

pub mod font;
pub mod markers;
mod scaler;
pub mod text;

pub use scaler::{Part, Place, Scaler, Size};
