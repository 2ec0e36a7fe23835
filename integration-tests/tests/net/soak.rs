//! P12: what goes on for long uses no more at the end than at the begin.

use std::time::Duration;

use fanlight_tests::promise::judge;
use fanlight_tests::soak::{run, verdicts};
use fanlight_tests::usage::MIB;

/// Long enough for twelve restarts of the source, and thousands of datagrams between two of them.
const LENGTH: Duration = Duration::from_secs(120);

/// Less than one decoded picture of the window (3.5 MiB). In so short a time what an allocator keeps of pictures whose sizes change
/// differs by more than 1 MiB from one run to the next, which is the bound of an hour (`./dev soak`): 1.3, 1.5 and 2.6 MiB were seen.
const MOST_GROWTH: f64 = (3 * MIB) as f64;

#[test]
#[ignore = "./dev promises"]
fn memory_descriptors_and_threads_are_flat_in_a_soak_of_two_minutes() {
    judge("P12: soak of two minutes", |measurement| {
        let Some(rows) = run(LENGTH, |_| {}) else {
            return;
        };

        let mib = |bytes: f64| format!("{:+.2} MiB", bytes / MIB as f64);
        let both = |[before, after]: [f64; 2]| format!("{before:.1} to {after:.1}");
        for verdict in verdicts(&rows) {
            measurement.compare(
                format!("{}: growth; descriptors, threads", verdict.program),
                format!("<= {}; + 2", mib(MOST_GROWTH)),
                format!(
                    "{}; {}, {}",
                    mib(verdict.growth),
                    both(verdict.descriptors),
                    both(verdict.threads)
                ),
                "",
                verdict.is_flat_within(MOST_GROWTH),
            );
        }
    });
}
