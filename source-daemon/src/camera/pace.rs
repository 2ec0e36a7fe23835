//! The pace of inputs that have none of their own.
