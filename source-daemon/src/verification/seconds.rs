//! The worst values of each of the last seconds, so that who asks once a second misses nothing in between.

use std::collections::VecDeque;

/// Seconds that are kept: who asks once a second may miss nine answers.
pub const SECONDS_KEPT: usize = 10;

/// What a viewer answered within one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Second {
    /// Which second since the source was started.
    pub index: u64,
    /// Answers for frames that were published.
    pub answers: u32,
    /// Of these, the ones that found the ball.
    pub found: u32,
    /// Of these, the ones that did not, although it was there.
    pub none: u32,
    /// The largest error among those found, in pixels.
    pub worst_error: f64,
    /// The longest time from capture to the screen, in microseconds.
    pub oldest_us: u64,
    /// Whether it was blind at some moment of it.
    pub blind: bool,
}

/// The last [`SECONDS_KEPT`] seconds in which anything was noted.
#[derive(Clone, Debug, Default)]
pub struct Seconds(VecDeque<Second>);

impl Seconds {
    /// The second `index`, to be added to. Seconds do not go back.
    pub fn at(&mut self, index: u64) -> &mut Second {
        if self.0.back().is_none_or(|newest| newest.index < index) {
            if self.0.len() == SECONDS_KEPT {
                self.0.pop_front();
            }
            self.0.push_back(Second {
                index,
                ..Second::default()
            });
        }

        self.0.back_mut().expect("one was pushed if there was none")
    }

    /// The seconds from `index` on, oldest first.
    pub fn since(&self, index: u64) -> impl Iterator<Item = &Second> {
        self.0.iter().filter(move |second| second.index >= index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_are_kept() {
        let mut seconds = Seconds::default();
        for index in [1, 1, 2, 4] {
            seconds.at(index).answers += 1;
        }

        assert_eq!(
            seconds
                .since(0)
                .map(|second| (second.index, second.answers))
                .collect::<Vec<_>>(),
            [(1, 2), (2, 1), (4, 1)]
        );

        (5..1000).for_each(|index| seconds.at(index).found = 1);
        assert_eq!(seconds.since(0).count(), SECONDS_KEPT);
        assert_eq!(seconds.since(998).count(), 2);
    }
}
