//! A session as the viewer keeps it.

use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::KEEP_ALIVE_INTERVAL;
use fanlight_proto::message::{Accept, KeepAlive, Report, StreamInfo, StreamName};

/// Bounds on how often a relay may ask a viewer to say that it is there.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(300));

/// Every so many keep-alives carry a report: one a second.
const REPORT_EVERY: u64 = 4;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) alias: u16,
    pub(super) topic: Bytes,
    /// When anything of it last came.
    pub(super) heard: Time,
    pub(super) keep_alive_due: Time,
    interval: Duration,
    keep_alives: u64,
    /// What the counts were when the session opened: its report starts from zero.
    base: Report,
}

/// What an ACCEPT says, checked.
pub(super) struct Opening<'a> {
    pub(super) id: u64,
    pub(super) alias: u16,
    pub(super) name: StreamName,
    pub(super) info: &'a StreamInfo,
    interval: Duration,
}

impl<'a> Opening<'a> {
    /// None when a field is missing or out of bounds.
    pub(super) fn of(accept: &'a Accept) -> Option<Self> {
        let info = accept.stream.as_ref()?;
        let interval = match accept.keep_alive_ms {
            0 => KEEP_ALIVE_INTERVAL,
            millis => Duration::from_millis(millis.into()).clamp(INTERVALS.0, INTERVALS.1),
        };
        let alias = u16::try_from(info.alias).ok()?;
        let id = Some(accept.session).filter(|id| *id != 0)?;
        Some(Self { id, alias, name: info.name.parse().ok()?, info, interval })
    }
}

impl Session {
    pub(super) fn new(now: Time, opening: &Opening<'_>, base: Report) -> Self {
        Self {
            id: opening.id,
            alias: opening.alias,
            topic: opening.name.topic(),
            heard: now,
            keep_alive_due: now,
            interval: opening.interval,
            keep_alives: 0,
            base,
        }
    }

    /// The keep-alive to send now; `total` are the counts since the engine began.
    pub(super) fn keep_alive(&mut self, now: Time, total: &Report) -> KeepAlive {
        self.keep_alive_due = now + self.interval;
        self.keep_alives += 1;
        let report = self.keep_alives.is_multiple_of(REPORT_EVERY).then(|| since(total, &self.base));
        KeepAlive { sent_us: now.as_micros(), report, ..KeepAlive::default() }
    }
}

fn since(total: &Report, base: &Report) -> Report {
    Report {
        frames_whole: total.frames_whole - base.frames_whole,
        frames_shown: total.frames_shown - base.frames_shown,
        frames_lost: total.frames_lost - base.frames_lost,
        datagrams: total.datagrams - base.datagrams,
        bytes: total.bytes - base.bytes,
        repairs_asked: total.repairs_asked - base.repairs_asked,
        repairs_received: total.repairs_received - base.repairs_received,
        age_us: total.age_us,
        ..Report::default()
    }
}
