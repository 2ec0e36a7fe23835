//! What the engine counts.

use super::writer::Writer;
use crate::engine::{Counts, EngineStatus};

type Count = (&'static str, &'static str, fn(&Counts) -> u64);

/// Name, help, and which of the engine's counts it is.
const COUNTS: [Count; 18] = [
    (
        "sent_frames",
        "Frames sent to the viewers of their stream",
        |counts| counts.frames_sent,
    ),
    (
        "superseded_frames",
        "Frames that gave way to newer ones before they could be sent",
        |counts| counts.superseded,
    ),
    (
        "refused_frames",
        "Frames of a stream too many, or of a name that another source has",
        |counts| counts.refused_frames,
    ),
    ("joins", "Sessions of UDP viewers opened", |counts| {
        counts.joins
    }),
    ("refused_joins", "Joins of UDP viewers refused", |counts| {
        counts.refusals
    }),
    (
        "expired_sessions",
        "Sessions of UDP viewers ended by silence",
        |counts| counts.expired,
    ),
    (
        "revoked_sessions",
        "Sessions ended because their key is known no more",
        |counts| counts.revoked,
    ),
    (
        "challenges",
        "Challenges sent to who wants to join",
        |counts| counts.challenges,
    ),
    (
        "malformed_datagrams",
        "Datagrams that are not of the protocol or break a bound",
        |counts| counts.malformed,
    ),
    (
        "unknown_session_datagrams",
        "Datagrams of sessions that do not exist",
        |counts| counts.unknown_sessions,
    ),
    (
        "unauthentic_datagrams",
        "Messages of sealed sessions that are not the viewer's",
        |counts| counts.unauthentic,
    ),
    (
        "refused_handshakes",
        "Handshakes with a wrong key, none, or one that is not known",
        |counts| counts.handshakes_refused,
    ),
    (
        "put_off_handshakes",
        "Handshakes that were not worked on, because there were too many",
        |counts| counts.handshakes_put_off,
    ),
    (
        "asked_repair_shards",
        "Shards that UDP viewers asked for again",
        |counts| counts.repairs_asked,
    ),
    ("sent_repair_shards", "Shards sent again", |counts| {
        counts.repairs_sent
    }),
    (
        "isolated_viewers",
        "UDP viewers that were given a socket of their own, because they had fallen behind",
        |counts| counts.isolated,
    ),
    (
        "left_groups",
        "UDP viewers that were taken out of their multicast group",
        |counts| counts.left_groups,
    ),
    (
        "rotated_keys",
        "Keys of streams that followed another",
        |counts| counts.keys_rotated,
    ),
];

pub(super) fn write(writer: &mut Writer<'_, '_>, status: &EngineStatus) -> std::fmt::Result {
    for (name, help, count) in COUNTS {
        writer.counter(
            &format!("fanlight_relay_{name}"),
            help,
            count(&status.counts),
        )?;
    }
    Ok(())
}
