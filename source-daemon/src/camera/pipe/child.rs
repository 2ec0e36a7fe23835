//! A command that is run by the shell, with everything that it starts in turn.

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a command has to leave after SIGTERM: this process has 500 ms for its own exit.
const GRACE: Duration = Duration::from_millis(150);

/// How often to look whether all have left.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What is kept of a line on standard error, in bytes: twice the longest address, so that no secret is cut in two.
const MAX_LINE: usize = 4096;

/// What is told of it, in characters.
const MAX_TOLD: usize = 300;

/// What is to run.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) command: Command,
    /// What it reads from its standard input: less than the kernel keeps for a pipe. None: nothing.
    pub(super) stdin: Option<String>,
    /// What stands in no line of the log and in no error.
    pub(super) secrets: Vec<String>,
    /// Whether its errors are for debugging alone, because who runs it says what they mean.
    pub(super) quiet: bool,
}

impl Task {
    /// What the shell makes of `command`.
    pub(super) fn shell(command: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command);
        Self {
            command: shell,
            stdin: None,
            secrets: secrets_of_addresses(command),
            quiet: false,
        }
    }
}

/// The process groups of commands that run.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<Vec<Pid>>);

impl Running {
    /// Asks all of them to leave, and ends those that have not after [`GRACE`].
    pub(super) fn terminate(&self) {
        self.signal_all(Signal::TERM);
        let deadline = clock::now() + GRACE;
        while !lock(&self.0).is_empty() && clock::now() < deadline {
            std::thread::park_timeout(LOOK_INTERVAL);
        }
        self.signal_all(Signal::KILL);
    }

    fn signal_all(&self, which: Signal) {
        for &group in lock(&self.0).iter() {
            signal(group, which);
        }
    }
}

/// All commands of this process.
static RUNNING: Running = Running(Mutex::new(Vec::new()));

/// Ends all commands of this process, with what they started, and so the pictures that are waited for. For the exit of a
/// process whose capture thread may be blocked and never get to close its camera.
pub fn terminate_commands() {
    RUNNING.terminate();
}

/// The command. When it is dropped, its process group ends: at SIGTERM, or after [`GRACE`] by SIGKILL.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    group: Pid,
    running: &'static Running,
    /// Disconnected when nobody has standard error open any more: when all of the group are gone.
    stderr: Receiver<()>,
    last_line: Arc<Mutex<String>>,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the command in a process group of its own.
    ///
    /// # Errors
    /// When there is no such program, no process or no thread to be had. What a shell makes of its command shows later.
    pub(super) fn spawn(task: Task) -> io::Result<(Self, ChildStdout)> {
        Self::spawn_among(task, &RUNNING)
    }

    /// As [`spawn`](Self::spawn), on a list of its own.
    pub(super) fn spawn_among(
        task: Task,
        running: &'static Running,
    ) -> io::Result<(Self, ChildStdout)> {
        let Task {
            mut command,
            stdin,
            secrets,
            quiet,
        } = task;

        prepare(&mut command, stdin.is_some());

        // Held from before the start, so that no command is missed by whoever terminates all.
        let mut groups = lock(&running.0);
        let mut process = command.spawn()?;
        let group = Pid::from_child(&process);
        groups.push(group);
        drop(groups);

        if let (Some(mut pipe), Some(text)) = (process.stdin.take(), stdin) {
            // Who does not read it says why on standard error.
            let _ = pipe.write_all(text.as_bytes());
        }

        let stdout = process
            .stdout
            .take()
            .expect("standard output was asked to be a pipe");

        let errors = process
            .stderr
            .take()
            .expect("standard error was asked to be a pipe");

        let (open, stderr) = sync_channel(0);
        let last_line = Arc::default();
        let child = Self {
            process,
            group,
            running,
            stderr,
            last_line: Arc::clone(&last_line),
            status: None,
        };

        let log = ErrorLog {
            secrets,
            quiet,
            limited: LogLimiter::new(),
            last_line,
        };
        std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || {
                log.read(errors);
                drop(open);
            })?;
        Ok((child, stdout))
    }

    /// Ends what is left of the command after it closed its output: how it ended, and the last line it said.
    pub(super) fn wait(&mut self) -> (String, String) {
        let _ = self.stderr.recv_timeout(GRACE);
        self.end();
        let status = self
            .status
            .map_or_else(|| "unknown end".to_owned(), |status| status.to_string());
        (status, lock(&self.last_line).clone())
    }

    fn end(&mut self) {
        if self.status.is_some() {
            return;
        }

        signal(self.group, Signal::TERM);
        let _ = self.stderr.recv_timeout(GRACE);
        signal(self.group, Signal::KILL);
        // From here on the number may be another process's.
        lock(&self.running.0).retain(|&group| group != self.group);
        self.status = self.process.wait().ok();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// A process group of its own, pipes, and nothing of the service manager, which must not take its words for the source's.
fn prepare(command: &mut Command, has_stdin: bool) {
    command
        .process_group(0)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID")
        .stdin(if has_stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

fn signal(group: Pid, signal: Signal) {
    // The group may be gone already.
    let _ = kill_process_group(group, signal);
}

/// Logs what comes on standard error, at most a line a second, and keeps the last line.
struct ErrorLog {
    secrets: Vec<String>,
    quiet: bool,
    limited: LogLimiter,
    last_line: Arc<Mutex<String>>,
}

impl ErrorLog {
    fn read(mut self, mut errors: impl Read) {
        let (mut buffer, mut line) = ([0; 4096], Vec::new());
        while let Ok(length @ 1..) = errors.read(&mut buffer) {
            for &byte in &buffer[..length] {
                // ffmpeg overwrites its line of statistics with a carriage return.
                if byte != b'\n' && byte != b'\r' {
                    if line.len() < MAX_LINE {
                        line.push(byte);
                    }
                    continue;
                }

                self.tell(&line);
                line.clear();
            }
        }

        self.tell(&line);
    }

    fn tell(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line.trim_ascii());
        let text = text.replace(|c: char| c.is_control(), " ");
        if text.is_empty() {
            return;
        }

        let text = without(text, &self.secrets);
        let text: String = text.chars().take(MAX_TOLD).collect();
        match self.limited.note(clock::now()) {
            Some(lines) if self.quiet => tracing::debug!(lines, "the command says: {text}"),
            Some(lines) => tracing::info!(lines, "the command says: {text}"),
            None => {}
        }

        *lock(&self.last_line) = text;
    }
}

/// Passwords and queries of the addresses in a command.
fn secrets_of_addresses(command: &str) -> Vec<String> {
    let ends = |c: char| c.is_whitespace() || "'\"|;".contains(c);
    let addresses = command.split("://").skip(1);
    let addresses = addresses.map(|rest| rest.split(ends).next().unwrap_or_default());
    let secrets = addresses.flat_map(|address| {
        let (place, query) = address.split_at(address.find('?').unwrap_or(address.len()));
        let user = place.rsplit_once('@').map_or("", |(user, _)| user);
        let password = user.split_once(':').map_or("", |(_, password)| password);
        [password.to_owned(), query.to_owned()]
    });
    secrets.filter(|secret| !secret.is_empty()).collect()
}

/// `text` in which none of `secrets` stands.
fn without(text: String, secrets: &[String]) -> String {
    let all = secrets.iter();
    all.fold(text, |text, secret| text.replace(secret, "…"))
}

/// A command as it may be told.
pub(super) fn told(command: &str) -> String {
    without(command.to_owned(), &secrets_of_addresses(command))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
