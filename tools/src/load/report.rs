//! The result of a load test, as JSON and as a table.

mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::reassembly::Losses;
use serde::Serialize;

use super::fan_out::FanOut;
use super::gaps::Gaps;
use super::processor::{Meter, RelayMeter};
use super::timing::Measured;
use super::totals::{SessionTotals, Totals};
use fanlight_viewer::engine::LinkState;
use fanlight_viewer::stats::{Histogram, Lost, Percentiles, Repairs, millis};

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
    pub age_ms: FanOutAges,
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
    /// Those that never had a session, by what they were last told: the words are those of a viewer's link states.
    pub refused: BTreeMap<&'static str, u64>,
    /// Sessions that were opened again while it was measured.
    pub rejoins: u64,
    /// From the first one's asking until all had a session; none when not all had one.
    pub all_joined_ms: Option<f64>,
    /// The longest time from a viewer's asking to its session.
    pub slowest_join_ms: Option<f64>,
    /// From a viewer's asking to its first whole frame.
    pub first_frame_ms: Percentiles,
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
pub struct FanOutAges {
    /// Of each frame at each viewer.
    pub all: Percentiles,
    /// Of each frame at the viewer that had it first.
    pub first: Percentiles,
    /// Of each frame at the viewer that had it last, of those that got it.
    pub last: Percentiles,
    /// From the first to the last viewer of each frame.
    pub spread: Percentiles,
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
    /// The report on what the totals say.
    pub(super) fn of(totals: &Totals, measured: Measured) -> Self {
        let mut sessions = totals.sessions();
        sessions
            .iter_mut()
            .for_each(|session| session.gaps.end(measured.ended));
        let mut fan_out = totals.fan_out();
        fan_out.end();
        let length = measured.ended.saturating_since(measured.began);
        let gigabits = sum(&sessions, |session| session.bytes) as f64 * 8.0 / GIGABIT;
        Self {
            relays: measured
                .relays
                .iter()
                .map(|relay| relay.relay.clone())
                .collect(),
            stream: sessions.iter().find_map(|session| session.stream.clone()),
            sessions: Sessions::of(&sessions),
            measured_s: length.as_secs_f64(),
            frames: Frames::of(&sessions),
            gaps: Interruptions::of(&sessions),
            age_ms: FanOutAges::of(&fan_out),
            clock: sessions
                .iter()
                .map(|session| session.clock)
                .find(|clock| !clock.is_empty())
                .unwrap_or("none"),
            datagrams: sum(&sessions, |session| session.measured().datagrams),
            datagram_bytes: sum(&sessions, |session| session.measured().bytes),
            gigabits,
            repairs: Repairs {
                asked: sum(&sessions, |session| session.measured().counts.repairs_asked),
                received: sum(&sessions, |session| {
                    session.measured().counts.repairs_received
                }),
            },
            recovered: sum(&sessions, |session| session.measured().counts.recovered),
            cpu: Processors::of(measured.own, measured.relays, length, gigabits),
        }
    }
}

fn sum(sessions: &[SessionTotals], count: impl Fn(&SessionTotals) -> u64) -> u64 {
    sessions.iter().map(count).sum()
}

impl Sessions {
    fn of(sessions: &[SessionTotals]) -> Self {
        let count = |is: fn(&SessionTotals) -> bool| {
            sessions.iter().filter(|session| is(session)).count() as u64
        };
        let mut refused = BTreeMap::new();
        for session in sessions.iter().filter(|session| session.joined.is_none()) {
            *refused.entry(session.link_state.word()).or_default() += 1;
        }

        let first_asked = sessions.iter().filter_map(|session| session.asked).min();
        let last_joined = sessions
            .iter()
            .map(|session| session.joined)
            .min()
            .flatten()
            .and(sessions.iter().filter_map(|session| session.joined).max());

        let waits = sessions
            .iter()
            .filter_map(|session| Some(session.joined?.saturating_since(session.asked?)));
        let mut first_frames = Histogram::default();
        for session in sessions {
            if let (Some(served), Some(asked)) = (session.served, session.asked) {
                first_frames.record(served.saturating_since(asked));
            }
        }

        Self {
            asked: sessions.len() as u64,
            joined: count(|session| session.joined.is_some()),
            served: count(|session| session.served.is_some()),
            refused,
            rejoins: sum(sessions, |session| session.measured().joins),
            all_joined_ms: first_asked
                .zip(last_joined)
                .map(|(asked, joined)| millis(joined.saturating_since(asked))),
            slowest_join_ms: waits.max().map(millis),
            first_frame_ms: Percentiles::of(&first_frames),
        }
    }
}

impl Frames {
    fn of(sessions: &[SessionTotals]) -> Self {
        let mut lost = Losses::default();
        let mut least = 1.0_f64;

        for session in sessions {
            let losses = session.measured().losses;
            least = least
                .min(session.delivered as f64 / (session.delivered + losses.total()).max(1) as f64);
            add(&mut lost, &losses);
        }

        let delivered = sum(sessions, |session| session.delivered);
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
    fn of(sessions: &[SessionTotals]) -> Self {
        let mut all = Gaps::default();
        sessions.iter().for_each(|session| all.add(&session.gaps));
        Self {
            count: all.count,
            viewers: sessions
                .iter()
                .filter(|session| session.gaps.count > 0)
                .count() as u64,
            longest_frames: all.longest_frames,
            longest_ms: millis(all.longest),
        }
    }
}

impl FanOutAges {
    fn of(fan_out: &FanOut) -> Self {
        let [all, first, last, spread] =
            [&fan_out.all, &fan_out.first, &fan_out.last, &fan_out.spread].map(Percentiles::of);
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
pub(super) fn most_common_state(sessions: &[SessionTotals]) -> LinkState {
    let mut counts: Vec<(usize, &LinkState)> = Vec::new();
    for session in sessions.iter().filter(|session| session.served.is_none()) {
        match counts
            .iter_mut()
            .find(|(_, link_state)| *link_state == &session.link_state)
        {
            Some((count, _)) => *count += 1,
            None => counts.push((1, &session.link_state)),
        }
    }

    counts
        .into_iter()
        .max_by_key(|(count, _)| *count)
        .map(|(_, link_state)| link_state.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
