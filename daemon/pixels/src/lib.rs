//! What source, viewer and relay share about pictures: scaling, antialiased text, and the markers of a JPEG.
//!
//! It is a crate of its own so that it can be compiled for speed where the programs are compiled quickly.

#![forbid(unsafe_code)]

pub mod font;
pub mod markers;
mod scaler;
pub mod text;

pub use scaler::{Part, Place, Scaler, Size};
