//! Programs for those who run or develop Fanlight: a load tester. They are viewers, built on the viewer's library.

#![forbid(unsafe_code)]

pub mod load;
