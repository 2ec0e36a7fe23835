//! What is made of each capture to be published.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::logline::Limited;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX};

use super::capture_slot::{CaptureSlot, Item, NumberedFrame};
use super::events::EventMailbox;
use super::stream_publisher::{EncodedFrame, StreamPublisher};
use crate::camera::Raw;
use crate::picture::{Pipeline, Prepared};

/// What becomes of captures. Pictures that are published as the camera made them cost next to nothing, and are seen to
/// where they were captured; the others on a thread of their own, which the driver does not wait for.
pub(super) struct Preparer {
    pub(super) reports: Arc<EventMailbox>,
    pub(super) publisher: Arc<StreamPublisher>,
    pub(super) pipeline: Pipeline,
    pub(super) refused: Limited,
    pub(super) thinning: FrameThinner,
}

/// Prepares and publishes what comes by `slot`, until it is closed.
pub(super) fn run(preparing: &Mutex<Preparer>, slot: &CaptureSlot) {
    let mut done = None;
    while let Some(item) = slot.take(done.take()) {
        let mut preparing = lock(preparing);
        match item {
            Item::Captured(capture) => done = Some(preparing.handle(capture)),
            Item::Failed(error) => preparing.reports.tell(|news| news.error = Some(error)),
        }
    }
}

/// A picture that made the library panic leaves nothing half done that the next one would need.
pub(super) fn lock(preparing: &Mutex<Preparer>) -> MutexGuard<'_, Preparer> {
    preparing.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Preparer {
    /// Whether a JPEG is published as it is.
    pub(super) fn passes_jpeg(&self) -> bool {
        self.pipeline.passes_jpeg()
    }

    /// Publishes what is made of the capture, and gives its buffer back.
    pub(super) fn handle(&mut self, capture: NumberedFrame) -> Raw {
        let NumberedFrame {
            number,
            rate_millihertz,
            shot,
            mut raw,
        } = capture;
        let captured = shot.captured;
        if !self.thinning.takes(captured, self.publisher.is_slow()) {
            return raw;
        }
        let utc_ns = captured
            .as_nanos()
            .saturating_add_signed(clock::wall_offset_ns());
        let prepared = self
            .pipeline
            .process(shot, &mut raw, utc_ns)
            .map_err(|error| error.to_string());
        match prepared.and_then(whole) {
            Ok(Prepared {
                jpeg,
                width,
                height,
                truth,
            }) => {
                self.publisher.frame(EncodedFrame {
                    number,
                    captured,
                    rate_millihertz,
                    width,
                    height,
                    truth,
                    jpeg,
                });
                self.reports.on_published();
            }
            Err(reason) => self.refuse(number, reason),
        }
        raw
    }

    fn refuse(&mut self, number: u64, reason: String) {
        if let Some(count) = self.refused.note(clock::now()) {
            tracing::warn!(number, reason, count, "picture not published");
        }
        self.reports.tell(|news| news.unusable = Some(reason));
    }
}

/// Which captures are published while few are to be.
#[derive(Debug)]
pub(super) struct FrameThinner {
    interval: Duration,
    last: Option<Time>,
}

impl FrameThinner {
    /// At most one in each `interval`, when few are to be published.
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: None,
        }
    }

    fn takes(&mut self, captured: Time, slow: bool) -> bool {
        let early = |last: Time| captured.saturating_since(last) < self.interval;
        let takes = !(slow && self.last.is_some_and(early));
        if takes {
            self.last = Some(captured);
        }
        takes
    }
}

/// Refuses what no relay would take.
fn whole(prepared: Prepared) -> Result<Prepared, String> {
    let jpeg = prepared.jpeg.jpeg();
    if !(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9])) {
        return Err(format!(
            "the camera cut its picture of {} bytes short",
            jpeg.len()
        ));
    }
    if jpeg.len() > MAX_FRAME_BYTES - MAX_FRAME_PREFIX {
        return Err(format!(
            "a picture of {} bytes is too large: lower size, scale or quality",
            jpeg.len()
        ));
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_few_are_to_be_published_it_is_one_an_interval_and_the_next_at_once_when_that_is_over() {
        let mut thinning = FrameThinner::new(Duration::from_secs(1));
        let mut taken = Vec::new();
        for millis in (0..3500).step_by(100) {
            let slow = (500..3200).contains(&millis);
            if thinning.takes(Time::from_nanos(millis * 1_000_000), slow) {
                taken.push(millis);
            }
        }
        assert_eq!(taken, [0, 100, 200, 300, 400, 1400, 2400, 3200, 3300, 3400]);
    }
}
