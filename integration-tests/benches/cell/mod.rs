//! Some work done again and again for a while.

use crate::measure::cpu_nanos;

/// Does `work` until it has taken `nanos` of thread CPU time: how many of them one call took.
pub(crate) fn cell(nanos: u64, work: &mut dyn FnMut()) -> f64 {
    let start = cpu_nanos();
    let mut calls = 0_u32;

    loop {
        work();
        calls += 1;
        let spent = cpu_nanos() - start;
        if spent >= nanos {
            return spent as f64 / f64::from(calls);
        }
    }
}
