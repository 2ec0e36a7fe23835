//! What a program writes, line by line with the time it came.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

use crate::wait::Deadline;

/// Lines kept of one program; a test that makes more has found a flood of log lines.
const MAX_LINES: usize = 200_000;

/// A line of a program's output.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was read.
    pub time: Time,
    /// `out`, `err`, or `fixture` for what was done to the program.
    pub from: &'static str,
    /// Its text, without the line feed.
    pub text: String,
}

/// All lines of a program, over its restarts. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Vec<Line>>,
    /// Pipes that have not ended.
    pipes: AtomicUsize,
    /// There are more lines, or fewer pipes.
    changed: Condvar,
}

impl Log {
    /// Reads `pipe` to its end on a thread of its own.
    pub(crate) fn read(&self, from: &'static str, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        self.shared.pipes.fetch_add(1, Ordering::Relaxed);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while pipe
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|count| count > 0)
            {
                log.push(
                    from,
                    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned(),
                );
                bytes.clear();
            }

            let _lines = log.lines();
            log.shared.pipes.fetch_sub(1, Ordering::Relaxed);
            log.shared.changed.notify_all();
        });
    }

    /// Waits until all that was written has been read: a process is seen to end before that. Children that live on keep
    /// its pipes open, so for `limit` at most.
    pub(crate) fn wait_read(&self, limit: Duration) {
        let deadline = Deadline::after(limit);
        let mut lines = self.lines();
        while self.shared.pipes.load(Ordering::Relaxed) > 0 && !deadline.is_over() {
            let waited = self.shared.changed.wait_timeout(lines, deadline.left());
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn push(&self, from: &'static str, text: String) {
        let mut lines = self.lines();
        assert!(
            lines.len() < MAX_LINES,
            "a program wrote more than {MAX_LINES} lines; the last: {text}"
        );

        lines.push(Line {
            time: clock::now(),
            from,
            text,
        });

        self.shared.changed.notify_all();
    }

    /// How many lines there are so far; lines from there on are those to come.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.lines().len()
    }

    /// The lines from `mark` on that contain `text`.
    #[must_use]
    pub fn matching(&self, mark: usize, text: &str) -> Vec<Line> {
        self.lines()[mark..]
            .iter()
            .filter(|line| line.text.contains(text))
            .cloned()
            .collect()
    }

    /// Waits for the first line from `mark` on that `pick` makes something of.
    pub fn wait_from<T>(
        &self,
        mark: usize,
        limit: Duration,
        mut pick: impl FnMut(&Line) -> Option<T>,
    ) -> Option<T> {
        let deadline = Deadline::after(limit);
        let mut next = mark;
        let mut lines = self.lines();

        loop {
            if let Some(found) = lines[next..].iter().find_map(&mut pick) {
                return Some(found);
            }

            next = lines.len();
            if deadline.is_over() {
                return None;
            }

            let waited = self.shared.changed.wait_timeout(lines, deadline.left());
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The whole log as text, times in seconds since `origin`.
    #[must_use]
    pub fn render(&self, origin: Time) -> String {
        let lines = self.lines();
        let render = |line: &Line| {
            format!(
                "  {:8.3} {:7} {}\n",
                line.time.saturating_since(origin).as_secs_f64(),
                line.from,
                line.text
            )
        };

        lines.iter().map(render).collect()
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.shared
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
