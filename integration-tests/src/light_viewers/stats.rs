//! What a light viewer has received, and what many have.

use std::fmt;
use std::time::Duration;

/// What one member has seen since it joined, or since [`LightViewers::begin`](super::LightViewers::begin).
#[derive(Clone, Default)]
pub struct ViewerStats {
    /// Frames that came whole.
    pub whole: u64,
    /// Frames that came in part.
    pub partial: u64,
    /// Frames that the stream had meanwhile.
    pub expected: u64,
    /// Datagrams that came.
    pub datagrams: u64,
    /// Of each whole frame, the time from the relay's taking it to its last shard.
    pub ages: Vec<Duration>,
    /// From the first JOIN to ACCEPT, when there is a session.
    pub joined_after: Option<Duration>,
    /// From the first JOIN to the first whole frame ever.
    pub first_whole_after: Option<Duration>,
    /// Sessions had.
    pub joins: u64,
    /// How often the relay refused.
    pub refusals: u64,
}

impl ViewerStats {
    /// Of a hundred frames, how many came whole.
    #[must_use]
    pub fn delivery(&self) -> f64 {
        100.0 * self.whole as f64 / self.expected.max(1) as f64
    }
}

impl fmt::Debug for ViewerStats {
    /// Without the ages, which are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            whole,
            partial,
            expected,
            joins,
            refusals,
            ..
        } = self;

        write!(
            f,
            "{whole} of {expected} frames, {partial} in part, {joins} joins, {refusals} refusals"
        )
    }
}

/// The age that so many of a hundred whole frames of these members do not exceed; none when no frame was whole.
#[must_use]
pub fn age_percentile(seen: &[ViewerStats], hundredths: usize) -> Option<Duration> {
    let mut ages: Vec<Duration> = seen
        .iter()
        .flat_map(|seen| seen.ages.iter().copied())
        .collect();

    ages.sort_unstable();
    ages.get(ages.len() * hundredths / 100)
        .or(ages.last())
        .copied()
}

/// How evenly whole frames came to these members, by Jain's index: 1 when all got the same, 1/n when one got all.
#[must_use]
pub fn fairness(seen: &[ViewerStats]) -> f64 {
    let counts = || seen.iter().map(|seen| seen.whole as f64);
    let squares: f64 = counts().map(|count| count * count).sum();
    counts().sum::<f64>().powi(2) / (seen.len() as f64 * squares.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_one_when_all_get_the_same_and_small_when_one_gets_all() {
        let seen = |whole| ViewerStats {
            whole,
            ..ViewerStats::default()
        };

        assert!((fairness(&[seen(5), seen(5)]) - 1.0).abs() < 1e-9);
        assert!((fairness(&[seen(5), seen(0), seen(0), seen(0)]) - 0.25).abs() < 1e-9);
    }
}
