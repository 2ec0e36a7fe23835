//! Promises that are measured in real time. `./dev promises` runs these tests, one after the other; `./dev test` does not:
//! they are marked `#[ignore = "./dev promises"]`.
//!
//! What a busy machine does to a measurement is measured beside it: see [`Control`].
//!
//! ```no_run
//! use std::time::Duration;
//! use fanlight_promise::judge;
//!
//! judge("P7: the first frame", |measurement| {
//!     let took = Duration::from_millis(40);
//!     measurement.at_most("from the request to the first frame", Duration::from_millis(150), took);
//! });
//! ```

#![forbid(unsafe_code)]

mod control;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

pub use control::Control;

/// A busy machine may spoil a measurement. A broken promise spoils each.
const ATTEMPTS: usize = 3;

/// Measures until every bound holds, at most three times, and prints a table each time.
///
/// What `measure` asserts by itself is not measured again: it must hold on any machine.
///
/// # Panics
/// When a bound was broken in each measurement.
pub fn judge(promise: &str, mut measure: impl FnMut(&mut Measurement)) {
    for attempt in 1..=ATTEMPTS {
        let mut measurement = Measurement {
            rows: Vec::new(),
            control: Control::start(),
        };

        measure(&mut measurement);

        let load = measurement.control.load();
        let table = measurement.table(load);
        let title =
            format!("{promise} (measurement {attempt} of at most {ATTEMPTS}; control: {load})");
        // Not by the macro, whose output cargo hides when a test passes.
        let _ = write!(std::io::stderr(), "\n{title}\n{table}");
        if measurement.holds(load) {
            return;
        }
    }

    panic!("{promise}: broken in each of {ATTEMPTS} measurements; the tables are above");
}

/// One measurement and its control.
#[derive(Debug)]
pub struct Measurement {
    rows: Vec<Row>,
    control: Control,
}

#[derive(Debug)]
struct Row {
    what: String,
    verdict: Verdict,
}

/// What was promised and what was measured.
#[derive(Debug)]
enum Verdict {
    /// The bound is stretched by the load of the machine.
    AtMost { bound: Duration, measured: Duration },
    /// The bound comes from a control of the same kind.
    Compared {
        bound: String,
        measured: String,
        control: String,
        holds: bool,
    },
}

impl Measurement {
    /// Something may take at most `bound` on an idle machine.
    pub fn at_most(&mut self, what: impl Into<String>, bound: Duration, measured: Duration) {
        self.rows.push(Row {
            what: what.into(),
            verdict: Verdict::AtMost { bound, measured },
        });
    }

    /// The longest of `measured` may be at most `bound` on an idle machine; the median is printed, too.
    ///
    /// # Panics
    /// When nothing was measured.
    pub fn all_at_most(
        &mut self,
        what: impl Into<String>,
        bound: Duration,
        measured: impl IntoIterator<Item = Duration>,
    ) {
        let mut measured: Vec<Duration> = measured.into_iter().collect();
        measured.sort_unstable();
        let worst = *measured.last().expect("something was measured");
        let median = measured[measured.len() / 2];
        let what = format!(
            "{}, worst of {} (median {median:.1?})",
            what.into(),
            measured.len()
        );

        self.at_most(what, bound, worst);
    }

    /// A figure that `holds` against `bound`, where `control` is what the same figure is without what is tested.
    pub fn compare(
        &mut self,
        what: impl Into<String>,
        bound: impl Into<String>,
        measured: impl Into<String>,
        control: impl Into<String>,
        holds: bool,
    ) {
        self.rows.push(Row {
            what: what.into(),
            verdict: Verdict::Compared {
                bound: bound.into(),
                measured: measured.into(),
                control: control.into(),
                holds,
            },
        });
    }

    fn holds(&self, load: control::Load) -> bool {
        self.rows.iter().all(|row| row.verdict.holds(load))
    }

    fn table(&self, load: control::Load) -> String {
        let mut table = String::new();
        let mut line = |cells: [&str; 5]| {
            let [what, bound, measured, control, verdict] = cells;
            let _ = writeln!(
                table,
                "  {what:<60} {bound:>12} {measured:>16} {control:>16}  {verdict}"
            );
        };

        line(["promise", "bound", "measured", "control", ""]);
        for Row { what, verdict } in &self.rows {
            let holds = if verdict.holds(load) {
                "holds"
            } else {
                "BROKEN"
            };

            match verdict {
                Verdict::AtMost { bound, measured } => line([
                    what,
                    &format!("{bound:?}"),
                    &format!("{measured:.1?}"),
                    &format!("<= {:.1?}", load.stretch(*bound)),
                    holds,
                ]),
                Verdict::Compared {
                    bound,
                    measured,
                    control,
                    ..
                } => line([what, bound, measured, control, holds]),
            }
        }

        table
    }
}

impl Verdict {
    fn holds(&self, load: control::Load) -> bool {
        match self {
            Self::AtMost { bound, measured } => *measured <= load.stretch(*bound),
            Self::Compared { holds, .. } => *holds,
        }
    }
}
