//! The flags of the load tester.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::value_parser;
use fanlight_viewer::config::{Config, parse_duration};

/// Most sessions of one process: each has a socket for each relay, and sources on loopback have ports enough.
const MAX_VIEWERS: i64 = 10_000;

/// Most threads: more than machines that would be loaded by one have cores.
const MAX_THREADS: i64 = 64;

/// How much load to make, and for how long.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many viewers to be.
    ///
    /// Each viewer is a session of its own, with keys, parity and repairs as a screen has them; what it is sent is put
    /// together and checked, but not decoded. Towards a relay in 127.0.0.0/8 each has an address of its own (127.1.0.1
    /// and so on).
    ///
    /// A viewer takes 12 KiB and the memory of one frame, or of up to six while repairs are under way; in the kernel, what
    /// waits in its socket: nothing while this program keeps up, at most twice --receive-buffer when it does not.
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=MAX_VIEWERS))]
    pub viewers: u32,

    /// How many of them ask to join in a second.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u32).range(1..=MAX_VIEWERS))]
    pub ramp: u32,

    /// How long to measure: 500ms, 10s, 2m, 1h.
    ///
    /// The measurement begins when every viewer has a frame (or, after five seconds, without those that have none). A line
    /// is printed each second, and a table at the end.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// Threads that receive; the viewers are spread over them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=MAX_THREADS))]
    pub threads: u32,

    /// At the end write what was counted and measured as JSON. `-` is standard output; lines and table go to standard
    /// error then.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// The relays' processes, in the order of the relays, when they cannot be found by their sockets: in a container or
    /// another network namespace.
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = value_parser!(u32).range(1..))]
    pub relay_pid: Vec<u32>,
}

impl Load {
    /// What is wrong with flags that are each valid.
    ///
    /// # Errors
    /// In a sentence that names the flag.
    pub(super) fn check(&self, config: &Config) -> anyhow::Result<()> {
        ensure!(
            !self.duration.is_zero(),
            "--duration is 0; it must be longer, such as 10s"
        );

        let pids = self.relay_pid.len();
        let relays = config.relay.len();
        ensure!(
            pids == 0 || pids == relays,
            "--relay-pid names {pids} processes for {relays} relays; it must be one each"
        );

        Ok(())
    }
}

impl Load {
    /// Whether standard output is for the report.
    pub(super) fn json_on_stdout(&self) -> bool {
        self.json
            .as_ref()
            .is_some_and(|path| path.as_os_str() == "-")
    }

    /// Says `text` to people, at once; nobody may be reading, which is no reason to end.
    pub(super) fn tell(&self, text: &str) {
        let _ = if self.json_on_stdout() {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            viewers: 5,
            ramp: 1,
            duration: Duration::from_secs(1),
            threads: 1,
            json: None,
            relay_pid: Vec::new(),
        }
    }

    #[test]
    fn flags_that_do_not_go_together_are_named() {
        let check = |load: Load| load.check(&Config::default());
        let relay_pid = |relay_pid| Load {
            relay_pid,
            ..load()
        };

        assert!(check(load()).is_ok());
        assert!(check(relay_pid(vec![1])).is_ok());

        let error = check(relay_pid(vec![1, 2])).unwrap_err().to_string();
        assert!(error.contains("2 processes for 1 relays"), "{error}");
        let no_time = Load {
            duration: Duration::ZERO,
            ..load()
        };

        let error = check(no_time).unwrap_err().to_string();
        assert!(error.starts_with("--duration"), "{error}");
    }
}
