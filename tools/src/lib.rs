//! Programs for those who run or develop Fanlight: a load tester and a GIF recorder. They are viewers, built on the
//! viewer's library.

#![forbid(unsafe_code)]

pub mod gif;
pub mod load;
