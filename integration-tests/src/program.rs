//! A program under test as a real process. It can be signalled, frozen and restarted; it is killed when its [`Program`] is
//! dropped.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::log::{Line, Log};
use crate::service_manager::{Notification, ServiceManager};
use crate::usage::Usage;
use crate::wait::{Deadline, SOON};

/// What the service manager's units wait before they start a program again (RestartSec=250ms).
pub const RESTART_DELAY: Duration = Duration::from_millis(250);

/// The watchdog time that a program is told, as in its unit (promise P24).
pub const WATCHDOG: Duration = Duration::from_secs(3);

/// What a program wrote is read within this after its end.
const PIPES_END: Duration = Duration::from_secs(2);

/// How a program is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    prefix: Vec<OsString>,
    binary: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Option<PathBuf>,
    notify: PathBuf,
}

impl Launch {
    /// The program `binary`, called `name` in logs, whose sockets live in `runtime` and which notifies the service
    /// manager at `notify`.
    #[must_use]
    pub fn new(name: &str, binary: PathBuf, runtime: &Path, notify: PathBuf) -> Self {
        let launch = Self {
            name: name.to_owned(),
            prefix: Vec::new(),
            binary,
            arguments: Vec::new(),
            variables: Vec::new(),
            stdin: None,
            notify: notify.clone(),
        };

        launch
            .env("RUNTIME_DIRECTORY", runtime)
            .env("XDG_RUNTIME_DIR", runtime)
            .env("NOTIFY_SOCKET", notify)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .env("RUST_BACKTRACE", "1")
    }

    /// The file of the program.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Adds words to the command line, which are split at spaces.
    #[must_use]
    pub fn flags(mut self, words: &str) -> Self {
        self.arguments
            .extend(words.split_whitespace().map(OsString::from));
        self
    }

    /// Adds `--key value`.
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.arguments.extend([
            OsString::from(format!("--{key}")),
            value.as_ref().to_owned(),
        ]);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables
            .push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Environment variables.
    #[must_use]
    pub fn envs<V: AsRef<OsStr>>(
        self,
        variables: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let set = |launch: Self, (name, value): (&str, V)| launch.env(name, value);
        variables.into_iter().fold(self, set)
    }

    /// Starts it by way of a command that execs it, such as `taskset -c 0`; the one named last runs first.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.prefix.splice(..0, words.iter().map(OsString::from));
        self
    }

    /// Lets the program read `file` (a FIFO perhaps) on its standard input.
    #[must_use]
    pub fn stdin(mut self, file: &Path) -> Self {
        self.stdin = Some(file.to_owned());
        self
    }

    /// Starts it and waits until it says that it serves.
    ///
    /// # Panics
    /// When it cannot be started or does not say so.
    #[must_use]
    #[track_caller]
    pub fn ready(self) -> Program {
        let program = self.start();
        program.wait_ready();
        program
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Program {
        let program = Program {
            manager: ServiceManager::listen(&self.notify),
            log: Log::default(),
            life: Arc::default(),
            launch: self,
            born: clock::now(),
        };

        program.start_again();
        program
    }

    /// Runs it to its end, with the exit code `code`.
    ///
    /// # Panics
    /// When it does not end, or otherwise.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Program {
        let shown = self.to_string();
        let (exit, program) = self.run();
        assert_eq!(exit.code(), Some(code), "{shown}");
        program
    }

    /// Runs it to its end, which must come within [`SOON`], and gives back how it went.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> (Exit, Program) {
        let program = self.start();
        let exit = program.wait_exit(SOON);
        program.log.wait_read(PIPES_END);
        (exit, program)
    }

    fn spawn(&self, log: &Log) -> std::io::Result<(Child, OwnedFd)> {
        let stdin = self
            .stdin
            .as_ref()
            .map_or(Ok(Stdio::null()), |file| File::open(file).map(Stdio::from))?;

        let words: Vec<&OsStr> = self.words().collect();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;

        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        log.push("fixture", format!("{self} runs as {}", child.id()));
        log.read("out", child.stdout.take().expect("stdout is piped"));
        log.read("err", child.stderr.take().expect("stderr is piped"));
        Ok((child, handle))
    }

    fn words(&self) -> impl Iterator<Item = &OsStr> {
        let program = std::iter::once(self.binary.as_os_str());
        let before = self.prefix.iter();
        let after = self.arguments.iter();
        before
            .map(OsString::as_os_str)
            .chain(program)
            .chain(after.map(OsString::as_os_str))
    }
}

impl std::fmt::Display for Launch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.words().map(|word| word.to_string_lossy()).collect();
        f.write_str(&words.join(" "))
    }
}

/// A program that runs, or ran. Its processes are killed with it; when the test fails, its log is printed.
#[derive(Debug)]
pub struct Program {
    launch: Launch,
    log: Log,
    manager: ServiceManager,
    life: Arc<Life>,
    born: Time,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub struct Exit {
    /// When it was seen to end.
    pub time: Time,
    /// With what.
    pub status: ExitStatus,
}

impl Exit {
    /// The exit code; none when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

#[derive(Debug, Default)]
struct Life {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    starts: Vec<Time>,
    exits: Vec<Exit>,
    kept: bool,
    retired: bool,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    handle: OwnedFd,
}

impl Program {
    /// Waits for a line of its own that has all of `words`.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        let found = self.log.wait_from(0, SOON, |line| {
            words
                .iter()
                .all(|word| line.from != "fixture" && line.text.contains(word))
                .then_some(())
        });

        assert!(found.is_some(), "no line with all of {words:?}");
    }

    /// Starts it again after it ended, with the same command line.
    ///
    /// # Panics
    /// When it still runs or cannot be started.
    #[track_caller]
    pub fn start_again(&self) {
        let launch = self.launch.clone();
        let log = self.log.clone();
        let life = Arc::clone(&self.life);
        let child = life
            .spawn(&launch, &log)
            .unwrap_or_else(|error| panic!("{launch}: {error}"));
        std::thread::spawn(move || life.attend(child, &launch, &log));
    }

    /// From now on starts it again [`RESTART_DELAY`] after each end, as the service manager would.
    pub fn keep(&self) {
        self.life.state().kept = true;
    }

    /// Sends a signal to the process. Does nothing when there is none.
    pub fn signal(&self, signal: Signal) {
        let state = self.life.state();
        if let Some(running) = &state.running {
            self.log.push("fixture", format!("{signal:?}"));
            // It may end at this very moment by itself, which is as good.
            let _ = pidfd_send_signal(&running.handle, signal);
        }
    }

    /// Kills it at once (SIGKILL) and waits until it is gone; returns when that was.
    ///
    /// # Panics
    /// When it does not go.
    #[track_caller]
    pub fn kill(&self) -> Time {
        let exits = self.exits().len();
        self.signal(Signal::KILL);
        self.wait_exit_number(exits, SOON).time
    }

    /// Asks it to stop (SIGTERM); returns how it ended and how long that took.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(&self) -> (Exit, Duration) {
        let exits = self.exits().len();
        let asked = clock::now();
        self.signal(Signal::TERM);
        let exit = self.wait_exit_number(exits, SOON);
        (exit, exit.time.saturating_since(asked))
    }

    /// Stops all its threads where they are (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT); returns when.
    pub fn thaw(&self) -> Time {
        let now = clock::now();
        self.signal(Signal::CONT);
        now
    }

    /// Waits until it has ended once more often than it had been started again, and returns how.
    ///
    /// # Panics
    /// When it has not after `limit`.
    #[track_caller]
    pub fn wait_exit(&self, limit: Duration) -> Exit {
        let last = self.life.state().starts.len() - 1;
        self.wait_exit_number(last, limit)
    }

    #[track_caller]
    fn wait_exit_number(&self, number: usize, limit: Duration) -> Exit {
        let deadline = Deadline::after(limit);
        let mut state = self.life.state();

        while state.exits.len() <= number {
            assert!(
                !deadline.is_over(),
                "{} did not end within {limit:?}",
                self.launch.name
            );
            let waited = self.life.changed.wait_timeout(state, deadline.left());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }

        state.exits[number]
    }

    /// Waits until the process started last says READY=1; returns when it did.
    ///
    /// # Panics
    /// When it does not say so within [`SOON`], or ends instead.
    #[track_caller]
    pub fn wait_ready(&self) -> Time {
        self.wait_note("READY=1").time
    }

    /// Waits until the process started last sends a note that begins with `text`.
    ///
    /// # Panics
    /// When it does not within [`SOON`], or ends instead.
    #[track_caller]
    pub fn wait_note(&self, text: &str) -> Notification {
        let started = self.started();
        let deadline = Deadline::after(SOON);

        loop {
            if let Some(note) = self
                .manager
                .wait_for(started, text, Duration::from_millis(100))
            {
                return note;
            }

            assert!(
                self.pid().is_some(),
                "{} ended before it said {text}",
                self.launch.name
            );

            assert!(
                !deadline.is_over(),
                "{} did not say {text} within {SOON:?}",
                self.launch.name
            );
        }
    }

    /// Waits for a line in the log that contains `text`; it may have come before.
    ///
    /// # Panics
    /// When it does not come within [`SOON`].
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> Line {
        self.wait_for_line_from(0, text, SOON)
    }

    /// Waits for a line after `mark` that contains `text`.
    ///
    /// # Panics
    /// When it does not come within `limit`.
    #[track_caller]
    pub fn wait_for_line_from(&self, mark: usize, text: &str, limit: Duration) -> Line {
        let found = self.log.wait_from(mark, limit, |line| {
            line.text.contains(text).then(|| line.clone())
        });

        found.unwrap_or_else(|| {
            panic!(
                "{}: no line with {text:?} within {limit:?}",
                self.launch.name
            )
        })
    }

    /// When the process was started last.
    #[must_use]
    pub fn started(&self) -> Time {
        *self
            .life
            .state()
            .starts
            .last()
            .expect("a Program is made by starting it")
    }

    /// How its processes have ended so far.
    #[must_use]
    pub fn exits(&self) -> Vec<Exit> {
        self.life.state().exits.clone()
    }

    /// The id of the process; none when it does not run.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.life
            .state()
            .running
            .as_ref()
            .map(|running| running.pid)
    }

    /// What the process uses at present.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    #[track_caller]
    pub fn usage(&self) -> Usage {
        let usage = self.pid().and_then(Usage::of);
        usage.unwrap_or_else(|| panic!("{} does not run: {:?}", self.launch.name, self.exits()))
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What it told the service manager.
    #[must_use]
    pub fn manager(&self) -> &ServiceManager {
        &self.manager
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.life.retire();
        if std::thread::panicking() {
            eprintln!(
                "--- {} ---\n{}",
                self.launch.name,
                self.log.render(self.born)
            );
        }
    }
}

impl Life {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(&self, launch: &Launch, log: &Log) -> std::io::Result<Child> {
        let mut state = self.state();
        assert!(state.running.is_none(), "{} still runs", launch.name);
        state.starts.push(clock::now());
        let (child, handle) = launch.spawn(log)?;
        state.running = Some(Running {
            pid: child.id(),
            handle,
        });

        Ok(child)
    }

    /// Waits for the ends of the process, and starts it again while it is kept.
    fn attend(&self, mut child: Child, launch: &Launch, log: &Log) {
        loop {
            let status = child.wait().expect("a child can be waited for once");
            let signal = status
                .signal()
                .map_or_else(String::new, |signal| format!(" by signal {signal}"));
            log.push("fixture", format!("ended with {:?}{signal}", status.code()));
            let mut state = self.state();
            state.running = None;
            state.exits.push(Exit {
                time: clock::now(),
                status,
            });

            self.changed.notify_all();
            if !state.kept {
                return;
            }

            let over = self
                .changed
                .wait_timeout_while(state, RESTART_DELAY, |state| !state.retired);
            drop(over);
            if self.state().retired {
                return;
            }

            child = match self.spawn(launch, log) {
                Ok(child) => child,
                Err(error) => {
                    return log.push("fixture", format!("cannot be started again: {error}"));
                }
            };
        }
    }

    /// Kills what runs and starts nothing any more.
    fn retire(&self) {
        let mut state = self.state();
        state.kept = false;
        state.retired = true;
        self.changed.notify_all();
        let deadline = Deadline::after(SOON);

        while let Some(running) = &state.running {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&running.handle, Signal::KILL);
            if deadline.is_over() {
                return eprintln!("a killed process does not go away");
            }

            state = self
                .changed
                .wait_timeout(state, SOON)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
