//! How long one frame spent in each stage, and the detection message with it for the source. The main thread and the
//! trackers' threads call it.

use std::time::Duration;

use fanlight_proto::message::{Ball, Detection, FrameId};

use super::Found;

/// The way of a frame from its publisher to the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimings {
    /// From the source's publishing to the last shard.
    pub transit: Duration,
    /// From there until the decoder took it.
    pub wait: Duration,
    /// Decoding.
    pub decode: Duration,
    /// From decoded to shown.
    pub present: Duration,
    /// The error of `transit` is at most this: zero when both ends share a clock, none when it is not known.
    pub clock_error: Option<Duration>,
}

/// What a tracker said of a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What was found; none when there is nothing.
    pub found: Option<Found>,
    /// From shown until the answer.
    pub tracked: Duration,
    /// Of that, how long the tracker says that it worked; zero when it does not say.
    pub looked: Duration,
}

impl StageTimings {
    /// The message to the source about frame `id`.
    #[must_use]
    pub fn detection(&self, id: FrameId, look: &Observation) -> Detection {
        let ball = |found: Found| Ball {
            x: found.x as f32,
            y: found.y as f32,
            radius: found.radius as f32,
        };

        Detection {
            epoch: id.epoch,
            number: id.number,
            ball: look.found.map(ball),
            confidence: look.found.map_or(0.0, |found| found.confidence as f32),
            transit_us: micros(self.transit),
            wait_us: micros(self.wait),
            decode_us: micros(self.decode),
            present_us: micros(self.present),
            track_us: micros(look.tracked),
            looked_us: micros(look.looked),
            clock_error_us: self.clock_error.map_or(u32::MAX, error_micros),
        }
    }
}

fn micros(length: Duration) -> u32 {
    u32::try_from(length.as_micros()).unwrap_or(u32::MAX)
}

/// Never 0 for two different clocks.
fn error_micros(error: Duration) -> u32 {
    u32::try_from(error.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: FrameId = FrameId {
        epoch: 5,
        number: 7,
    };

    fn timings(clock_error: Option<Duration>) -> StageTimings {
        let [transit, wait, decode, present] = [1, 2, 3, 4].map(Duration::from_micros);
        StageTimings {
            transit,
            wait,
            decode,
            present,
            clock_error,
        }
    }

    #[test]
    fn each_stage_is_told_under_its_name() {
        let found = Some(Found {
            x: 320.25,
            y: -1.5,
            radius: 20.0,
            confidence: 0.75,
        });

        let look = Observation {
            found,
            tracked: Duration::from_micros(5),
            looked: Duration::from_micros(6),
        };

        let detection = timings(Some(Duration::ZERO)).detection(ID, &look);
        let expected = Detection {
            epoch: 5,
            number: 7,
            ball: Some(Ball {
                x: 320.25,
                y: -1.5,
                radius: 20.0,
            }),
            confidence: 0.75,
            transit_us: 1,
            wait_us: 2,
            decode_us: 3,
            present_us: 4,
            track_us: 5,
            looked_us: 6,
            clock_error_us: 0,
        };

        assert_eq!(detection, expected);
    }

    #[test]
    fn clocks_that_are_two_are_never_told_to_be_one_and_what_is_too_long_saturates() {
        let look = Observation {
            found: None,
            tracked: Duration::from_secs(1 << 40),
            looked: Duration::ZERO,
        };

        let error = |error| timings(error).detection(ID, &look).clock_error_us;
        assert_eq!(error(Some(Duration::from_nanos(1))), 1);
        assert_eq!(error(Some(Duration::from_micros(200))), 200);
        assert_eq!(error(None), u32::MAX, "by wall clocks nothing is certain");
        let detection = timings(None).detection(ID, &look);
        assert_eq!(
            (detection.track_us, detection.ball, detection.confidence),
            (u32::MAX, None, 0.0)
        );
    }
}
