//! The process of a tracker: start, pipes, end.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use rustix::process::{Pid, Signal, kill_process_group, setpriority_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Kind, wire};

/// How long a tracker has to leave after SIGTERM: the viewer has 500 ms for its own exit.
const GRACE: Duration = Duration::from_millis(150);

/// How much nicer than the viewer trackers are, so that the picture comes first.
const NICENESS: i32 = 5;

/// What is kept of a line on standard error, in bytes.
const MAX_LINE: usize = 300;

/// The process, in a group of its own with everything that it starts.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    group: Pid,
    stdin: ChildStdin,
    /// What it says.
    pub(super) answers: Lines<ChildStdout>,
    /// Ends when nobody has standard error open any more: when all of the group are gone.
    stderr: JoinHandle<()>,
}

impl Child {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no process to be had. What the shell makes of a command shows later.
    pub(super) fn spawn(kind: &Kind) -> io::Result<Self> {
        let mut command = command(kind);
        // The service manager must not take the tracker's words for the viewer's.
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID");

        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());

        let mut process = command.process_group(0).kill_on_drop(true).spawn()?;
        let number = process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = number.expect("a process that nobody waited for has its number");
        // The tracker works all the same when the kernel will not have it.
        let _ = setpriority_process(Some(group), NICENESS);
        let stdin = process
            .stdin
            .take()
            .expect("standard input was asked to be a pipe");

        let stdout = process
            .stdout
            .take()
            .expect("standard output was asked to be a pipe");

        let errors = process
            .stderr
            .take()
            .expect("standard error was asked to be a pipe");

        let answers = Lines::new(stdout, wire::MAX_ANSWER);
        Ok(Self {
            process,
            group,
            stdin,
            answers,
            stderr: tokio::spawn(log(errors)),
        })
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Writes a frame.
    ///
    /// # Errors
    /// When the tracker no longer reads.
    pub(super) async fn write(&mut self, header: &wire::Header, payload: &[u8]) -> io::Result<()> {
        self.stdin.write_all(&header.encode()).await?;
        self.stdin.write_all(payload).await?;
        self.stdin.flush().await
    }

    /// Ends it and all that it started: by the end of its input and SIGTERM, or after [`GRACE`] by SIGKILL. Returns how it
    /// ended.
    pub(super) async fn end(self) -> String {
        let Self {
            mut process,
            group,
            stdin,
            mut stderr,
            ..
        } = self;

        drop(stdin);
        // The group may be gone already; its number is kept for it until the process is waited for.
        let _ = kill_process_group(group, Signal::TERM);
        let _ = timeout(GRACE, &mut stderr).await;
        stderr.abort();
        let _ = kill_process_group(group, Signal::KILL);
        process
            .wait()
            .await
            .map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

fn command(kind: &Kind) -> Command {
    match kind {
        Kind::BuiltIn => {
            // The very program that runs, though its file may have been replaced since.
            let mut command = Command::new("/proc/self/exe");
            command.arg0("fanlight-viewer").arg(super::serve::COMMAND);
            command
        }
        Kind::Command(line) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(line);
            command
        }
    }
}

/// A line that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Longer than is taken; what it was is forgotten.
    TooLong,
}

/// Splits what comes into lines, in bounded memory.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    most: usize,
    too_long: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, most: usize) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            most,
            too_long: false,
        }
    }

    /// The next line; none at the end, or when nothing more can be read. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Line> {
        loop {
            let bytes = self.reader.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                return None;
            }

            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.too_long |= self.line.len() + part.len() > self.most;

            if !self.too_long {
                self.line.extend_from_slice(part);
            }

            let length = part.len() + usize::from(end.is_some());
            self.reader.consume(length);

            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                let too_long = std::mem::take(&mut self.too_long);
                return Some(if too_long {
                    Line::TooLong
                } else {
                    Line::Whole(line)
                });
            }
        }
    }
}

/// Logs what comes on standard error, at most a line a second.
async fn log(errors: impl AsyncRead + Unpin) {
    let mut lines = Lines::new(errors, MAX_LINE);
    let mut limited = LogLimiter::new();

    while let Some(line) = lines.next().await {
        let text = match &line {
            Line::Whole(line) => {
                String::from_utf8_lossy(line.trim_ascii()).replace(|c: char| c.is_control(), " ")
            }
            Line::TooLong => "(a line too long to be told)".to_owned(),
        };

        if let Some(lines) = limited.note(clock::now()).filter(|_| !text.is_empty()) {
            tracing::info!(lines, "a tracker says: {text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_long_ones_are_forgotten() {
        let text = b"one\n\n0123456789\n01234567890\nlast, without an end";
        let mut lines = Lines::new(&text[..], 10);
        let whole = |text: &str| Some(Line::Whole(text.into()));
        assert_eq!(lines.next().await, whole("one"));
        assert_eq!(lines.next().await, whole(""));
        assert_eq!(lines.next().await, whole("0123456789"));
        assert_eq!(lines.next().await, Some(Line::TooLong));
        assert_eq!(lines.next().await, None);
        let endless = vec![b'x'; 1 << 20];
        let mut lines = Lines::new(&endless[..], 10);
        assert_eq!(lines.next().await, None);
        assert!(lines.line.capacity() < 100);
    }
}
