//! The eight attacks of the audit of a63221d, run against the built programs, each beside an honest viewer. Called by
//! `./dev attack`, which prints them as a table, and by tests, which fail when a defence is gone.

mod handshakes;
mod lying;
mod memory;
mod proxy;
mod shares;

use std::time::Duration;

use fanlight_daemon::clock;

use crate::TestEnv;
use crate::program::Program;
use crate::viewer_process::ViewerProcess;
use crate::wait::{Deadline, pause};

/// How much of an attack is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As little as shows whether the defence is there.
    Quick,
    /// As much as the audit did.
    Full,
}

impl Scale {
    /// The one or the other.
    const fn pick<T: Copy>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// What came of an attack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the attacker achieved, in figures.
    pub now: String,
    /// What an honest viewer beside it showed and lost.
    pub honest: String,
    /// Whether the attacker achieved nothing that matters.
    pub held: bool,
}

/// One of the attacks.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// What the attacker does.
    pub name: &'static str,
    /// What came of it before there was a defence: what the audit of a63221d measured, with attackers of its own.
    pub audited: &'static str,
    /// Runs it.
    pub run: fn(Scale) -> Outcome,
}

/// A proxy without a key rewrites which camera a viewer asks for.
pub const REWRITTEN_JOIN: Attack = Attack {
    name: "a proxy rewrites JOIN to another camera",
    audited: "the screen shows the other camera as the one asked for",
    run: proxy::rewritten_join,
};

/// A recorded JOIN is sent again after its session has ended.
pub const GHOST_SESSION: Attack = Attack {
    name: "a recorded JOIN is sent again",
    audited: "opens a ghost session",
    run: proxy::ghost_session,
};

/// Peers without the key take a source's places.
pub const PEERS_WITHOUT_KEY: Attack = Attack {
    name: "64 TCP peers without the key hold a source",
    audited: "its relay never gets in",
    run: shares::peers_without_key,
};

/// One address takes all sessions of a relay.
pub const ALL_SESSIONS: Attack = Attack {
    name: "one address takes every session",
    audited: "1000 sessions in 0.1 s, nobody else gets in",
    run: shares::all_sessions,
};

/// Garbage in place of handshakes, from many addresses.
pub const GARBAGE_HANDSHAKES: Attack = Attack {
    name: "garbage handshakes from 40 addresses",
    audited: "the 1000 a second are used up, keyed viewers stay out",
    run: handshakes::garbage,
};

/// Sources that make a relay hold more than it may.
pub const MEMORY: Attack = Attack {
    name: "canary names of 4 MB; streams of 4 MB",
    audited: "1095 MiB; 1536 MiB",
    run: memory::large_sources,
};

/// A picture that takes minutes to decode.
pub const SCANS: Attack = Attack {
    name: "a JPEG of 390 000 scans in a scaled pipe",
    audited: "the source stalls for good, SIGTERM has no effect for 8 s",
    run: lying::scans,
};

/// A relay that makes its viewer write logs.
pub const LOG_FLOOD: Attack = Attack {
    name: "a relay alternates its multicast group",
    audited: "40 000 log lines a second",
    run: lying::log_flood,
};

/// All of them.
pub const ATTACKS: [Attack; 8] = [
    REWRITTEN_JOIN,
    PEERS_WITHOUT_KEY,
    ALL_SESSIONS,
    GARBAGE_HANDSHAKES,
    MEMORY,
    SCANS,
    GHOST_SESSION,
    LOG_FLOOD,
];

/// Longest wait for what an attack may prevent: a defence that needs longer is none.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something.
const LOOK: Duration = Duration::from_millis(5);

/// A source of `stream` that is cheap to run.
fn source(env: &TestEnv, stream: &str) -> Program {
    env.source(stream)
        .flags("--input ball --size 320x240 --rate 30")
        .ready()
}

/// A key file of `kind`, made by `keygen`.
fn key_file(env: &TestEnv, kind: &str) -> String {
    let path = env.path(kind).display().to_string();
    env.program("relay")
        .flags("keygen")
        .flags(kind)
        .flags(&path)
        .ends_with(0);
    path
}

/// How long `viewing` takes to show `count` more frames; none when it does not within [`PATIENCE`].
fn shows(viewing: &ViewerProcess, count: usize) -> Option<Duration> {
    let begun = clock::now();
    let wanted = viewing.count() + count;
    let deadline = Deadline::after(PATIENCE);
    while viewing.count() < wanted {
        if deadline.is_over() {
            return None;
        }
        pause(LOOK);
    }
    Some(clock::now().saturating_since(begun))
}

/// Ends a viewer that took no part in the attack, and says what it showed and lost.
fn beside(viewing: ViewerProcess) -> String {
    let (report, _) = viewing.finish();
    format!(
        "{} frames shown, {} lost",
        report.frames.shown, report.frames.lost.total
    )
}
