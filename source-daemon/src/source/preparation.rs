//! From a captured frame to a published one. Runs on the preparing thread, or on the capture thread for JPEGs that are
//! published as they are, of which the preparing thread then decodes samples.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;
use fanlight_proto::message::State;

use super::capture_slot::{CaptureSlot, Item, NumberedFrame};
use super::damage::DamageWatch;
use super::events::EventMailbox;
use super::stream_publisher::{EncodedFrame, StreamPublisher};
use crate::camera::Raw;
use crate::picture::{PictureError, PictureProcessor, Prepared};
use crate::supervisor::InputStatus;

/// Processes and publishes captured frames.
pub(super) struct Preparer {
    events: Arc<EventMailbox>,
    /// Weak, and held for moments only: a thread that is left behind, in a driver or in a picture, must not keep the
    /// publisher open.
    publisher: Weak<StreamPublisher>,
    processor: PictureProcessor,
    damage: Arc<DamageWatch>,
    thinner: FrameThinner,
    refusals: LogLimiter,
    /// Describes the input for people.
    input: String,
}

impl fmt::Debug for Preparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preparer")
    }
}

impl Preparer {
    /// One that publishes at most one frame in each `slow_interval` while the stream is slow.
    pub(super) fn new(
        events: &Arc<EventMailbox>,
        publisher: &Arc<StreamPublisher>,
        processor: PictureProcessor,
        damage: &Arc<DamageWatch>,
        slow_interval: Duration,
        input: &str,
    ) -> Self {
        Self {
            events: Arc::clone(events),
            publisher: Arc::downgrade(publisher),
            processor,
            damage: Arc::clone(damage),
            thinner: FrameThinner::new(slow_interval),
            refusals: LogLimiter::new(),
            input: input.to_owned(),
        }
    }

    /// Processes and publishes what comes through `slot`, until the slot is closed. What `replacement` holds takes its
    /// place from the next frame on.
    pub(super) fn run(mut self, slot: &CaptureSlot, replacement: &Mutex<Option<Self>>) {
        let mut done = None;
        while let Some(item) = slot.take(done.take()) {
            let next = replacement
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            self = next.unwrap_or(self);
            match item {
                Item::Captured(frame) => done = Some(self.handle(frame).0),
                // The reason is told when the next picture is refused.
                Item::Sample(jpeg) => drop(self.decode(clock::now(), &jpeg)),
                Item::Failed(error) => self.events.post(|events| events.error = Some(error)),
            }
        }
    }

    /// Processes and publishes one frame. Returns its buffer, and its JPEG if somebody should look whether it can be
    /// decoded.
    pub(super) fn handle(&mut self, numbered: NumberedFrame) -> (Raw, Option<Bytes>) {
        let NumberedFrame {
            number,
            rate_millihertz,
            frame,
            mut raw,
        } = numbered;

        let Some(slow) = self
            .publisher
            .upgrade()
            .map(|publisher| publisher.is_slow())
        else {
            return (raw, None);
        };

        let captured = frame.captured;
        if !self.thinner.takes(captured, slow) {
            return (raw, None);
        }

        let utc_ns = captured
            .as_nanos()
            .saturating_add_signed(clock::wall_offset_ns());
        let processed = self.processor.process(frame, &mut raw, utc_ns);
        let checked = processed
            .map_err(|error| status(&error))
            .and_then(|prepared| self.check(captured, prepared));
        let prepared = match checked {
            Ok(prepared) => prepared,
            Err(status) => {
                self.refuse(number, status);
                return (raw, None);
            }
        };

        let Some(publisher) = self.publisher.upgrade() else {
            return (raw, None);
        };
        let jpeg = publisher.frame(EncodedFrame {
            number,
            captured,
            rate_millihertz,
            width: prepared.width,
            height: prepared.height,
            truth: prepared.truth,
            jpeg: prepared.jpeg,
        });

        self.events.on_published();
        let is_sample = prepared.is_untouched && self.damage.takes_sample(captured);
        (raw, is_sample.then_some(jpeg))
    }

    /// Refuses pictures that were cut short, and damaged ones while damage is to be expected.
    fn check(&mut self, at: Time, prepared: Prepared) -> Result<Prepared, InputStatus> {
        check_whole(&prepared)?;
        if prepared.is_untouched && self.damage.is_suspect(at) {
            self.decode(at, prepared.jpeg.jpeg())
                .map_err(|error| status(&error))?;
        }
        Ok(prepared)
    }

    fn decode(&mut self, at: Time, jpeg: &[u8]) -> Result<(), PictureError> {
        let decoded = self.processor.check(jpeg);
        self.damage.on_decoded(at, decoded.is_ok());
        decoded
    }

    fn refuse(&mut self, number: u64, status: InputStatus) {
        if let Some(count) = self.refusals.note(clock::now()) {
            tracing::warn!(
                input = self.input,
                number,
                reason = status.reason,
                count,
                "picture not published"
            );
        }

        self.events.post(|events| events.unusable = Some(status));
    }
}

/// Chooses which frames are published while the stream is slow because nobody watches it.
#[derive(Debug)]
struct FrameThinner {
    interval: Duration,
    last: Option<Time>,
}

impl FrameThinner {
    const fn new(interval: Duration) -> Self {
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

fn status(error: &PictureError) -> InputStatus {
    let state = if error.is_format() {
        State::WrongFormat
    } else {
        State::Failed
    };
    InputStatus::new(state, error.to_string())
}

/// Refuses pictures that were cut short.
fn check_whole(prepared: &Prepared) -> Result<(), InputStatus> {
    let jpeg = prepared.jpeg.jpeg();
    let length = jpeg.len();

    if !(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9])) {
        let reason = format!("the camera cut its picture of {length} bytes short");
        return Err(InputStatus::new(State::Failed, reason));
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_stream_publishes_one_frame_an_interval_and_the_next_at_once_when_it_is_watched_again()
    {
        let mut thinner = FrameThinner::new(Duration::from_secs(1));
        let mut taken = Vec::new();

        for millis in (0..3500).step_by(100) {
            let slow = (500..3200).contains(&millis);
            if thinner.takes(Time::from_nanos(millis * 1_000_000), slow) {
                taken.push(millis);
            }
        }

        assert_eq!(taken, [0, 100, 200, 300, 400, 1400, 2400, 3200, 3300, 3400]);
    }
}
