//! The promises that the simulator shows: the real engines on a virtual clock. Each test's name begins with its promise.

mod clocks;
mod congestion;
mod integrity;
mod keys;
mod paths;
mod replays;
mod storms;

use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
