//! JPEGs from standard input or a child command.
