//! The real engines without processes, networks or a real clock: the promises that the simulator shows (the name of such a
//! test begins with its promise), what lossy links cost, and what a frame allocates.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

mod allocations;
mod clocks;
mod congestion;
mod integrity;
mod keys;
mod large_frames;
mod loss;
mod oracle;
mod paths;
mod random_cases;
mod replays;
mod tree;

use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
