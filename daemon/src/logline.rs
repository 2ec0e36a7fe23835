//! The former name of [`rate_limit::LogLimiter`](crate::rate_limit::LogLimiter).

pub use crate::rate_limit::LogLimiter as Limited;
