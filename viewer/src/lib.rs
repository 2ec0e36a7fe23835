//! The viewer: UDP datagrams become frames, frames become pictures, pictures come to the screen.

pub mod decode;
pub mod feed;
pub mod picture;
