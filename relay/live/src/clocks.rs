//! What is known of the clocks behind each source: of a source its own, of a relay that publishes those of its sources.

use std::collections::BTreeMap;

use fanlight_proto::limits::MAX_STREAMS;

/// A value for each clock of each source, by the source's place in the settings and the clock's id. Of one source at most
/// [`MAX_STREAMS`] are kept, the oldest gives way.
#[derive(Clone, Debug, Default)]
pub struct Clocks<T>(BTreeMap<usize, Vec<(u64, T)>>);

impl<T> Clocks<T> {
    /// Notes what is known of a clock now.
    pub fn put(&mut self, origin: usize, clock_id: u64, value: T) {
        let clocks = self.0.entry(origin).or_default();
        clocks.retain(|(known, _)| *known != clock_id);
        if clocks.len() == MAX_STREAMS {
            clocks.remove(0);
        }
        clocks.push((clock_id, value));
    }

    /// What is known of a clock.
    #[must_use]
    pub fn get(&self, origin: usize, clock_id: u64) -> Option<&T> {
        let (_, value) = self
            .0
            .get(&origin)?
            .iter()
            .find(|(known, _)| *known == clock_id)?;
        Some(value)
    }

    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values().flatten().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_a_source_are_kept_apart_and_bounded() {
        let mut clocks = Clocks::default();
        for clock_id in 0..3 * MAX_STREAMS as u64 {
            clocks.put(1, clock_id, clock_id);
        }
        clocks.put(2, 5, 77);
        assert_eq!(clocks.values().count(), MAX_STREAMS + 1);
        let last = 3 * MAX_STREAMS as u64 - 1;
        assert_eq!(clocks.get(1, last), Some(&last));
        assert_eq!((clocks.get(1, 5), clocks.get(2, 5)), (None, Some(&77)));
    }
}
