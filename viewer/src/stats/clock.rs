//! The age of a frame that was captured on this or another host.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameHeader;

use crate::engine::ClockOffset;

/// How this host's clock relates to others.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Names this host's monotonic clock.
    pub id: u64,
    /// Nanoseconds from monotonic to wall-clock time.
    pub wall_offset_ns: i64,
}

/// When a frame was captured, as its source says; see `FrameHeader` in frame.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// On the source's monotonic clock.
    pub captured_ns: u64,
    /// From that clock to its wall-clock time.
    pub wall_offset_ns: i64,
    /// Names that clock.
    pub clock_id: u64,
}

impl Captured {
    /// What the header says.
    #[must_use]
    pub const fn of(header: &FrameHeader) -> Self {
        let FrameHeader {
            captured_ns,
            wall_offset_ns,
            clock_id,
            ..
        } = *header;

        Self {
            captured_ns,
            wall_offset_ns,
            clock_id,
        }
    }
}

impl Clock {
    /// This host's, at present.
    #[must_use]
    pub fn here() -> Self {
        Self {
            id: clock::clock_id(),
            wall_offset_ns: clock::wall_offset_ns(),
        }
    }

    /// The age at `at`, and what it was measured by: the clock that both share ("monotonic"), the offset `source` that
    /// the engine knows ("exchange"), or, should it not know one, wall clocks ("wall").
    #[must_use]
    pub fn age(
        &self,
        captured: &Captured,
        at: Time,
        source: Option<ClockOffset>,
    ) -> (Duration, &'static str) {
        let Captured {
            captured_ns,
            wall_offset_ns,
            clock_id,
        } = *captured;

        if clock_id == self.id {
            return (
                at.saturating_since(Time::from_nanos(captured_ns)),
                "monotonic",
            );
        }

        if let Some(source) = source.filter(|source| source.clock_id == clock_id) {
            let captured = i128::from(captured_ns) - i128::from(source.offset_ns);
            return (
                not_negative(i128::from(at.as_nanos()) - captured),
                "exchange",
            );
        }

        let wall = |monotonic: u64, offset: i64| i128::from(monotonic) + i128::from(offset);
        (
            not_negative(
                wall(at.as_nanos(), self.wall_offset_ns) - wall(captured_ns, wall_offset_ns),
            ),
            "wall",
        )
    }

    /// How far an age by [`Clock::age`] may be off: not at all by a clock that both share, as far as `source` says by the
    /// offset that the engine knows, and none when it is by wall clocks, whose error is unknown.
    #[must_use]
    pub fn error(&self, clock_id: u64, source: Option<ClockOffset>) -> Option<Duration> {
        if clock_id == self.id {
            return Some(Duration::ZERO);
        }
        source
            .filter(|source| source.clock_id == clock_id)
            .map(|source| source.error)
    }
}

/// The age of a frame from the future is zero.
fn not_negative(age_ns: i128) -> Duration {
    Duration::from_nanos(u64::try_from(age_ns.max(0)).unwrap_or(u64::MAX))
}
