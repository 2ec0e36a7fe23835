//! The viewer's settings and flags.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use fanlight_daemon::options::Text;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_VIEWER_NAME};
use fanlight_proto::message::StreamName;

fanlight_daemon::options! {
    /// Settings of a viewer.
    pub struct Config / Options {
        /// The relay to ask: host:port. A host name is looked up again whenever the relay does not answer.
        relay: String = "127.0.0.1:5004".to_owned();
        /// The stream to show. Unset: the first one that the relay has.
        stream: Option<Text<StreamName>> = None;
        /// What the operator calls this screen, at most 64 bytes. Unset: the host's name.
        name: Option<String> = None;
        /// Begin in full screen.
        fullscreen: bool = false;
        /// The monitor to be on: its name, or its number from 1, counted from left to right. Unset: the desktop decides.
        monitor: Option<String> = None;
        /// The folder that the `s` key saves pictures in.
        snapshot_dir: PathBuf = PathBuf::from(".");
        /// Frames of more bytes are refused.
        max_frame_bytes: usize = MAX_FRAME_BYTES;
        /// Bytes to ask the kernel to keep for the socket. It grants at most net.core.rmem_max.
        receive_buffer: usize = 4 << 20;
        /// For diagnosis: the folder for captures of the last datagrams, headers only, written at SIGUSR1 and when a second
        /// was bad. Unset: none are kept.
        capture_dir: Option<PathBuf> = None;
        /// Print a line of statistics each second. Unset: when headless.
        stats: Option<bool> = None;
    }
}

/// Flags of one run.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Extra {
    /// List the relay's streams and exit.
    #[arg(long)]
    pub list: bool,

    /// Show nothing: receive, decode, measure.
    #[arg(long)]
    pub headless: bool,

    /// End by itself after so long: 500ms, 10s, 2m, 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// At the end write what was counted and measured as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// At the end save the newest picture shown, as it was received.
    #[arg(long, value_name = "FILE")]
    pub snapshot: Option<PathBuf>,

    /// For diagnosis: write a line of JSON for each frame shown, with its identity, times, hash and painted code.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
}

/// Least receive buffer, in bytes: a handful of datagrams.
const MIN_RECEIVE_BUFFER: usize = 16 << 10;

/// What is wrong with settings that are each valid.
///
/// # Errors
/// In a sentence that names the key.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let (host, port) = config.relay.rsplit_once(':').unwrap_or_default();
    if host.is_empty() || port.parse::<u16>().is_err() {
        bail!("`relay` is {:?}; it must be host:port, such as 127.0.0.1:5004 or [fe80::1]:5004", config.relay);
    }
    let limit = config.max_frame_bytes;
    ensure!((1..=MAX_FRAME_BYTES).contains(&limit), "`max_frame_bytes` is {limit}; it must be 1 to {MAX_FRAME_BYTES}");
    let buffer = config.receive_buffer;
    ensure!(buffer >= MIN_RECEIVE_BUFFER, "`receive_buffer` is {buffer}; it must be at least {MIN_RECEIVE_BUFFER}");
    let length = config.name.as_ref().map_or(0, String::len);
    ensure!(length <= MAX_VIEWER_NAME, "`name` has {length} bytes; it may have {MAX_VIEWER_NAME}");
    Ok(())
}

/// Reads `500ms`, `10s`, `1.5s`, `2m`, `1h`.
///
/// # Errors
/// Says what was expected.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a number and ms, s, m or h, such as 10s".to_owned()),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_says_the_defaults() {
        fanlight_daemon::testing::assert_ships_defaults::<Options>(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/viewer.toml"
        ));
    }

    #[test]
    fn the_defaults_are_good_and_nonsense_is_refused_by_name() {
        assert!(check(&Config::default()).is_ok());
        let bad = [
            ("relay", Config { relay: "127.0.0.1".into(), ..Config::default() }),
            ("relay", Config { relay: ":5004".into(), ..Config::default() }),
            ("relay", Config { relay: "host:70000".into(), ..Config::default() }),
            ("max_frame_bytes", Config { max_frame_bytes: 0, ..Config::default() }),
            ("receive_buffer", Config { receive_buffer: 1, ..Config::default() }),
            ("name", Config { name: Some("n".repeat(65)), ..Config::default() }),
        ];
        for (key, config) in bad {
            let error = check(&config).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` ")), "{error}");
        }
        for relay in ["localhost:5004", "[::1]:5004", "relay.example:1"] {
            assert!(check(&Config { relay: relay.into(), ..Config::default() }).is_ok(), "{relay}");
        }
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }
        for bad in ["", "10", "s", "-1s", "1d", "ten s", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
