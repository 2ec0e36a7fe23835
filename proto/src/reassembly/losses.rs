//! Why frames are lost.

/// Frames that were captured, should have been shown and were not, by the place where they went missing. Counted from
/// the first frame a viewer sees of an epoch; the sum is the number of all lost frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Never reached the relay: the camera or the source skipped them, or the source's queue to this relay was full.
    pub upstream: u64,
    /// The relay had a newer one before it could send them.
    pub relay: u64,
    /// The relay left them out for this viewer, to keep within what it can take.
    pub paced_out: u64,
    /// The relay sent a part and gave up the rest, because the way to this viewer was full.
    pub given_up: u64,
    /// Not one shard came.
    pub link: u64,
    /// Some shards came, others did not in time.
    pub incomplete: u64,
    /// Captured while this viewer had no session.
    pub away: u64,
    /// Whole, but a newer one was there before it could be decoded or shown.
    pub superseded: u64,
    /// Whole, but no picture that may or can be decoded.
    pub undecodable: u64,
}

impl Losses {
    /// The same losses, where the relay has told that it withheld so many of them: `paced_out` frames of which it sent
    /// nothing, `given_up` of which it sent a part.
    #[must_use]
    pub fn with_withheld(&self, paced_out: u64, given_up: u64) -> Self {
        let paced_out = paced_out.min(self.link);
        let given_up = given_up.min(self.incomplete);
        Self {
            paced_out,
            given_up,
            link: self.link - paced_out,
            incomplete: self.incomplete - given_up,
            ..*self
        }
    }

    /// The reasons and their counts, by the names that reports use.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("upstream", self.upstream),
            ("relay", self.relay),
            ("paced_out", self.paced_out),
            ("given_up", self.given_up),
            ("link", self.link),
            ("incomplete", self.incomplete),
            ("away", self.away),
            ("superseded", self.superseded),
            ("undecodable", self.undecodable),
        ]
    }

    /// All lost frames.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_reason().iter().map(|(_, count)| count).sum()
    }
}
