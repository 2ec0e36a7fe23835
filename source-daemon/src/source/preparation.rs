//! From a captured frame to a published one. Runs on the preparing thread, or on the capture thread for JPEGs that are
//! published as they are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX};
use fanlight_proto::message::State;

use super::capture_slot::{CaptureSlot, Item, NumberedFrame};
use super::events::EventMailbox;
use super::stream_publisher::{EncodedFrame, StreamPublisher};
use crate::camera::Raw;
use crate::picture::{PictureProcessor, Prepared};
use crate::supervisor::InputStatus;

/// Processes and publishes captured frames.
pub(super) struct Preparer {
    events: Arc<EventMailbox>,
    /// Weak, and held for moments only: a thread that is left behind, in a driver or in a picture, must not keep the
    /// publisher open.
    publisher: Weak<StreamPublisher>,
    processor: PictureProcessor,
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
        slow_interval: Duration,
        input: &str,
    ) -> Self {
        Self {
            events: Arc::clone(events),
            publisher: Arc::downgrade(publisher),
            processor,
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
                Item::Captured(frame) => done = Some(self.handle(frame)),
                Item::Failed(error) => self.events.post(|events| events.error = Some(error)),
            }
        }
    }

    /// Processes and publishes one frame. Returns its buffer.
    pub(super) fn handle(&mut self, numbered: NumberedFrame) -> Raw {
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
            return raw;
        };

        let captured = frame.captured;
        if !self.thinner.takes(captured, slow) {
            return raw;
        }

        let utc_ns = captured
            .as_nanos()
            .saturating_add_signed(clock::wall_offset_ns());
        let processed = match self.processor.process(frame, &mut raw, utc_ns) {
            Ok(prepared) => check_whole(&prepared).map(|()| prepared),
            Err(error) => {
                let state = if error.is_format() {
                    State::WrongFormat
                } else {
                    State::Failed
                };
                Err(InputStatus::new(state, error.to_string()))
            }
        };

        match processed {
            Ok(prepared) => {
                let Prepared {
                    jpeg,
                    width,
                    height,
                    truth,
                } = prepared;

                let Some(publisher) = self.publisher.upgrade() else {
                    return raw;
                };
                publisher.frame(EncodedFrame {
                    number,
                    captured,
                    rate_millihertz,
                    width,
                    height,
                    truth,
                    jpeg,
                });

                self.events.on_published();
            }
            Err(status) => self.refuse(number, status),
        }

        raw
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

/// Refuses pictures that no relay would take.
fn check_whole(prepared: &Prepared) -> Result<(), InputStatus> {
    let jpeg = prepared.jpeg.jpeg();
    let length = jpeg.len();

    if !(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9])) {
        let reason = format!("the camera cut its picture of {length} bytes short");
        return Err(InputStatus::new(State::Failed, reason));
    }

    if length > MAX_FRAME_BYTES - MAX_FRAME_PREFIX {
        let reason =
            format!("a picture of {length} bytes is too large: lower size, scale or quality");
        return Err(InputStatus::new(State::WrongFormat, reason));
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
