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
    pub skipped: u64,
    /// The relay sent a part and gave up the rest, because the way to this viewer was full.
    pub aborted: u64,
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
    /// The same losses, where the relay has told that it withheld so many of them: `skipped` frames of which it sent
    /// nothing, `aborted` of which it sent a part.
    #[must_use]
    pub fn with_withheld(&self, skipped: u64, aborted: u64) -> Self {
        let skipped = skipped.min(self.link);
        let aborted = aborted.min(self.incomplete);
        Self {
            skipped,
            aborted,
            link: self.link - skipped,
            incomplete: self.incomplete - aborted,
            ..*self
        }
    }

    /// The reasons and their counts, by the names that reports use.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 9] {
        [
            ("upstream", self.upstream),
            ("relay", self.relay),
            ("skipped", self.skipped),
            ("aborted", self.aborted),
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
