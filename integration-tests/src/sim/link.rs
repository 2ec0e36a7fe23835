//! One direction of a way between a viewer and a relay, as data, and what it does to datagrams.

use std::time::Duration;

use crate::seeded::Random;

/// Of damaged datagrams so many pass UDP's check sum of 16 bits (RFC 768), one of them.
const UDP_SUM_MISSES_ONE_OF: usize = 65_536;

/// What a link does. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Lost.
    pub loss: f64,
    /// Mean number of datagrams lost in a row (Gilbert-Elliott); up to 1: each for itself.
    pub burst: f64,
    /// The time that each takes.
    pub delay: Duration,
    /// Up to so much more, evenly spread; the order stays.
    pub jitter: Duration,
    /// Overtaken by others.
    pub reorder: f64,
    /// By how much those are late, at most.
    pub overtaken_by: Duration,
    /// Doubled.
    pub double: f64,
    /// Damaged.
    pub corrupt: f64,
    /// Whether UDP's check sum looks at the damaged ones before they are delivered; without it all of them are.
    pub udp_sum: bool,
    /// A bottleneck.
    pub rate: Option<Rate>,
    /// Nothing passes.
    pub cut: bool,
}

/// A bottleneck with a queue that drops what finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes that pass in a second.
    pub bytes_a_second: u64,
    /// Bytes that wait at most.
    pub queue: u64,
}

impl Link {
    /// Loses nothing and takes `delay`.
    #[must_use]
    pub const fn clean(delay: Duration) -> Self {
        Self {
            loss: 0.0,
            burst: 1.0,
            delay,
            jitter: Duration::ZERO,
            reorder: 0.0,
            overtaken_by: Duration::from_millis(3),
            double: 0.0,
            corrupt: 0.0,
            udp_sum: true,
            rate: None,
            cut: false,
        }
    }

    /// The same link with random loss.
    #[must_use]
    pub const fn losing(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same link with a bottleneck.
    #[must_use]
    pub const fn narrow(self, bytes_a_second: u64, queue: u64) -> Self {
        Self {
            rate: Some(Rate {
                bytes_a_second,
                queue,
            }),
            ..self
        }
    }
}

/// What became of the datagrams of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Put in.
    pub offered: u64,
    /// Lost at random or in a partition.
    pub lost: u64,
    /// Found no room in the queue.
    pub dropped: u64,
    /// Delivered damaged.
    pub damaged: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Overtaken.
    pub reordered: u64,
}

/// A link at work.
#[derive(Clone, Debug)]
pub(super) struct Carrier {
    /// What it does; may be changed at any time.
    pub(super) link: Link,
    /// What it did.
    pub(super) carried: Carried,
    bad: bool,
    busy_until: Duration,
    last_arrival: Duration,
}

impl Carrier {
    /// Nothing has been sent yet.
    #[must_use]
    pub(super) const fn new(link: Link) -> Self {
        let carried = Carried {
            offered: 0,
            lost: 0,
            dropped: 0,
            damaged: 0,
            doubled: 0,
            reordered: 0,
        };

        Self {
            link,
            carried,
            bad: false,
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
        }
    }

    /// Takes a datagram at `now`; gives each copy that arrives to `arrives`, with its moment.
    pub(super) fn carry(
        &mut self,
        now: Duration,
        random: &mut Random,
        datagram: Vec<u8>,
        mut arrives: impl FnMut(Duration, Vec<u8>),
    ) {
        self.carried.offered += 1;
        if self.link.cut || self.loses(random) {
            self.carried.lost += 1;
            return;
        }

        let Some(leaves) = self.queue(now, datagram.len()) else {
            self.carried.dropped += 1;
            return;
        };

        if chance(random, self.link.double) {
            self.carried.doubled += 1;
            let at = self.arrival(leaves, random);
            arrives(at, datagram.clone());
        }

        let mut datagram = datagram;
        if chance(random, self.link.corrupt) {
            if self.link.udp_sum && random.below(UDP_SUM_MISSES_ONE_OF) != 0 {
                self.carried.lost += 1;
                return;
            }

            self.carried.damaged += 1;
            damage(random, &mut datagram);
        }

        let at = self.arrival(leaves, random);
        arrives(at, datagram);
    }

    /// Gilbert-Elliott with everything lost in the bad state: it is left with 1 / burst, and entered so often that the
    /// share of all that is lost comes out.
    fn loses(&mut self, random: &mut Random) -> bool {
        let Link { loss, burst, .. } = self.link;
        if loss <= 0.0 {
            self.bad = false;
            return false;
        }

        if burst <= 1.0 || loss >= 1.0 {
            return chance(random, loss);
        }

        let leave = 1.0 / burst;
        let enter = loss * leave / (1.0 - loss);
        self.bad = if self.bad {
            !chance(random, leave)
        } else {
            chance(random, enter)
        };

        self.bad
    }

    /// When a datagram has passed the bottleneck; none when it finds no room before it.
    fn queue(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(rate) = self.link.rate else {
            return Some(now);
        };

        let start = self.busy_until.max(now);
        let takes = |bytes: u64| {
            Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate.bytes_a_second)
        };

        if start - now > takes(rate.queue) {
            return None;
        }

        self.busy_until = start + takes(bytes as u64);
        Some(self.busy_until)
    }

    fn arrival(&mut self, leaves: Duration, random: &mut Random) -> Duration {
        let spread = |random: &mut Random, most: Duration| match most.as_nanos() as usize {
            0 => Duration::ZERO,
            nanos => Duration::from_nanos(random.below(nanos) as u64),
        };

        let arrival = leaves + self.link.delay + spread(random, self.link.jitter);
        if chance(random, self.link.reorder) {
            self.carried.reordered += 1;
            return arrival + spread(random, self.link.overtaken_by);
        }

        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }
}

/// Whether it happens, that happens with this probability.
fn chance(random: &mut Random, probability: f64) -> bool {
    // 53 bits are what an f64 holds.
    probability > 0.0 && ((random.number() >> 11) as f64) < probability * (1_u64 << 53) as f64
}

/// Some bits flipped, or some bytes in a row overwritten.
fn damage(random: &mut Random, datagram: &mut [u8]) {
    if random.below(2) == 0 {
        for _ in 0..=random.below(4) {
            let bit = random.below(datagram.len() * 8);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
    } else {
        let start = random.below(datagram.len());
        let end = datagram.len().min(start + 1 + random.below(64));
        datagram[start..end]
            .iter_mut()
            .for_each(|byte| *byte = random.number() as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(5);

    /// Arrivals of 100 000 datagrams, sent one a millisecond and numbered.
    fn arrivals(link: Link) -> (Carried, Vec<(Duration, u64)>) {
        let mut carrier = Carrier::new(link);
        let mut random = Random::new(1);
        let mut all = Vec::new();

        for number in 0..100_000_u64 {
            let datagram = number.to_be_bytes().to_vec();
            carrier.carry(
                Duration::from_millis(number),
                &mut random,
                datagram,
                |at, bytes| {
                    all.push((at, u64::from_be_bytes(bytes.try_into().unwrap())));
                },
            );
        }

        (carrier.carried, all)
    }

    #[test]
    fn a_clean_link_delivers_everything_in_order_after_its_delay() {
        let (_, all) = arrivals(Link::clean(DELAY));
        assert!(
            all.iter()
                .zip(0..)
                .all(|(arrival, n)| *arrival == (Duration::from_millis(n) + DELAY, n))
        );
    }

    #[test]
    fn the_share_lost_is_the_one_asked_for_in_bursts_of_the_mean_length_asked_for() {
        for burst in [1.0, 3.0, 10.0] {
            let (carried, all) = arrivals(Link {
                burst,
                ..Link::clean(DELAY).losing(0.05)
            });

            assert!(
                (4_000..6_000).contains(&carried.lost),
                "{burst}: {carried:?}"
            );

            let bursts = all
                .windows(2)
                .filter(|pair| pair[1].1 - pair[0].1 > 1)
                .count() as f64;

            let mean = carried.lost as f64 / bursts;
            assert!((0.8..1.3).contains(&(mean / burst)), "{burst}: {mean}");
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let (_, all) = arrivals(Link {
            jitter: Duration::from_millis(20),
            ..Link::clean(DELAY)
        });

        assert!(all.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        let (carried, all) = arrivals(Link {
            reorder: 0.05,
            ..Link::clean(DELAY)
        });

        let overtaken = all.windows(2).filter(|pair| pair[0].0 > pair[1].0).count();
        assert!(
            overtaken > 1_000 && carried.reordered > 4_000,
            "{overtaken} {carried:?}"
        );
    }

    #[test]
    fn a_bottleneck_passes_its_rate_and_no_more_waits_than_its_queue_holds() {
        // 8 bytes a millisecond are offered and 2 pass; 40 wait, which is 20 ms.
        let (carried, all) = arrivals(Link::clean(Duration::ZERO).narrow(2_000, 40));
        assert!((24_900..25_100).contains(&all.len()), "{carried:?}");
        assert!(
            all.iter()
                .all(|(at, n)| *at - Duration::from_millis(*n) <= Duration::from_millis(24))
        );
    }

    #[test]
    fn of_what_is_damaged_hardly_anything_passes_the_check_sum_of_udp() {
        let link = Link {
            corrupt: 0.5,
            ..Link::clean(DELAY)
        };

        let (carried, _) = arrivals(link);
        assert!(carried.damaged < 10 && carried.lost > 49_000, "{carried:?}");
        let (carried, all) = arrivals(Link {
            udp_sum: false,
            ..link
        });

        assert_eq!((carried.lost, all.len()), (0, 100_000));
        assert!(carried.damaged > 49_000);
    }
}
