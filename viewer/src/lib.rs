//! The viewer: UDP datagrams become frames, frames become pictures, pictures come to the screen.

mod canvas;
mod card;
pub mod decode;
pub mod feed;
pub mod picture;
pub mod window;
