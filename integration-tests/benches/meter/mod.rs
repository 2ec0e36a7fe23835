//! Two things measured against each other in one run.

use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 15;

/// Thread CPU time that one cell takes at least.
const CELL_NANOS: u64 = 10_000_000;

/// What came out.
pub(crate) struct Row {
    what: &'static str,
    ours: f64,
    theirs: f64,
}

/// Interleaves `ours` and `theirs` and keeps the median CPU time of one call of each.
pub(crate) fn compare(what: &'static str, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Row {
    let mut cells = [Vec::new(), Vec::new()];
    for _ in 0..=ROUNDS {
        cells[0].push(cell(&mut ours));
        cells[1].push(cell(&mut theirs));
    }
    let [ours, theirs] = cells.map(|mut cell| {
        // The first round warms up.
        cell.remove(0);
        cell.sort_by(f64::total_cmp);
        cell[cell.len() / 2]
    });
    Row { what, ours, theirs }
}

/// Prints a table, then JSON lines.
pub(crate) fn print(rows: &[Row]) {
    println!("{:<46} {:>12} {:>12} {:>7}", "", "ours, us", "other, us", "ratio");
    for row in rows {
        println!("{:<46} {:>12.2} {:>12.2} {:>7.2}", row.what, row.ours / 1e3, row.theirs / 1e3, row.ours / row.theirs);
    }
    for row in rows {
        println!(r#"{{"bench":"{}","ratio":{:.3}}}"#, row.what, row.ours / row.theirs);
    }
}

/// Nanoseconds of thread CPU time that one call takes, over a cell of many.
fn cell(work: &mut impl FnMut()) -> f64 {
    let (start, mut calls) = (cpu_nanos(), 0_u32);
    loop {
        work();
        calls += 1;
        let spent = cpu_nanos() - start;
        if spent >= CELL_NANOS {
            return spent as f64 / f64::from(calls);
        }
    }
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
