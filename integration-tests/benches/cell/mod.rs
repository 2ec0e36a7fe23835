//! Some work done again and again for a while.

use crate::measure::cpu_nanos;

/// See the module.
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
