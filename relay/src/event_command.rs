//! A command for each event of a stream or screen, for those who have no broker: its standard input is the event as JSON.
//!
//! It runs on a thread of its own. Commands are bounded in number and time, and end with the relay.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_live::events::{Event, LOOK_INTERVAL, Monitor};
use fanlight_live::{OutputServer, StreamTable, start_thread};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// Commands that run at a time.
const MAX_RUNNING: usize = 4;

/// Events that wait for their command; the oldest give way.
const MAX_WAITING: usize = 256;

/// A command that takes longer is killed, with all that it has started in its process group.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The command, its arguments, and the relay as the events name it.
#[derive(Debug)]
pub(crate) struct EventCommand {
    pub(crate) command: Vec<String>,
    pub(crate) relay: String,
}

impl OutputServer for EventCommand {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        start_thread("event-command", async move || {
            tokio::select! {
                () = self.follow(&table) => {}
                () = shutdown.wait() => {}
            }
            Ok(())
        })
    }
}

impl EventCommand {
    async fn follow(&self, table: &StreamTable) {
        let mut monitor = Monitor::default();
        let mut looks = interval(LOOK_INTERVAL);
        let mut waiting = VecDeque::new();
        let mut running = JoinSet::new();

        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let events = monitor.look(table, clock::now());
                    waiting.extend(events.iter().map(|event| self.json(event)));
                }
                Some(_) = running.join_next() => {}
            }

            let lost = waiting.len().saturating_sub(MAX_WAITING);
            if lost > 0 {
                waiting.drain(..lost);
                tracing::warn!(
                    lost,
                    "event_command: too many events wait for their commands"
                );
            }

            while running.len() < MAX_RUNNING
                && let Some(event) = waiting.pop_front()
            {
                running.spawn(run(self.command.clone(), event));
            }
        }
    }

    fn json(&self, event: &Event) -> String {
        let mut told = event.json();
        told["relay"] = self.relay.as_str().into();
        tracing::info!("event: {told}");
        format!("{told}\n")
    }
}

/// Runs the command to its end, and says when that is not as it should be.
async fn run(command: Vec<String>, event: String) {
    let Some((program, arguments)) = command.split_first() else {
        return;
    };

    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // What it starts is killed with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => Group(child),
        Err(error) => return tracing::warn!("event_command: cannot run {program}: {error}"),
    };

    match timeout(TIME_LIMIT, child.finish(&event)).await {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::warn!("event_command: {program} ended with {status}"),
        Ok(Err(error)) => tracing::warn!("event_command: {program}: {error}"),
        Err(_) => {
            let seconds = TIME_LIMIT.as_secs();
            tracing::warn!("event_command: {program} took more than {seconds} s and is killed");
        }
    }
}

/// A command that is killed, with its process group, when this is dropped before it has ended.
struct Group(Child);

impl Group {
    async fn finish(&mut self, event: &str) -> io::Result<ExitStatus> {
        if let Some(mut stdin) = self.0.stdin.take() {
            // One that reads nothing may end before.
            let _ = stdin.write_all(event.as_bytes()).await;
        }
        self.0.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            // It may have ended at this very moment.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}
