//! A log in files that rotate, for hosts without a journal.
//!
//! A thread of its own writes: a disk may take seconds to take a line, and no event loop waits for it. What the disk is
//! too slow for, or refuses, is counted, and the log says so where it goes on.

mod queue;
mod rotating;
mod size;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fanlight_proto::clock::Time;

use crate::clock;
use queue::Queue;
use rotating::Rotating;
pub use size::Size;

/// Most files of one log: what is deleted is renamed through all of them first.
pub const MAX_FILES: u16 = 100;

/// How often a file that could not be written is tried again, and one that could is looked for under its name.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the end of a program waits for its last lines: no longer than the service manager waits for the program.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// Where a log is to be kept, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The file in use. Older ones lie beside it, as `PATH.1` (the newest) and so on.
    pub path: PathBuf,
    /// A file that would be longer is rotated first, in bytes. Lines are never split.
    pub size: u64,
    /// How many files there are at most, the one in use among them; at least 1.
    pub files: u16,
}

/// Why there is no log file.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// The file cannot be opened for appending.
    #[error(
        "cannot write the log file {}: {error}: name a file (--log-file) in a directory that exists and that this user \
         may write to, or leave the flag out to log to standard error",
        .path.display()
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// What has the name is not a file.
    #[error("the log file {} is no regular file: name another (--log-file), or leave the flag out to log to standard error", .path.display())]
    NoFile {
        /// The name.
        path: PathBuf,
    },
    /// Another program has it open as its log.
    #[error("another program logs to {}: give each program a log file of its own (--log-file)", .path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file can be written, but its directory not, so that it could not be renamed.
    #[error(
        "cannot rotate the log file {}: this user may not write to its directory: let it, or keep one file that begins \
         anew when it is full (--log-files 1)",
        .path.display()
    )]
    Stuck {
        /// The file.
        path: PathBuf,
    },
    /// There is no thread to be had.
    #[error("cannot start the thread that writes the log: {0}")]
    NoThread(io::Error),
}

/// An open log file: give its [`writer`](Self::writer) to the log. Keep it to the end of the program: dropping it waits
/// until the last lines are written, but for 1 s at most.
#[derive(Debug)]
pub struct LogFile {
    queue: Arc<Queue>,
}

impl LogFile {
    /// Opens the file, appending to what is there, and starts the thread that writes it.
    ///
    /// # Errors
    /// When nothing could be logged, or not be rotated.
    pub fn open(plan: Plan) -> Result<Self, LogFileError> {
        let file = Rotating::open(plan)?;
        let queue = Arc::new(Queue::default());
        let filled = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || Keeper::new(file).keep(&filled));
        thread.map_err(LogFileError::NoThread)?;
        Ok(Self { queue })
    }

    /// Makes what takes one line each.
    pub fn writer(&self) -> impl Fn() -> Line + Send + Sync + 'static {
        let queue = Arc::clone(&self.queue);
        move || Line(Arc::clone(&queue))
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_LIMIT);
    }
}

/// Takes a line, whole, in one write. It never waits and never fails.
#[derive(Debug)]
pub struct Line(Arc<Queue>);

impl Write for Line {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.push(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes.
struct Keeper {
    file: Rotating,
    /// Lines that are not in the file since the last that is.
    missing: u64,
    /// Why, until a line could be written.
    failure: Option<String>,
    /// Until then the file is neither looked for nor tried again.
    quiet_until: Time,
}

impl Keeper {
    fn new(file: Rotating) -> Self {
        Self {
            file,
            missing: 0,
            failure: None,
            quiet_until: clock::now() + CHECK_INTERVAL,
        }
    }

    fn keep(mut self, queue: &Queue) {
        loop {
            let batch = queue.take();
            for line in &batch.lines {
                self.write(clock::now(), line);
            }
            self.missing += batch.dropped;
            self.tell_missing();
            queue.written();
        }
    }

    fn write(&mut self, now: Time, line: &[u8]) {
        let due = self.quiet_until <= now;
        if self.failure.is_some() && !due {
            self.missing += 1;
            return;
        }

        let found = if due {
            self.quiet_until = now + CHECK_INTERVAL;
            self.file.find_again()
        } else {
            Ok(())
        };

        match found.and_then(|()| self.file.append(line)) {
            Ok(()) => self.failure = None,
            Err(error) => self.fail(&error),
        }
    }

    /// Counts a line and tells the first failure of a row. Nobody may be reading, which is no reason to end.
    fn fail(&mut self, error: &io::Error) {
        self.missing += 1;
        let error = error.to_string();

        if self.failure.as_ref() != Some(&error) {
            let path = self.file.path().display();
            let _ = writeln!(
                io::stderr(),
                "cannot write the log file {path}: {error}: lines are lost until it works again"
            );
            self.failure = Some(error);
        }
    }

    /// A line into the log itself, by way of the log so that it looks like the others, once lines can be written.
    fn tell_missing(&mut self) {
        if self.failure.is_none() && self.missing > 0 {
            tracing::warn!(
                lines = std::mem::take(&mut self.missing),
                "lines of this log are missing before this one"
            );
        }
    }
}

/// `PATH.NUMBER`; `PATH` itself for 0.
fn numbered(path: &Path, number: u16) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        let mut suffix = String::new();
        write!(suffix, ".{number}").expect("a String takes what is written to it");
        name.push(suffix);
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_given_to_the_log_is_in_the_file_when_the_log_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.log");
        let log = LogFile::open(Plan {
            path: path.clone(),
            size: 10_000,
            files: 5,
        })
        .unwrap();

        let writer = log.writer();
        for number in 0..100 {
            writer()
                .write_all(format!("line {number}\n").as_bytes())
                .unwrap();
        }

        drop(log);
        let expected: String = (0..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_tried_again_once_a_second() {
        let mut keeper = Keeper::new(Rotating::at("/dev/full", 1_000_000, 1).unwrap());
        let start = Time::from_nanos(0);
        keeper.quiet_until = start + CHECK_INTERVAL;
        keeper.write(start, b"one\n");
        assert!(
            keeper
                .failure
                .as_deref()
                .is_some_and(|failure| failure.contains("No space")),
            "{:?}",
            keeper.failure
        );

        keeper.write(start, b"two\n");
        assert_eq!(keeper.missing, 2);
        assert_eq!(
            keeper.quiet_until,
            start + CHECK_INTERVAL,
            "nothing was tried in between"
        );

        keeper.write(start + CHECK_INTERVAL, b"three\n");
        assert_eq!(
            (keeper.missing, keeper.quiet_until),
            (3, start + 2 * CHECK_INTERVAL)
        );
    }

    #[test]
    fn a_directory_that_vanished_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/relay.log");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let mut keeper = Keeper::new(Rotating::at(&path, 1_000_000, 5).unwrap());
        let start = keeper.quiet_until;
        keeper.write(start, b"before\n");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        keeper.write(start + CHECK_INTERVAL, b"after\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
        assert_eq!((keeper.missing, &keeper.failure), (0, &None));
    }

    #[test]
    fn a_directory_that_cannot_be_made_again_costs_lines_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/relay.log");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let mut keeper = Keeper::new(Rotating::at(&path, 1_000_000, 5).unwrap());
        let start = keeper.quiet_until;
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path.parent().unwrap(), "in the way").unwrap();
        keeper.write(start, b"lost\n");
        assert_eq!(keeper.missing, 1);
        std::fs::remove_file(path.parent().unwrap()).unwrap();
        keeper.write(start + CHECK_INTERVAL, b"kept\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept\n");
        assert_eq!(
            keeper.missing, 1,
            "what is missing is told in the log, by the log"
        );
    }
}
