//! Whether a program that goes on uses the same at the end as at the begin.

use super::{Row, STEADY};
use crate::usage::MIB;

/// Bytes that a program's own memory may grow by, from the first third of what is judged to the last.
pub const MOST_GROWTH: f64 = MIB as f64;

/// Descriptors and threads that there may be more: what comes and goes is there when one looks, or not.
const MOST_MORE: f64 = 2.0;

/// What became of one program.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Which.
    pub program: &'static str,
    /// Its own memory at the end, in bytes, and what it grew by.
    pub memory: f64,
    /// See there.
    pub growth: f64,
    /// Bytes of growth an hour, as fast as it was.
    pub hourly: f64,
    /// Descriptors in the first third, and in the last.
    pub descriptors: [f64; 2],
    /// Threads, likewise.
    pub threads: [f64; 2],
    /// Per cent of a core.
    pub cpu: f64,
}

impl Verdict {
    /// Whether it is flat.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.is_flat_within(MOST_GROWTH)
    }

    /// Whether it is, where its memory may grow by so many bytes.
    #[must_use]
    pub fn is_flat_within(&self, most_growth: f64) -> bool {
        let is_back = |[before, after]: [f64; 2]| after <= before + MOST_MORE;
        self.growth <= most_growth && is_back(self.descriptors) && is_back(self.threads)
    }
}

/// One for each program of [`STEADY`]. The first quarter, in which memory is taken for the first time, is not judged; means of
/// thirds of the rest are compared, in each of which every size of picture comes equally often.
///
/// # Panics
/// When there are too few rows.
#[must_use]
pub fn verdicts(rows: &[Row]) -> Vec<Verdict> {
    STEADY
        .into_iter()
        .map(|program| verdict(program, rows))
        .collect()
}

fn verdict(program: &'static str, rows: &[Row]) -> Verdict {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.program == program).collect();
    let judged = &rows[rows.len() / 4..];
    let third = judged.len() / 3;
    assert!(third > 0, "{program}: {} rows are too few", rows.len());
    let (first, last) = (&judged[..third], &judged[judged.len() - third..]);
    let both = |of: fn(&Row) -> f64| [mean(first, of), mean(last, of)];

    let [before, after] = both(|row| row.usage.private as f64);
    let [from, to] = both(|row| row.at.as_secs_f64());
    let spent = |row: &Row| row.usage.cpu.as_secs_f64();
    let cpu = spent(judged[judged.len() - 1]) - spent(judged[0]);
    let lasted = judged[judged.len() - 1].at - judged[0].at;
    Verdict {
        program,
        memory: after,
        growth: after - before,
        hourly: (after - before) * 3600.0 / (to - from),
        descriptors: both(|row| row.usage.descriptors as f64),
        threads: both(|row| row.usage.threads as f64),
        cpu: 100.0 * cpu / lasted.as_secs_f64(),
    }
}

fn mean(rows: &[&Row], of: fn(&Row) -> f64) -> f64 {
    rows.iter().map(|row| of(row)).sum::<f64>() / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::usage::Usage;

    fn rows(private: fn(u64) -> u64, descriptors: fn(u64) -> usize) -> Vec<Row> {
        let row = |(second, program)| Row {
            at: Duration::from_secs(second),
            program,
            usage: Usage {
                resident: 0,
                private: private(second),
                descriptors: descriptors(second),
                threads: 9,
                cpu: Duration::from_millis(10 * second),
            },
            proportional: 0,
        };
        let seconds = (0..120).flat_map(|second| STEADY.map(|program| (second, program)));
        seconds.map(row).collect()
    }

    fn all_flat(rows: &[Row]) -> bool {
        verdicts(rows).iter().all(Verdict::is_flat)
    }

    #[test]
    fn what_swings_is_flat_and_what_climbs_is_not() {
        assert!(all_flat(&rows(|s| s % 10 * MIB, |s| 20 + (s % 3) as usize)));
        assert!(all_flat(&rows(|s| s.min(30) * MIB, |_| 20)));
        assert!(!all_flat(&rows(|s| s * MIB / 50, |_| 20)));
        assert!(!all_flat(&rows(|_| MIB, |s| 20 + (s / 20) as usize)));
    }

    #[test]
    fn growth_is_told_by_the_hour() {
        let verdict = verdicts(&rows(|s| s * 1000, |_| 3)).remove(0);
        assert!((verdict.hourly - 3_600_000.0).abs() < 1.0, "{verdict:?}");
        assert!((verdict.cpu - 1.0).abs() < 1e-9, "{verdict:?}");
    }
}
