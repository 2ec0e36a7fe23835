//! Two things measured against each other in one run.

use crate::cell::cell;
use crate::measure::median;

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
        cells[0].push(cell(CELL_NANOS, &mut ours));
        cells[1].push(cell(CELL_NANOS, &mut theirs));
    }

    let [ours, theirs] = cells.map(|mut cells| {
        // The first round warms up.
        cells.remove(0);
        median(cells).expect("there are rounds")
    });

    Row { what, ours, theirs }
}

/// Prints a table, then JSON lines.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "{:<46} {:>12} {:>12} {:>7}",
        "", "ours, us", "other, us", "ratio"
    );

    for row in rows {
        println!(
            "{:<46} {:>12.2} {:>12.2} {:>7.2}",
            row.what,
            row.ours / 1e3,
            row.theirs / 1e3,
            row.ours / row.theirs
        );
    }

    for row in rows {
        println!(
            r#"{{"bench":"{}","ratio":{:.3}}}"#,
            row.what,
            row.ours / row.theirs
        );
    }
}
