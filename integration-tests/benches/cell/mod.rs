//! What some work costs: thread CPU time, which a busy neighbour disturbs least.

use rustix::time::{ClockId, clock_gettime};

/// Some work done again and again for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Thread CPU time of one call.
    pub(crate) nanos: f64,
    /// How often it was done.
    pub(crate) calls: u32,
}

/// Does `work` until it has taken `nanos` of thread CPU time.
pub(crate) fn cell(nanos: u64, work: &mut dyn FnMut()) -> Cell {
    let (start, mut calls) = (cpu_nanos(), 0_u32);
    loop {
        work();
        calls += 1;
        let spent = cpu_nanos() - start;
        if spent >= nanos {
            return Cell { nanos: spent as f64 / f64::from(calls), calls };
        }
    }
}

/// The thread CPU time spent so far.
pub(crate) fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The middle one; none of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
