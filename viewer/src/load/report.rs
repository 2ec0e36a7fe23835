//! What a load found, as JSON and as a table.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::reassembly::Losses;
use serde::Serialize;

use super::books::{Books, Seat};
use super::fan::Fan;
use super::gaps::Gaps;
use super::processor::{Meter, RelayMeter};
use super::timing::Measured;
use crate::engine::Signal;
use crate::stats::{Aging, Lost, Repairs, millis};

/// Bits in a gigabit.
const GIGABIT: f64 = 1e9;

/// What `load --json` writes. Durations are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The relays that were asked.
    pub relays: Vec<String>,
    /// The stream of the sessions.
    pub stream: Option<String>,
    /// What became of the sessions.
    pub sessions: Sessions,
    /// Seconds for which was measured: all that follows was counted in them.
    pub measured_s: f64,
    /// The frames of all viewers.
    pub frames: Frames,
    /// Where frames were interrupted.
    pub gaps: Interruptions,
    /// How old frames were when they were whole.
    pub age_ms: FanAges,
    /// What ages were measured by, as in the report of a viewer.
    pub clock: &'static str,
    /// Datagrams that came, with what came twice, parity and repairs.
    pub datagrams: u64,
    /// Their bytes.
    pub datagram_bytes: u64,
    /// Bits of the frames delivered.
    pub gigabits: f64,
    /// Shards asked for again.
    pub repairs: Repairs,
    /// Frames that parity completed.
    pub recovered: u64,
    /// Processor time.
    pub cpu: Processors,
}

/// See [`Report::sessions`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sessions {
    /// Viewers that there were to be.
    pub asked: u64,
    /// Those that had a session at any time.
    pub joined: u64,
    /// Those that had a frame at any time.
    pub served: u64,
    /// Those that never had a session, by what they were last told: the words are those of a viewer's signals.
    pub refused: BTreeMap<&'static str, u64>,
    /// Sessions that were opened again while it was measured.
    pub rejoins: u64,
    /// From the first one's asking until all had a session; none when not all had one.
    pub all_joined_ms: Option<f64>,
    /// The longest time from a viewer's asking to its session.
    pub slowest_join_ms: Option<f64>,
}

/// See [`Report::frames`]: `delivered + lost.total` are those expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frames {
    /// Captured since each viewer's first one, so far as later ones tell: while nothing comes, nothing is expected.
    pub expected: u64,
    /// Came whole.
    pub delivered: u64,
    /// Did not.
    pub lost: Lost,
    /// Delivered of those expected, in per cent, of the viewer that got the smallest share.
    pub least_delivered_percent: f64,
}

/// See [`Report::gaps`]. A gap is where frames are missing, or where none came for 500 ms and three intervals.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Interruptions {
    /// At all viewers together.
    pub count: u64,
    /// Viewers that had any.
    pub viewers: u64,
    /// Most frames missing in one.
    pub longest_frames: u64,
    /// The longest time between the frames beside one, or from the last frame to the end.
    pub longest_ms: f64,
}

/// See [`Report::age_ms`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FanAges {
    /// Of each frame at each viewer.
    pub all: Aging,
    /// Of each frame at the viewer that had it first.
    pub first: Aging,
    /// Of each frame at the viewer that had it last, of those that got it.
    pub last: Aging,
    /// From the first to the last viewer of each frame.
    pub spread: Aging,
}

/// See [`Report::cpu`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Processors {
    /// Of this program.
    pub own: Processor,
    /// Of each relay.
    pub relays: Vec<Processor>,
    /// All relays' together; none when one is not known.
    pub relays_ms_per_gigabit: Option<f64>,
}

/// The time of one process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Processor {
    /// The relay's address; "load" for this program.
    pub name: String,
    /// Its process.
    pub pid: Option<u32>,
    /// Cores that it kept busy.
    pub cores: Option<f64>,
    /// Milliseconds for each gigabit of frames delivered.
    pub ms_per_gigabit: Option<f64>,
    /// Why that is not known.
    pub unknown: Option<String>,
}

impl Report {
    /// The report on what the books say.
    pub(super) fn of(books: &Books, measured: Measured) -> Self {
        let mut seats = books.seats();
        seats
            .iter_mut()
            .for_each(|seat| seat.gaps.end(measured.ended));
        let mut fan = books.fan();
        fan.end();
        let length = measured.ended.saturating_since(measured.began);
        let gigabits = sum(&seats, |seat| seat.bytes) as f64 * 8.0 / GIGABIT;
        Self {
            relays: measured
                .relays
                .iter()
                .map(|relay| relay.relay.clone())
                .collect(),
            stream: seats.iter().find_map(|seat| seat.stream.clone()),
            sessions: Sessions::of(&seats),
            measured_s: length.as_secs_f64(),
            frames: Frames::of(&seats),
            gaps: Interruptions::of(&seats),
            age_ms: FanAges::of(&fan),
            clock: seats
                .iter()
                .map(|seat| seat.clock)
                .find(|clock| !clock.is_empty())
                .unwrap_or("none"),
            datagrams: sum(&seats, |seat| seat.measured().datagrams),
            datagram_bytes: sum(&seats, |seat| seat.measured().bytes),
            gigabits,
            repairs: Repairs {
                asked: sum(&seats, |seat| seat.measured().counts.repairs_asked),
                received: sum(&seats, |seat| seat.measured().counts.repairs_received),
            },
            recovered: sum(&seats, |seat| seat.measured().counts.recovered),
            cpu: Processors::of(measured.own, measured.relays, length, gigabits),
        }
    }
}

fn sum(seats: &[Seat], count: impl Fn(&Seat) -> u64) -> u64 {
    seats.iter().map(count).sum()
}

impl Sessions {
    fn of(seats: &[Seat]) -> Self {
        let count = |is: fn(&Seat) -> bool| seats.iter().filter(|seat| is(seat)).count() as u64;
        let mut refused = BTreeMap::new();
        for seat in seats.iter().filter(|seat| seat.joined.is_none()) {
            *refused.entry(seat.signal.word()).or_default() += 1;
        }
        let first_asked = seats.iter().filter_map(|seat| seat.asked).min();
        let last_joined = seats
            .iter()
            .map(|seat| seat.joined)
            .min()
            .flatten()
            .and(seats.iter().filter_map(|seat| seat.joined).max());
        let waits = seats
            .iter()
            .filter_map(|seat| Some(seat.joined?.saturating_since(seat.asked?)));
        Self {
            asked: seats.len() as u64,
            joined: count(|seat| seat.joined.is_some()),
            served: count(|seat| seat.served.is_some()),
            refused,
            rejoins: sum(seats, |seat| seat.measured().joins),
            all_joined_ms: first_asked
                .zip(last_joined)
                .map(|(asked, joined)| millis(joined.saturating_since(asked))),
            slowest_join_ms: waits.max().map(millis),
        }
    }
}

impl Frames {
    fn of(seats: &[Seat]) -> Self {
        let mut lost = Losses::default();
        let mut least = 1.0_f64;
        for seat in seats {
            let losses = seat.measured().losses;
            least =
                least.min(seat.delivered as f64 / (seat.delivered + losses.total()).max(1) as f64);
            add(&mut lost, &losses);
        }
        let delivered = sum(seats, |seat| seat.delivered);
        Self {
            expected: delivered + lost.total(),
            delivered,
            lost: Lost::of(&lost),
            least_delivered_percent: 100.0 * least,
        }
    }
}

fn add(sum: &mut Losses, losses: &Losses) {
    let Losses {
        upstream,
        relay,
        skipped,
        aborted,
        link,
        incomplete,
        away,
        superseded,
        undecodable,
    } = *losses;
    sum.upstream += upstream;
    sum.relay += relay;
    sum.skipped += skipped;
    sum.aborted += aborted;
    sum.link += link;
    sum.incomplete += incomplete;
    sum.away += away;
    sum.superseded += superseded;
    sum.undecodable += undecodable;
}

impl Interruptions {
    fn of(seats: &[Seat]) -> Self {
        let mut all = Gaps::default();
        seats.iter().for_each(|seat| all.add(&seat.gaps));
        Self {
            count: all.count,
            viewers: seats.iter().filter(|seat| seat.gaps.count > 0).count() as u64,
            longest_frames: all.longest_frames,
            longest_ms: millis(all.longest),
        }
    }
}

impl FanAges {
    fn of(fan: &Fan) -> Self {
        let [all, first, last, spread] =
            [&fan.all, &fan.first, &fan.last, &fan.spread].map(Aging::of);
        Self {
            all,
            first,
            last,
            spread,
        }
    }
}

impl Processors {
    fn of(
        own: Result<Meter, String>,
        relays: Vec<RelayMeter>,
        length: Duration,
        gigabits: f64,
    ) -> Self {
        let processor = |name, meter| Processor::of(name, meter, length, gigabits);
        let own = processor("load".to_owned(), own);
        let relays: Vec<_> = relays
            .into_iter()
            .map(|relay| processor(relay.relay, relay.meter))
            .collect();
        let relays_ms_per_gigabit = relays.iter().map(|relay| relay.ms_per_gigabit).sum();
        Self {
            own,
            relays,
            relays_ms_per_gigabit,
        }
    }
}

impl Processor {
    fn of(name: String, meter: Result<Meter, String>, length: Duration, gigabits: f64) -> Self {
        let meter = match meter {
            Ok(meter) => meter,
            Err(why) => {
                return Self {
                    name,
                    pid: None,
                    cores: None,
                    ms_per_gigabit: None,
                    unknown: Some(why),
                };
            }
        };
        let known = !meter.ended && !length.is_zero();
        Self {
            name,
            pid: Some(meter.process),
            cores: known.then(|| meter.spent.as_secs_f64() / length.as_secs_f64()),
            ms_per_gigabit: (known && gigabits > 0.0).then(|| millis(meter.spent) / gigabits),
            unknown: meter
                .ended
                .then(|| "its process ended while it was measured".to_owned()),
        }
    }
}

/// What the viewers that had no frame were last told most often.
pub(super) fn commonest_trouble(seats: &[Seat]) -> Signal {
    let mut counts: Vec<(usize, &Signal)> = Vec::new();
    for seat in seats.iter().filter(|seat| seat.served.is_none()) {
        match counts
            .iter_mut()
            .find(|(_, signal)| *signal == &seat.signal)
        {
            Some((count, _)) => *count += 1,
            None => counts.push((1, &seat.signal)),
        }
    }
    counts
        .into_iter()
        .max_by_key(|(count, _)| *count)
        .map(|(_, signal)| signal.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
