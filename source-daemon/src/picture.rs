//! From a capture to the JPEG that is published.
