//! The viewer's settings and flags.

mod choices;
mod limits;
mod record_flags;
mod relays;
mod tiles;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand};
use fanlight_daemon::config;
use fanlight_daemon::keys::KeyPath;
use fanlight_daemon::trust::Fingerprint;
use fanlight_proto::handshake::PublicKey;
use fanlight_proto::limits::{DEFAULT_FRAME_BYTES, DEFAULT_SIDE, MAX_VIEWER_NAME, REKEY_INTERVAL};
use fanlight_proto::message::StreamName;

use crate::engine::{EngineConfig, Request};
use crate::overlay::Panel;
use crate::track::{Format, Kind, Plan, Target};
use crate::udp::Route;
use crate::view::{Scaling, Turn};
use crate::window::{Grid, WindowPlace};
pub use choices::{Canary, Multicast, PictureOutput, Redundancy};
pub use record_flags::RecordFlags;
pub use relays::{Transport, is_auto, looks, relays, route};
pub use tiles::check_tiles;
pub(crate) use tiles::{grid, panels, room, tiles};

/// Settings of a viewer.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The relay to ask: host:port. A host name is looked up again whenever the relay does not answer.
    /// Several, up to four: a frame is put together from what any of them sends. auto: the one of this host, at port 5004,
    /// or else one that announces itself on the network and lets this viewer in; with key_file, two of them. Where UDP
    /// does not get through: ws://host:port or wss://host:port, the address of the relay's HTTP. Of a host that is named
    /// both ways the second is used while UDP fails.
    #[arg(default_value = "auto")]
    pub relay: Vec<String>,
    /// Whether relay auto looks on the network (mDNS); else it stands for 127.0.0.1:5004.
    #[arg(default_value_t = true)]
    pub discovery: bool,
    /// Which of the relays' addresses to use: auto (UDP where it is named, and TCP where only that is, or while UDP
    /// fails), udp or tcp.
    #[arg(default_value_t = Transport::Auto)]
    pub transport: Transport,
    /// The file of the token to show to relays over TCP, or credential:NAME. Unset: none.
    pub relay_token_file: Option<KeyPath>,
    /// The certificates, in PEM, that sign those of relays at wss:// addresses. Unset: those of this host.
    pub relay_ca_file: Option<PathBuf>,
    /// The SHA-256 fingerprints of the relays' own certificates: then these alone are trusted, whoever signed them.
    pub relay_certificate: Vec<Fingerprint>,
    /// What several relays are for: both (all send, so that no frame is lost while one of them does) or standby
    /// (one sends, and the others begin when it falters).
    #[arg(default_value_t = Redundancy::Both)]
    pub redundancy: Redundancy,
    /// The file of the key to show to the relays, or credential:NAME: the one that all viewers share, or, with
    /// `relay_key`, this viewer's own. Unset: none. `fanlight-viewer keygen` makes keys.
    pub key_file: Option<KeyPath>,
    /// The relays' public keys, when each viewer has a key of its own: one for all relays, or one for each.
    pub relay_key: Vec<PublicKey>,
    /// The stream to show. Several: those of the tiles of a grid, in their order, or those to cycle through. Empty: the
    /// first one that the relay has.
    pub stream: Vec<StreamName>,
    /// Show several streams at once, each in a tile: COLUMNSxROWS, such as 2x2, or auto, for as many as are named. Unset:
    /// one stream fills the window.
    pub grid: Option<Grid>,
    /// Show the next streams every so often, such as 10s: of those that are named or, if none is, of those that the relay
    /// has. Unset: never.
    pub cycle: Option<humantime::Duration>,
    /// Show each frame so long after its capture and the fastest way, 2s at most: what the network delays by less comes evenly. For
    /// smoothness in place of freshness, such as 100ms. Unset: each frame is shown at once.
    pub delay: Option<humantime::Duration>,
    /// What the operator calls this screen, at most 64 bytes. Unset: the host's name and, after a -, the `monitor` if that is
    /// set.
    pub name: Option<String>,
    /// Whether relays may say what this screen shows: who is an admin of one. It keeps what it was told, also without a
    /// relay, until it is told something else.
    pub directed: bool,
    /// The folder to keep that in. Unset: $STATE_DIRECTORY, $XDG_STATE_HOME/fanlight or ~/.local/state/fanlight.
    pub state_dir: Option<PathBuf>,
    /// Keep a journal of the frames shown in this file: stream, epoch, number, time and hash of each. The file and the one before
    /// it have 10 MB at most, 50 minutes each at 30 frames a second. Unset: none is kept.
    pub journal: Option<PathBuf>,
    /// Begin in full screen.
    pub fullscreen: bool,
    /// The monitor to be on: its name, or its number from 1, counted from left to right. Unset: the desktop decides.
    pub monitor: Option<String>,
    /// The window's size and, after a +, its place on the desktop: WIDTHxHEIGHT or WIDTHxHEIGHT+X+Y. Unset: 1280x720
    /// in the middle.
    pub window: Option<WindowPlace>,
    /// How the size of pictures becomes the screen's: fit, fill (what does not fit is cut off) or original.
    #[arg(default_value_t = Scaling::Fit)]
    pub scaling: Scaling,
    /// By how much to turn pictures, clockwise: 0, 90, 180 or 270.
    #[arg(default_value_t = Turn::None)]
    pub rotate: Turn,
    /// Exchange left and right.
    pub mirror: bool,
    /// The folder that the `s` key saves pictures in.
    #[arg(default_value = ".")]
    pub snapshot_dir: PathBuf,
    /// Frames of more bytes are refused; at most 33554432.
    #[arg(default_value_t = DEFAULT_FRAME_BYTES)]
    pub max_frame_bytes: usize,
    /// Pictures of more pixels across or down are not decoded; at most 16384. A pixel takes four bytes, and a few pictures
    /// are in memory at a time.
    #[arg(default_value_t = DEFAULT_SIDE)]
    pub max_side: u32,
    /// Whether to receive by multicast where a relay offers it: auto (it returns to unicast by itself where that serves
    /// better) or off.
    #[arg(default_value_t = Multicast::Auto)]
    pub multicast: Multicast,
    /// Bytes to ask the kernel to keep for the socket. It grants at most net.core.rmem_max. For TCP, where the kernel
    /// chooses by itself, only less than this default is asked for.
    #[arg(default_value_t = DEFAULT_RECEIVE_BUFFER)]
    pub receive_buffer: usize,
    /// For diagnosis: the folder for captures of the last datagrams, headers only, written at SIGUSR1 and when a second
    /// was bad. Unset: none are kept.
    pub capture_dir: Option<PathBuf>,
    /// Print a line of statistics each second. Unset: when headless.
    pub stats: Option<bool>,
    /// What to look for in each frame shown, in a process beside the viewer: ball. Unset: nothing. What is found is
    /// in the report and in the trace.
    pub track: Option<Target>,
    /// How many such processes work at once, 1 to 16. A frame that finds all of them busy is not looked at.
    #[arg(default_value_t = 1)]
    pub trackers: usize,
    /// The program that looks, in place of the viewer's own; the shell runs it. viewer/TRACKER.md says what it is
    /// given and how it answers.
    pub tracker_command: Option<String>,
    /// What trackers are given of a frame: jpeg, grey or rgb.
    #[arg(default_value_t = Format::Jpeg)]
    pub tracker_format: Format,
    /// Draw a ring and a cross where it was found last, beside the number of the frame in which that was.
    pub show_track: bool,
    /// Whether to watch the small synthetic stream that a source sends beside its own, by which this screen proves to
    /// the source what it shows and how late: auto (when the stream names one) or off.
    #[arg(default_value_t = Canary::Auto)]
    pub canary: Canary,
    /// What to draw over the picture at first: caption (stream, state and age), name (of stream, state and time),
    /// statistics, figures (frames a second, age, processor, memory, uptime and the source's verdict), help. Keys show and
    /// hide each. Of several tiles each has a caption.
    pub overlay: Vec<Panel>,
}

impl Default for Config {
    fn default() -> Self {
        config::defaults()
    }
}

/// The trackers to be run; none unless they are asked for, by what to look for or by a command.
#[must_use]
pub fn trackers(config: &Config) -> Option<Plan> {
    let kind = match (&config.tracker_command, config.track) {
        (Some(command), _) => Kind::Command(command.clone()),
        (None, Some(Target::Ball)) => Kind::BuiltIn,
        (None, None) => return None,
    };

    Some(Plan {
        trackers: config.trackers,
        kind,
        format: config.tracker_format,
    })
}

/// How an engine behaves that receives by `route`.
///
/// # Errors
/// When the system has no socket to give.
pub fn engine(config: &Config, route: &Route) -> anyhow::Result<EngineConfig> {
    Ok(EngineConfig {
        request: Request::Stream(config.stream.first().cloned()),
        name: screen_name(config),
        max_frame_bytes: config.max_frame_bytes,
        receive_capacity: route
            .receive_capacity()
            .context("there is no UDP socket to be had")?,
        paths: route.carriers(),
        redundancy: config.redundancy.into(),
        rekey_interval: REKEY_INTERVAL,
    })
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

    /// Show nothing: write pictures elsewhere instead. pipe:mjpeg (JPEGs as they were received) and pipe:y4m (uncompressed, in
    /// the size of the first one) go to standard output, until its reader has gone; v4l2:/dev/videoN is a device of v4l2loopback,
    /// which OBS and video conferences take for a camera.
    #[arg(long, value_name = "OUTPUT")]
    pub output: Option<PictureOutput>,

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

    /// Record what is shown.
    #[command(flatten)]
    pub record: RecordFlags,

    /// What to do instead of showing a stream.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else a viewer can do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Receive from each --relay in turn, at several receive buffers, and print a table: UDP or TCP over this network?
    ///
    /// Name the relay twice: --relay HOST:5004 --relay ws://HOST:8080. Exit codes: 0 some frame was shown; 1 none was;
    /// 64 flags or config that cannot be used.
    Compare(Comparison),
}

/// Flags of `compare`.
#[derive(clap::Args, Clone, Debug)]
pub struct Comparison {
    /// How long each row takes: 500ms, 10s, 2m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    pub each: Duration,
}

/// Bytes asked for by default.
pub(crate) const DEFAULT_RECEIVE_BUFFER: usize = 4 << 20;

/// What is wrong with settings that are each valid.
///
/// # Errors
/// In a sentence that names the key.
pub fn check(config: &Config) -> anyhow::Result<()> {
    relays::check(config)?;
    tiles::check(config)?;
    limits::check(config)?;
    ensure!(
        !config.show_track || self::trackers(config).is_some(),
        "`show_track` needs `track` or `tracker_command`"
    );

    Ok(())
}

/// What the operator calls this screen.
pub(crate) fn screen_name(config: &Config) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let of_monitor = || match &config.monitor {
        None => host().trim().to_owned(),
        Some(monitor) => format!("{}-{monitor}", host().trim()),
    };
    let mut name = config.name.clone().unwrap_or_else(of_monitor);
    name.truncate(name.floor_char_boundary(MAX_VIEWER_NAME));
    name
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

    let number: f64 = digits
        .parse()
        .map_err(|_| format!("{digits:?} is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use fanlight_proto::handshake::PrivateKey;

    use fanlight_proto::limits::MAX_WIDTH;

    use super::*;

    #[test]
    fn the_shipped_file_says_the_defaults() {
        fanlight_daemon::testing::assert_ships_defaults::<Config>(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/viewer.toml"
        ));
    }

    #[test]
    fn the_defaults_are_good_and_nonsense_is_refused_by_name() {
        assert!(check(&Config::default()).is_ok());
        let bad = [
            (
                "relay",
                Config {
                    relay: vec!["127.0.0.1".into()],
                    ..Config::default()
                },
            ),
            (
                "relay",
                Config {
                    relay: vec![":5004".into()],
                    ..Config::default()
                },
            ),
            (
                "relay",
                Config {
                    relay: vec!["host:70000".into()],
                    ..Config::default()
                },
            ),
            (
                "relay",
                Config {
                    relay: Vec::new(),
                    ..Config::default()
                },
            ),
            (
                "relay",
                Config {
                    relay: vec!["a:1".into(), "a:1".into()],
                    ..Config::default()
                },
            ),
            (
                "relay",
                Config {
                    relay: (1..=5).map(|port| format!("a:{port}")).collect(),
                    ..Config::default()
                },
            ),
            (
                "relay_key",
                Config {
                    relay_key: vec![public()],
                    ..Config::default()
                },
            ),
            (
                "relay_key",
                Config {
                    relay: vec!["a:1".into()],
                    relay_key: vec![public(); 2],
                    key_file: Some(key_file()),
                    ..Config::default()
                },
            ),
            (
                "max_frame_bytes",
                Config {
                    max_frame_bytes: 0,
                    ..Config::default()
                },
            ),
            (
                "max_side",
                Config {
                    max_side: MAX_WIDTH + 1,
                    ..Config::default()
                },
            ),
            (
                "receive_buffer",
                Config {
                    receive_buffer: 1,
                    ..Config::default()
                },
            ),
            (
                "name",
                Config {
                    name: Some("n".repeat(65)),
                    ..Config::default()
                },
            ),
            (
                "delay",
                Config {
                    delay: Some(Duration::from_millis(2001).into()),
                    ..Config::default()
                },
            ),
            (
                "trackers",
                Config {
                    trackers: 0,
                    ..Config::default()
                },
            ),
            (
                "trackers",
                Config {
                    trackers: 17,
                    ..Config::default()
                },
            ),
            (
                "show_track",
                Config {
                    show_track: true,
                    ..Config::default()
                },
            ),
        ];

        for (key, config) in bad {
            let error = check(&config).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` ")), "{error}");
        }

        for relay in ["localhost:5004", "[::1]:5004", "relay.example:1"] {
            assert!(
                check(&Config {
                    relay: vec![relay.into()],
                    ..Config::default()
                })
                .is_ok(),
                "{relay}"
            );
        }
    }

    fn public() -> PublicKey {
        PrivateKey::new([1; 32]).public()
    }

    fn key_file() -> KeyPath {
        "/etc/fanlight/viewer.key".parse().unwrap()
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1.5s", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)));
        }

        for bad in ["", "10", "s", "-1s", "1d", "ten s", "1e400s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
