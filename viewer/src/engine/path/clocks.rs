//! What a path knows of the clocks of its relay and of the source. The engine calls it, on the thread of its socket.

use std::time::Duration;

use fanlight_proto::clock::Time;

use super::Path;
use crate::engine::ClockOffset;

impl Path {
    /// The source's clock against ours, by way of this relay's.
    pub(in crate::engine) fn source_clock(&self, now: Time) -> Option<ClockOffset> {
        let source = self.source_clock.as_ref()?;
        let relay = self.clock.estimate(now)?;
        Some(ClockOffset {
            clock_id: source.clock_id,
            offset_ns: source.offset_ns.saturating_add(relay.offset_ns),
            error: relay.error + Duration::from_micros(source.error_us.into()),
        })
    }

    /// When this relay received what it says to have received at `received_us` (the lower 32 bits of microseconds), on our clock;
    /// none when the clocks are not compared yet, and by TCP, where it does not say.
    pub(in crate::engine) fn received_at(&self, now: Time, received_us: u32) -> Option<Time> {
        let relay = self.clock.estimate(now).filter(|_| !self.is_tcp)?;
        let relays_now = now.as_nanos().saturating_add_signed(relay.offset_ns);
        let passed = ((relays_now / 1000) as u32).wrapping_sub(received_us);
        // By the error of the offset it may seem to be yet to come.
        let passed = passed.cast_signed().max(0).cast_unsigned();
        Some(now - Duration::from_micros(passed.into()))
    }
}
