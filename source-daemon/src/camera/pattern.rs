//! A test picture.
