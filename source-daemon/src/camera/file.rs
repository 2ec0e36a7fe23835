//! JPEGs from files.
