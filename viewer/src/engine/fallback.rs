//! One relay by two ways: over UDP, and over TCP while UDP brings no pictures. The engine calls it at each tick, on the
//! thread of its sockets.

use std::time::Duration;

use fanlight_proto::clock::Time;
use serde::Serialize;

use super::path::Path;
use super::{Carrier, Engine, Output};

/// When a way has brought no frame for so long, or for [`SILENT_INTERVALS`] of a slow stream, the other one is tried.
const SILENCE: Duration = Duration::from_millis(500);

/// See [`SILENCE`].
const SILENT_INTERVALS: u32 = 3;

/// For so long both bring frames; then they are compared.
const TRIAL: Duration = Duration::from_millis(800);

/// UDP stays, or comes back, when it brings so many of a hundred frames that TCP brings.
const GOOD_PERCENT: u64 = 90;

/// How often both ways are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often it is looked whether too many frames are lost over UDP.
const LOSS_WINDOW: Duration = Duration::from_secs(1);

/// Fewer frames than this say nothing.
const LEAST_LOST: u64 = 5;

/// UDP that is open and did not bring enough is tried again after so long: at first and, doubling, at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(32));

/// What pictures come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A connection.
    Tcp,
    /// Both, from several relays.
    Both,
}

impl Transport {
    /// In one word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Both => "udp and tcp",
        }
    }
}

/// Which of two paths to one relay is used.
#[derive(Debug)]
pub(super) struct Fallback {
    udp: usize,
    tcp: usize,
    transport: Transport,
    mode: Mode,
    since: Time,
    /// What made TCP be tried last.
    why: &'static str,
    /// How long to wait before UDP is tried again.
    retry: Duration,
    losses: LossWindow,
    /// When to look again.
    due: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// UDP alone.
    Udp,
    /// Both are asked, but only one of them can bring frames.
    Searching,
    /// Both: the time is over at `until`, and this is what each had brought before.
    Trial { until: Time, udp: u64, tcp: u64 },
    /// TCP alone; whether UDP had a session when that began.
    Tcp { udp_was_open: bool },
}

/// Frames lost and whole at the beginning of a window.
#[derive(Clone, Copy, Debug, Default)]
struct LossWindow {
    began: Time,
    lost: u64,
    whole: u64,
}

impl LossWindow {
    /// Whether more frames were lost than came, in the window that ends now.
    fn ends_badly(&mut self, now: Time, lost: u64, whole: u64) -> bool {
        if now < self.began + LOSS_WINDOW {
            return false;
        }

        let lost_now = lost.saturating_sub(self.lost);
        let whole_now = whole.saturating_sub(self.whole);
        *self = Self {
            began: now,
            lost,
            whole,
        };
        lost_now >= LEAST_LOST && lost_now > whole_now
    }
}

impl Fallback {
    /// The relays that can be reached by both.
    pub(super) fn of(carriers: &[Carrier]) -> Vec<Self> {
        let pair = |(tcp, carrier): (usize, &Carrier)| match carrier {
            Carrier::Tcp {
                instead_of: Some(udp),
            } if *udp < carriers.len() => Some(Self {
                udp: *udp,
                tcp,
                transport: Transport::Udp,
                mode: Mode::Udp,
                since: Time::default(),
                why: "",
                retry: RETRY.0,
                losses: LossWindow::default(),
                due: Time::default(),
            }),
            _ => None,
        };
        carriers.iter().enumerate().filter_map(pair).collect()
    }

    /// Whether path `at` may be connected.
    pub(super) fn wants_connection(&self, at: usize) -> bool {
        at != self.tcp || self.mode != Mode::Udp
    }

    /// Looks at both; `lost` and `whole` are counts of frames. Gives what pictures come by from now on, and why, if that
    /// changes.
    fn on_tick(
        &mut self,
        now: Time,
        paths: &mut [Path],
        lost: u64,
        whole: u64,
    ) -> Option<(Transport, &'static str)> {
        if now < self.due {
            return None;
        }

        self.due = now + LOOK_INTERVAL;
        if self.since == Time::default() {
            self.since = now;
        }

        let loses_most = self.losses.ends_badly(now, lost, whole);
        let before = self.transport;
        match self.mode {
            Mode::Udp => self.look_at_udp(now, paths, loses_most),
            Mode::Searching => self.search(now, paths),
            Mode::Trial { until, udp, tcp } if until <= now => self.compare(now, paths, udp, tcp),
            Mode::Trial { .. } => {}
            Mode::Tcp { udp_was_open } => self.look_at_tcp(now, paths, udp_was_open),
        }

        (self.transport != before).then_some((self.transport, self.why))
    }

    fn look_at_udp(&mut self, now: Time, paths: &mut [Path], loses_most: bool) {
        if now >= self.since + RETRY.1 {
            self.retry = RETRY.0;
        }

        if is_silent(now, &paths[self.udp], self.since) {
            self.why = "UDP brings no pictures";
        } else if loses_most && now >= self.since + self.retry {
            self.why = "UDP loses most pictures";
        } else {
            return;
        }

        self.begin(now, Mode::Searching, paths);
    }

    fn search(&mut self, now: Time, paths: &mut [Path]) {
        // A relay begins with its newest frame, which may have been shown long ago.
        let is_new = |frame: Time| frame > self.since;
        let tcp_brings = paths[self.tcp].link.frame.is_some_and(is_new);
        let udp_brings = paths[self.udp].last_frame.is_some_and(is_new);
        if tcp_brings && paths[self.tcp].is_active() {
            if !udp_brings {
                self.transport = Transport::Tcp;
            }

            let [udp, tcp] = [self.udp, self.tcp].map(|at| paths[at].summary.frames);
            let until = now + TRIAL;
            self.mode = Mode::Trial { until, udp, tcp };
        } else if udp_brings && now >= self.since + TRIAL {
            self.return_to_udp(now, paths);
        }
    }

    fn compare(&mut self, now: Time, paths: &mut [Path], udp: u64, tcp: u64) {
        let udp = paths[self.udp].summary.frames - udp;
        let tcp = paths[self.tcp].summary.frames - tcp;
        if udp > 0 && udp * 100 >= tcp * GOOD_PERCENT {
            self.return_to_udp(now, paths);
        } else if tcp > 0 {
            self.transport = Transport::Tcp;
            let udp_was_open = is_open(&paths[self.udp]);
            self.begin(now, Mode::Tcp { udp_was_open }, paths);
        } else {
            self.begin(now, Mode::Searching, paths);
        }
    }

    fn look_at_tcp(&mut self, now: Time, paths: &mut [Path], udp_was_open: bool) {
        let is_open = is_open(&paths[self.udp]);
        let retries = is_open && udp_was_open && now >= self.since + self.retry;
        if retries {
            self.retry = (self.retry * 2).min(RETRY.1);
        }

        let opens = is_open && !udp_was_open;
        if retries || opens || is_silent(now, &paths[self.tcp], self.since) {
            self.begin(now, Mode::Searching, paths);
        } else if !is_open {
            // What opens from now on has been closed before.
            self.mode = Mode::Tcp {
                udp_was_open: false,
            };
        }
    }

    fn return_to_udp(&mut self, now: Time, paths: &mut [Path]) {
        self.transport = Transport::Udp;
        self.why = "UDP works again";
        self.begin(now, Mode::Udp, paths);
    }

    /// An UDP path without a session stays ready: the media of the next one shows whether it works.
    fn begin(&mut self, now: Time, mode: Mode, paths: &mut [Path]) {
        self.mode = mode;
        self.since = now;
        let udp = &mut paths[self.udp];
        let paused = matches!(mode, Mode::Tcp { .. }) && is_open(udp);
        udp.set_paused(now, paused);
    }
}

fn is_open(path: &Path) -> bool {
    path.session.is_some() && path.joining.is_none()
}

/// Whether `path`, used since then, brings no frames though the stream has some, as far as anybody knows.
fn is_silent(now: Time, path: &Path, since: Time) -> bool {
    let silence = match path.link.interval() {
        Some(interval) => SILENCE.max(interval * SILENT_INTERVALS),
        // It does not say its rate, which may be low.
        None if path.session.is_some() => path.link.frame_timeout(),
        None => SILENCE,
    };
    let last = path.last_frame.map_or(since, |frame| frame.max(since));
    now >= last + silence && !(is_open(path) && path.link.has_outage())
}

impl Engine {
    pub(super) fn fall_back(&mut self, now: Time) {
        let losses = self.losses();
        let (lost, whole) = (
            losses.link + losses.incomplete,
            self.reassembly.counts().whole,
        );
        let (fallbacks, paths) = (&mut self.fallbacks, &mut self.paths);
        for fallback in fallbacks {
            if let Some((transport, why)) = fallback.on_tick(now, paths, lost, whole) {
                let changed = Output::Transport(transport, why);
                self.shared.outputs.push_back(changed);
            }
        }
    }

    /// When [`Engine::fall_back`] may have something to do.
    pub(super) fn fallback_due(&self) -> Option<Time> {
        self.fallbacks.iter().map(|fallback| fallback.due).min()
    }

    /// What pictures come by, or are sought by.
    pub(super) fn transport(&self) -> Transport {
        let replaced = |at: usize| {
            self.fallbacks.iter().any(|it| match it.transport {
                Transport::Udp => it.tcp == at,
                _ => it.udp == at,
            })
        };

        let mut used = self.paths.iter().enumerate();
        let tcp = used.any(|(at, path)| path.is_tcp && !replaced(at));
        let mut used = self.paths.iter().enumerate();
        let udp = used.any(|(at, path)| !path.is_tcp && !replaced(at));
        match (udp, tcp) {
            (true, true) => Transport::Both,
            (false, true) => Transport::Tcp,
            _ => Transport::Udp,
        }
    }
}
