//! What viewers over UDP said, added up: a viewer that leaves takes nothing away.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::StreamName;

use fanlight_live::{Ages, EngineStatus, OTHER, ViewerEntry};

/// Streams that are counted by their names; a name that was counted once stays counted.
const MAX_NAMES: usize = 4 * MAX_STREAMS;

/// Most frames a second that are believed of a viewer, and most bytes: more than any has. What a viewer says of itself may
/// be a lie, and is to spoil no more than its own share of the sums.
const MAX_FPS: f64 = 1_000.0;
const MAX_BYTES_A_SECOND: f64 = 1.25e9;

/// How often a viewer's median age is counted: it is that of its last second.
const AGE_INTERVAL: Duration = Duration::from_secs(1);

/// What all viewers of a stream got since the relay began. Never falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Shown.
    pub(super) frames: u64,
    /// Come.
    pub(super) bytes: u64,
    /// Left out for the sake of what the viewer's way can take.
    skipped: u64,
    /// Of which the viewer was sent a part only.
    aborted: u64,
    /// That the relay sent and that did not come whole.
    unrecovered: u64,
    /// When shown.
    pub(super) ages: Ages,
}

impl Totals {
    /// The frames that did not come, by reason.
    pub(super) fn lost(&self) -> [(&'static str, u64); 3] {
        [
            ("skipped", self.skipped),
            ("aborted", self.aborted),
            ("unrecovered", self.unrecovered),
        ]
    }
}

/// What was known of a session when it was looked at last.
#[derive(Clone, Copy, Debug)]
struct LastReport {
    began: Time,
    at: Time,
    shown: u64,
    bytes: u64,
    skipped: u64,
    aborted: u64,
    unrecovered: u64,
    age_due: Time,
}

/// The sums.
#[derive(Debug, Default)]
pub(super) struct UdpTotals {
    at: Time,
    /// The viewers of the last status, whose number the engine bounds.
    seen: BTreeMap<SocketAddr, LastReport>,
    totals: BTreeMap<StreamName, Totals>,
    other: Option<Totals>,
}

impl UdpTotals {
    /// Adds what is new in `status`.
    pub(super) fn note(&mut self, status: &EngineStatus) {
        if status.at <= self.at {
            return;
        }

        self.at = status.at;
        let before = std::mem::take(&mut self.seen);

        for viewer in &status.viewers {
            let began = status.at - viewer.since;
            let known = before
                .get(&viewer.address)
                .filter(|seen| seen.began == began);
            let totals = self.totals_of(&viewer.stream);
            let seen = match known {
                Some(seen) => add(totals, seen, viewer, status.at),
                // What it said in an earlier session has been counted.
                None => seen(viewer, began, status.at),
            };

            // It has said nothing of itself yet: with its first words it begins.
            let silent = viewer.report.frames_shown == 0 && viewer.report.bytes == 0;
            if !silent {
                self.seen.insert(viewer.address, seen);
            }
        }
    }

    /// By the name of the stream.
    pub(super) fn totals(&self) -> Vec<(String, Totals)> {
        let named = self
            .totals
            .iter()
            .map(|(name, totals)| (name.to_string(), *totals));
        named
            .chain(self.other.map(|totals| (OTHER.to_owned(), totals)))
            .collect()
    }

    fn totals_of(&mut self, stream: &StreamName) -> &mut Totals {
        if self.totals.len() >= MAX_NAMES && !self.totals.contains_key(stream) {
            return self.other.get_or_insert_default();
        }
        self.totals.entry(stream.clone()).or_default()
    }
}

fn seen(viewer: &ViewerEntry, began: Time, at: Time) -> LastReport {
    let report = &viewer.report;
    LastReport {
        began,
        at,
        shown: report.frames_shown,
        bytes: report.bytes,
        skipped: viewer.skipped,
        aborted: viewer.aborted,
        unrecovered: report.frames_unrecovered,
        age_due: at,
    }
}

/// Adds what a viewer has said since.
fn add(totals: &mut Totals, before: &LastReport, viewer: &ViewerEntry, at: Time) -> LastReport {
    let seconds = at.saturating_since(before.at).as_secs_f64();
    // What it says in one moment may have been gathered since its last words, up to a second ago.
    let most = |a_second: f64| ((seconds + 1.0) * a_second) as u64;
    let new = seen(viewer, before.began, at);
    let added = |new: u64, old: u64, most: u64| new.saturating_sub(old).min(most);
    let shown = added(new.shown, before.shown, most(MAX_FPS));
    totals.frames += shown;
    totals.bytes += added(new.bytes, before.bytes, most(MAX_BYTES_A_SECOND));
    totals.unrecovered += added(new.unrecovered, before.unrecovered, most(MAX_FPS));
    totals.skipped += new.skipped.saturating_sub(before.skipped);
    totals.aborted += new.aborted.saturating_sub(before.aborted);
    let mut age_due = before.age_due;

    if shown > 0 && viewer.report.age_us > 0 && at >= age_due {
        totals
            .ages
            .note(Duration::from_micros(viewer.report.age_us.into()));
        age_due = at + AGE_INTERVAL;
    }

    let newest = |new: u64, old: u64| new.max(old);
    LastReport {
        shown: newest(new.shown, before.shown),
        bytes: newest(new.bytes, before.bytes),
        unrecovered: newest(new.unrecovered, before.unrecovered),
        age_due,
        ..new
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::Report;

    use super::*;

    const START: Time = Time::from_nanos(1_000_000_000_000);

    fn viewer(port: u16, age: Duration, report: Report) -> ViewerEntry {
        ViewerEntry {
            name: "app".to_owned(),
            address: SocketAddr::from(([10, 0, 0, 1], port)),
            stream: "cam".parse().unwrap(),
            since: age,
            silent: Duration::ZERO,
            report,
            skipped: 0,
            aborted: 0,
            share: 1.0,
            parity_level: 0,
            own_socket: false,
            in_group: false,
            paused: false,
            verdict: None,
        }
    }

    fn report(shown: u64) -> Report {
        Report {
            frames_shown: shown,
            bytes: shown * 100_000,
            age_us: 20_000,
            ..Report::default()
        }
    }

    /// A second after another.
    fn noted(totals: &mut UdpTotals, second: u64, viewers: Vec<ViewerEntry>) -> Totals {
        totals.note(&EngineStatus {
            at: START + Duration::from_secs(second),
            viewers,
            ..EngineStatus::default()
        });

        totals
            .totals()
            .first()
            .map(|(_, totals)| *totals)
            .unwrap_or_default()
    }

    fn at(second: u64, shown: u64) -> Vec<ViewerEntry> {
        vec![viewer(1, Duration::from_secs(second), report(shown))]
    }

    #[test]
    fn what_a_viewer_says_is_added_and_stays_when_it_leaves() {
        let mut totals = UdpTotals::default();
        noted(&mut totals, 1, at(1, 0));
        noted(&mut totals, 2, at(2, 5));
        assert_eq!(
            noted(&mut totals, 3, at(3, 35)).frames,
            30,
            "from its first words on"
        );

        let gone = noted(&mut totals, 4, Vec::new());
        assert_eq!((gone.frames, gone.bytes), (30, 3_000_000));
        assert_eq!(gone.ages.classes.iter().sum::<u64>(), 1);
    }

    #[test]
    fn who_joins_again_is_not_counted_twice() {
        let mut totals = UdpTotals::default();
        noted(&mut totals, 10, at(10, 500));
        noted(&mut totals, 11, at(11, 530));
        let again = |age: u64, shown| vec![viewer(1, Duration::from_secs(age), report(shown))];
        noted(&mut totals, 12, again(1, 531));
        assert_eq!(noted(&mut totals, 13, again(2, 561)).frames, 60);
    }

    #[test]
    fn a_lie_spoils_little_and_nothing_ever_falls() {
        let mut totals = UdpTotals::default();
        noted(&mut totals, 1, at(1, 10));
        let lied = noted(&mut totals, 2, at(2, u64::MAX / 200_000)).frames;
        assert!(lied <= 2_000, "{lied}");
        assert_eq!(noted(&mut totals, 3, at(3, 0)).frames, lied);
        assert_eq!(noted(&mut totals, 4, at(4, 40)).frames, lied);
    }

    #[test]
    fn more_names_than_there_is_room_for_are_counted_as_others() {
        let mut totals = UdpTotals::default();
        for n in 0..2 * MAX_NAMES as u64 {
            let stream: StreamName = format!("s{n}").parse().unwrap();
            let viewers = vec![ViewerEntry {
                stream,
                ..viewer(1, Duration::from_secs(n), report(n))
            }];
            noted(&mut totals, n, viewers);
        }

        let totals = totals.totals();
        assert_eq!(
            (totals.len(), totals[MAX_NAMES].0.as_str()),
            (MAX_NAMES + 1, OTHER)
        );
    }
}
