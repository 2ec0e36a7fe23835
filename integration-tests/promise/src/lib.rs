//! Promises that are measured in real time. `./dev promises` runs these tests; `./dev test` does not: they are marked
//! `#[ignore = "./dev promises"]`.
//!
//! What a busy machine does to a measurement is measured beside it: see [`Control`]. Most promises wait for most of their time.
//! They are measured beside each other at first, and alone when that does not show that they hold.
//!
//! `FANLIGHT_PROMISE_TABLES` names a folder for the rows of each promise as Markdown: `./dev promises write` makes a table of them.
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
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

pub use control::{Control, Load};

/// A busy machine may spoil a measurement. A broken promise spoils each.
const ATTEMPTS: usize = 3;

/// As much are bounds stretched at most beside other measurements, so that what holds then would hold on a calm machine.
const CALM: Load = Load {
    slowdown: 1.25,
    longest_wait: Duration::from_millis(10),
};

/// Read while measurements go on beside each other, written while one goes on alone.
static MACHINE: RwLock<()> = RwLock::new(());

/// Measures beside others of this program. When a bound does not hold that is hardly stretched, it measures alone until
/// every bound holds, at most three times. Prints a table each time.
///
/// What `measure` asserts by itself is not measured again: it must hold on any machine.
///
/// # Panics
/// When a bound was broken in each measurement that was made alone.
pub fn judge(promise: &str, mut measure: impl FnMut(&mut Measurement)) {
    let holds = {
        let _machine = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
        Measurement::make(promise, "beside others", Some(CALM), &mut measure)
    };

    if !holds {
        Alone::wait().judge(promise, measure);
    }
}

/// The machine is for one test: nothing else of this program is measured. For what leaves no processor time to others or
/// needs all of it.
#[derive(Debug)]
pub struct Alone(#[expect(dead_code, reason = "a guard")] RwLockWriteGuard<'static, ()>);

impl Alone {
    /// Waits until no other test measures.
    #[must_use]
    pub fn wait() -> Self {
        Self(MACHINE.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Measures until every bound holds, at most three times.
    ///
    /// # Panics
    /// When a bound was broken in each measurement.
    pub fn judge(&self, promise: &str, mut measure: impl FnMut(&mut Measurement)) {
        let holds = (1..=ATTEMPTS).any(|attempt| {
            let which = format!("measurement {attempt} of at most {ATTEMPTS}");
            Measurement::make(promise, &which, None, &mut measure)
        });

        assert!(
            holds,
            "{promise}: broken in each of {ATTEMPTS} measurements; the tables are above"
        );
    }
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
    /// Measures, prints the table, and says whether every bound held, stretched by the load or by `most` if that is less.
    fn make(
        promise: &str,
        which: &str,
        most: Option<Load>,
        measure: &mut impl FnMut(&mut Self),
    ) -> bool {
        let mut measurement = Self {
            rows: Vec::new(),
            control: Control::start(),
        };

        measure(&mut measurement);

        let load = measurement.control.load();
        let stretch = most.map_or(load, |most| load.at_most(most));
        let rows = measurement.rows(stretch);
        let table = text(&rows);
        // Not by the macro, whose output cargo hides when a test passes.
        let _ = write!(
            std::io::stderr(),
            "\n{promise} ({which}; control: {load})\n{table}"
        );
        if let Some(folder) = std::env::var_os("FANLIGHT_PROMISE_TABLES") {
            record(Path::new(&folder), promise, &rows);
        }
        measurement.holds(stretch)
    }

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

    fn holds(&self, load: Load) -> bool {
        self.rows.iter().all(|row| row.verdict.holds(load))
    }

    /// What was measured, bound, measured, control and verdict.
    fn rows(&self, load: Load) -> Vec<[String; 5]> {
        let row = |Row { what, verdict }: &Row| {
            let holds = if verdict.holds(load) {
                "holds"
            } else {
                "BROKEN"
            };
            let [bound, measured, control] = match verdict {
                Verdict::AtMost { bound, measured } => [
                    format!("{bound:?}"),
                    format!("{measured:.1?}"),
                    format!("<= {:.1?}", load.stretch(*bound)),
                ],
                Verdict::Compared {
                    bound,
                    measured,
                    control,
                    ..
                } => [bound.clone(), measured.clone(), control.clone()],
            };
            [what.clone(), bound, measured, control, holds.to_owned()]
        };
        self.rows.iter().map(row).collect()
    }
}

/// A table for a terminal.
fn text(rows: &[[String; 5]]) -> String {
    let head = ["promise", "bound", "measured", "control", ""].map(str::to_owned);
    let lines = std::iter::once(&head).chain(rows);
    lines.fold(String::new(), |mut table, cells| {
        let [what, bound, measured, control, verdict] = cells;
        let _ = writeln!(
            table,
            "  {what:<60} {bound:>12} {measured:>16} {control:>16}  {verdict}"
        );
        table
    })
}

/// Writes a file of `folder` with the rows of a table in Markdown. That of a later measurement replaces it.
fn record(folder: &Path, promise: &str, rows: &[[String; 5]]) {
    let name = promise.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let lines = rows.iter().enumerate().map(|(number, row)| {
        let of = if number == 0 { promise } else { "" };
        format!("| {of} | {} |\n", row.join(" | "))
    });
    let written = fs::write(folder.join(name + ".md"), lines.collect::<String>());
    written.expect("the folder for the tables of promises can be written to");
}

impl Verdict {
    fn holds(&self, load: Load) -> bool {
        match self {
            Self::AtMost { bound, measured } => *measured <= load.stretch(*bound),
            Self::Compared { holds, .. } => *holds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often something is measured that holds in the last of so many measurements.
    fn measured(holds_at: usize) -> usize {
        let mut count = 0;
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            judge("a test of promises", |measurement| {
                count += 1;
                measurement.compare("counted", "", count.to_string(), "", count == holds_at);
            });
        }));
        assert_eq!(judged.is_ok(), holds_at <= 1 + ATTEMPTS);
        count
    }

    #[test]
    fn what_is_broken_beside_others_is_measured_three_times_alone_and_is_broken_then() {
        for holds_at in 2..=1 + ATTEMPTS {
            assert_eq!(measured(holds_at), holds_at);
        }
        assert_eq!(measured(9), 1 + ATTEMPTS);
    }

    #[test]
    fn rows_are_written_for_a_table_in_markdown() {
        let folder = std::env::temp_dir().join(format!("fanlight-promise-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let row = |what: &str| [what, "1s", "2s", "", "BROKEN"].map(str::to_owned);
        record(&folder, "P1: joins", &[row("first"), row("next")]);
        let written = fs::read_to_string(folder.join("P1--joins.md")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let expected =
            "| P1: joins | first | 1s | 2s |  | BROKEN |\n|  | next | 1s | 2s |  | BROKEN |\n";
        assert_eq!(written, expected);
    }

    #[test]
    fn nobody_measures_beside_who_is_alone() {
        let alone = Alone::wait();
        let other = std::thread::spawn(|| judge("another", |_| {}));
        alone.judge("alone", |_| assert!(!other.is_finished()));
        assert!(!other.is_finished());
        drop(alone);
        other.join().unwrap();
    }
}
