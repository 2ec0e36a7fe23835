//! The time of frames in a film, by their source's clock.

use fanlight_proto::clock::Time;

use super::Sample;

/// Gives each frame the time of its capture since the first. The clock of another run of the source goes on when its first
/// frame is shown.
#[derive(Debug)]
pub(super) struct CaptureClock {
    epoch: u64,
    /// The source's clock at the film's begin.
    origin_ns: i128,
    /// The last frame's time in the film, and when it was shown.
    last: (i128, Time),
}

impl CaptureClock {
    /// For a film that begins with `sample`.
    pub(super) fn begin(sample: &Sample) -> Self {
        Self {
            epoch: sample.id.epoch,
            origin_ns: sample.captured_ns.into(),
            last: (0, sample.at),
        }
    }

    /// The time of the next frame in nanoseconds. Not later than that of the one before when the source's clock goes back.
    pub(super) fn time_ns(&mut self, sample: &Sample) -> i128 {
        let captured_ns = i128::from(sample.captured_ns);
        if self.epoch != sample.id.epoch {
            let (time, shown) = self.last;
            let since = sample.at.saturating_since(shown).as_nanos() as i128;
            self.epoch = sample.id.epoch;
            self.origin_ns = captured_ns - time - since;
        }

        let time = captured_ns - self.origin_ns;
        self.last = (time, sample.at);
        time
    }
}
