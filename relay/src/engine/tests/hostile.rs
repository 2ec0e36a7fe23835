//! What strangers get: no more than they sent, nothing for nonsense, and no memory.

use fanlight_live::ledger::RESETS_PER_SECOND;
use fanlight_proto::limits::{JOIN_BYTES, MAX_DATAGRAM, MAX_STREAMS};

use super::*;

/// A linear congruential generator (Knuth's MMIX): the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A datagram that is good, nearly good, or noise.
    fn datagram(&mut self, out: &mut Vec<u8>) {
        let session = self.next();
        let ranges = (0..2 * self.below(64))
            .map(|_| self.next() as u32)
            .collect();
        let repair = Repair {
            alias: self.below(70_000) as u32,
            epoch: self.below(3),
            number: self.below(200),
            ranges,
        };

        let token: Vec<u8> = (0..self.below(20)).map(|_| self.next() as u8).collect();
        let stream = if self.below(2) == 0 {
            "cam".to_owned()
        } else {
            "x".repeat(self.below(900) as usize)
        };

        let list = self.below(2) == 0;
        let version = if self.below(4) == 0 {
            self.next() as u32
        } else {
            VERSION
        };

        match self.below(6) {
            0 | 1 => ToRelay::Join(Join {
                version,
                token: token.into(),
                stream,
                list,
                ..join(session)
            })
            .encode(out),
            2 => ToRelay::KeepAlive(session, KeepAlive::default()).encode(out),
            3 => ToRelay::Repair(session, repair).encode(out),
            4 => ToRelay::Goodbye(session, Goodbye { reason: stream }).encode(out),
            _ => {
                out.clear();
                out.extend((0..self.below(MAX_DATAGRAM as u64 + 200)).map(|_| self.next() as u8));
            }
        }

        for _ in 0..self.below(3) {
            if let Some(at) = self.next().checked_rem(out.len() as u64) {
                out[at as usize] ^= 1 << self.below(8);
            }
        }

        if self.below(8) == 0 {
            out.truncate(self.below(out.len() as u64 + 1) as usize);
        }
    }
}

#[test]
fn a_stranger_never_gets_more_bytes_than_it_sent_and_nothing_for_what_is_malformed() {
    let mut rig = Rig::live();
    rig.join(viewer(0), 1);
    let mut random = Random(2026);
    let mut datagram = Vec::new();
    let mut answered = 0;

    for n in 0..1_000_000_u64 {
        random.datagram(&mut datagram);
        let from = viewer(1 + random.below(5000) as u16);
        let malformed = ToRelay::parse(&datagram).is_err();
        rig.engine.on_datagram(
            rig.now,
            Route {
                remote: from,
                local: None,
            },
            &datagram,
        );

        let mut out = 0;
        while let Some(output) = rig.engine.poll_output() {
            let Output::Send { to, datagram } = output else {
                panic!("media for a stranger: {output:?}")
            };
            assert_eq!(to.remote, from);
            out += datagram.len();
        }

        assert!(
            out <= datagram.len(),
            "{out} bytes for {} in datagram {n}",
            datagram.len()
        );

        assert!(
            out == 0 || !malformed,
            "an answer to malformed datagram {n}"
        );

        answered += usize::from(out > 0);
        if n % 1000 == 0 {
            rig.now = rig.now + Duration::from_millis(5);
        }
    }

    assert!(
        answered > 100_000,
        "the test reaches what it tests: {answered}"
    );

    assert_eq!(rig.engine.viewers(), 1);
    assert_eq!(rig.engine.streams(), 1);
}

#[test]
fn every_answer_to_a_join_is_shorter_than_the_join() {
    let mut rig = Rig::new();
    for n in 0..64 {
        rig.heartbeat(&format!("{n:064}"), 1, 5, State::Failed);
    }

    let mut longest = 0;
    for wanted in [
        Join {
            list: true,
            ..join(1)
        },
        join(2),
        Join {
            stream: "none".into(),
            ..join(3)
        },
    ] {
        rig.say(viewer(1), &ToRelay::Join(wanted.clone()));
        let token = rig
            .engine
            .token_key
            .mint(rig.now, viewer(1))
            .to_vec()
            .into();
        let mut datagram = Vec::new();
        ToRelay::Join(Join { token, ..wanted }).encode(&mut datagram);
        rig.engine.on_datagram(
            rig.now,
            Route {
                remote: viewer(1),
                local: None,
            },
            &datagram,
        );
        for output in rig.outputs() {
            let Output::Send { datagram, .. } = output else {
                continue;
            };
            longest = longest.max(datagram.len());
        }
    }

    assert!((500..=JOIN_BYTES).contains(&longest), "{longest}");
}

#[test]
fn resets_are_limited_for_all_together() {
    let mut rig = Rig::live();
    let mut resets = 0;

    for n in 0..20_000_u64 {
        let from = SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 9));
        resets += rig
            .say(from, &ToRelay::KeepAlive(n + 1, KeepAlive::default()))
            .len();
    }

    assert_eq!(resets, RESETS_PER_SECOND as usize);
    rig.pass(SECOND);
    assert_eq!(rig.keep_alive(viewer(1), 1), Said::Reset(1));
}

#[test]
fn streams_more_than_the_relay_carries_are_refused() {
    let mut rig = Rig::new();
    for n in 0..MAX_STREAMS + 36 {
        rig.heartbeat(&format!("s{n}"), 1, 5, State::Live);
    }

    assert_eq!(rig.engine.streams(), MAX_STREAMS);
    assert_eq!(rig.engine.counts().refused_frames, 36);
    // When the others are gone there is room.
    rig.pass(SECOND * 2);
    rig.heartbeat("late", 1, 5, State::Live);
    assert!(rig.engine.alias(&"late".parse().unwrap()).is_some());
}
