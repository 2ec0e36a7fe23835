//! JPEG coding.
