//! Measures the processor time of this program and of the relays' processes.

mod owner;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) use owner::owner;

/// The processor time that the threads of a process have spent since this was made, in the kernel too.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) process: u32,
    /// Of each thread ever seen, what it had spent before, and what it has spent, in nanoseconds.
    threads: BTreeMap<u32, (u64, u64)>,
    /// What had been spent at the latest look.
    pub(super) spent: Duration,
    /// Whether the process has been seen to be gone.
    pub(super) ended: bool,
}

impl Meter {
    /// Measures from now on.
    ///
    /// # Errors
    /// When there is no such process, or the kernel does not tell (CONFIG_SCHED_INFO).
    pub(super) fn start(process: u32) -> io::Result<Self> {
        let threads = spent(process)?
            .into_iter()
            .map(|(thread, spent)| (thread, (spent, spent)))
            .collect();

        Ok(Self {
            process,
            threads,
            spent: Duration::ZERO,
            ended: false,
        })
    }

    /// Looks at what has been spent so far. Of a thread that has ended, what it had spent at the look before counts.
    pub(super) fn read(&mut self) -> Duration {
        match spent(self.process) {
            Ok(threads) if !threads.is_empty() => {
                for (thread, spent) in threads {
                    self.threads.entry(thread).or_default().1 = spent;
                }
            }
            _ => self.ended = true,
        }

        let nanos = self
            .threads
            .values()
            .map(|(before, now)| now.saturating_sub(*before))
            .sum();

        self.spent = Duration::from_nanos(nanos);
        self.spent
    }
}

/// A meter of `process`, or why there is none.
pub(super) fn start(process: u32) -> Result<Meter, String> {
    Meter::start(process)
        .map_err(|error| format!("process {process} does not tell its processor time: {error}"))
}

/// What each thread of a process has spent, in nanoseconds: the first word of schedstat, see proc(5).
fn spent(process: u32) -> io::Result<Vec<(u32, u64)>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let entry = entry?;
        let Some(thread) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };

        match fs::read_to_string(entry.path().join("schedstat")) {
            Ok(text) => {
                let spent = text
                    .split_whitespace()
                    .next()
                    .and_then(|word| word.parse().ok());

                threads.push((
                    thread,
                    spent.ok_or_else(|| io::Error::other("schedstat has no number"))?,
                ));
            }
            // It has just ended, or all of it has; without any schedstat there is nothing to tell.
            Err(error) if error.kind() == io::ErrorKind::NotFound && entry.path().exists() => {
                return Err(error);
            }
            Err(_) => {}
        }
    }

    Ok(threads)
}

/// A relay, and the time of its process.
#[derive(Clone, Debug)]
pub(super) struct RelayMeter {
    /// As the operator calls it.
    pub(super) relay: String,
    /// Or why there is none.
    pub(super) meter: Result<Meter, String>,
}

impl RelayMeter {
    /// Measures the relay at `address` from now on: `process`, or else the process that has its socket.
    pub(super) fn start(relay: &str, address: SocketAddr, process: Option<u32>) -> Self {
        let process = process.map_or_else(|| owner(address).map_err(|error| error.to_string()), Ok);
        Self {
            relay: relay.to_owned(),
            meter: process.and_then(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::clock;

    use super::*;

    fn work(length: Duration) {
        let end = clock::now() + length;
        while clock::now() < end {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn what_all_threads_spend_counts() {
        let mut meter = Meter::start(std::process::id()).unwrap();
        // What is not made before it is measured counts from its beginning.
        let busy = std::thread::spawn(|| {
            work(Duration::from_millis(60));
            std::fs::read_to_string("/proc/thread-self/schedstat").unwrap()
        });

        let mut seen = Duration::ZERO;
        while !busy.is_finished() {
            seen = seen.max(meter.read());
            work(Duration::from_millis(1));
        }

        let spent: u64 = busy
            .join()
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
            .parse()
            .unwrap();

        let ended = meter.read();
        assert!(ended >= seen && !meter.ended);
        assert!(
            seen >= Duration::from_nanos(spent / 2),
            "{seen:?} of at least {spent} ns"
        );
    }

    #[test]
    fn a_process_that_is_gone_is_said_to_be() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();

        let mut meter = Meter::start(child.id()).unwrap();
        meter.read();
        assert!(!meter.ended);
        drop(child.stdin.take());
        child.wait().unwrap();
        meter.read();
        assert!(meter.ended);
        assert!(Meter::start(child.id()).is_err());
    }
}
