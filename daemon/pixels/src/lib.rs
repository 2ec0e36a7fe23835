//! What source and viewer share when they write pixels: scaling, and text in an 8x8 bitmap font.
//!
//! It is a crate of its own because `fast_image_resize` compiles its kernels into each crate that calls it. They were two
//! thirds of the source's code, compiled once for the program and again for its tests.

#![forbid(unsafe_code)]

pub mod font;
mod scaler;
pub mod text;

pub use scaler::{Place, Scaler, Size};
