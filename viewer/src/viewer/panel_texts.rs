//! What the panels over the picture say of the last second. The timekeeper's thread calls it.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use fanlight_daemon::usage::Usage;
use fanlight_proto::clock::Time;

use super::figures;
use crate::engine::{PathSummary, Transport};
use crate::readings::{Readings, length, time_of_day};
use crate::stats::{Statistics, millis};

/// What stays the same as long as the viewer runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Identity {
    /// The stream that is asked for; empty when it is any.
    pub(super) stream: String,
    /// What the operator calls this screen.
    pub(super) screen: String,
    /// The relays.
    pub(super) relay: String,
}

impl Identity {
    /// What there is to read at `now`.
    pub(super) fn readings(&self, statistics: &Statistics, usage: &Usage, now: Time) -> Readings {
        let stream = statistics.engine.stream.as_ref();
        let stream = stream.map_or_else(|| self.stream.clone(), ToString::to_string);
        let state = statistics.link_state.word();
        let is_silent = statistics.summary.silence.is_some();
        Readings {
            name: format!("{stream}  {state}  {}", time_of_day(now)),
            caption: caption(&stream, statistics),
            statistics: self.statistics(statistics),
            stages: if is_silent {
                Default::default()
            } else {
                statistics.second.stages
            },
            minute: statistics.minute.clone(),
            figures: figures::text(&statistics.summary, usage),
            stream,
            screen: self.screen.clone(),
            address: address(),
        }
    }

    fn statistics(&self, statistics: &Statistics) -> String {
        let mut text = ages(statistics);
        let counts = &statistics.engine.counts;
        let _ = write!(
            text,
            "\n{:.1} Mbit/s  repaired {} of {} parts",
            statistics.second.megabits, counts.repairs_received, counts.repairs_asked
        );

        let lost = statistics.losses.by_reason().into_iter();
        let lost = lost.filter(|(_, count)| *count > 0);
        let reasons: Vec<_> = lost
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let total = statistics.losses.total();
        let _ = match reasons.as_slice() {
            [] => write!(text, "\nno frame lost"),
            reasons => write!(text, "\nlost {total}: {}", reasons.join(", ")),
        };

        let _ = write!(text, "\n{}", self.relay);
        for path in &statistics.engine.paths {
            let _ = write!(text, "\n{}", path_text(path));
        }
        text
    }
}

fn caption(stream: &str, statistics: &Statistics) -> String {
    let state = statistics.link_state.word();
    let second = &statistics.summary;
    match (second.silence, second.age) {
        (Some(silence), _) => format!("{stream}  {state}  {}", length(silence)),
        (None, Some(age)) => format!("{stream}  {state}  {:.0} ms", millis(age)),
        (None, None) => format!("{stream}  {state}"),
    }
}

fn ages(statistics: &Statistics) -> String {
    let second = &statistics.summary;
    match (second.silence, second.age) {
        (Some(silence), _) => format!("no new picture for {}", length(silence)),
        (None, None) => format!("{:.1} fps", second.fps),
        (None, age) => format!(
            "{:.1} fps  age {:.1} ms (p50 {:.1}, p99 {:.1})",
            second.fps,
            millis(statistics.newest_age),
            ms(age),
            millis(statistics.second.age_p99)
        ),
    }
}

fn path_text(path: &PathSummary) -> String {
    let transport = if path.is_tcp {
        Transport::Tcp
    } else {
        Transport::Udp
    };

    let mut text = format!("{}, {} frames", transport.word(), path.frames);
    if let Some(round_trip) = path.round_trip {
        let _ = write!(text, ", {:.1} ms there and back", millis(round_trip));
    }
    if path.by_multicast > 0 {
        text.push_str(", multicast");
    }
    if path.paused {
        text.push_str(", standing by");
    }
    text
}

fn ms(length: Option<Duration>) -> f64 {
    millis(length.unwrap_or_default())
}

/// An address of this host by which others may reach it.
fn address() -> String {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let outside = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback());
    let mut addresses: Vec<IpAddr> = outside
        .map(if_addrs::Interface::ip)
        .filter(|address| !is_link_local(address))
        .collect();
    addresses.sort_by_key(IpAddr::is_ipv6);
    let first = addresses.first();
    first.map_or_else(|| "no network".to_owned(), ToString::to_string)
}

const fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Summary;
    use crate::stats::{EndedSecond, SecondSummary};

    fn identity() -> Identity {
        Identity {
            stream: "lobby".into(),
            screen: "wall 3".into(),
            relay: "10.0.0.1:5004".into(),
        }
    }

    fn statistics() -> Statistics {
        let ms = Duration::from_millis;
        Statistics {
            summary: SecondSummary {
                fps: 29.97,
                age: Some(ms(8)),
                ..SecondSummary::default()
            },
            second: EndedSecond {
                stages: [1, 2, 3, 4, 5, 6, 7].map(ms),
                age_p99: ms(9),
                megabits: 25.6,
            },
            newest_age: ms(7),
            minute: vec![ms(8), ms(12)],
            engine: Summary {
                paths: vec![PathSummary {
                    frames: 30,
                    round_trip: Some(ms(1)),
                    ..PathSummary::default()
                }],
                ..Summary::default()
            },
            ..Statistics::default()
        }
    }

    #[test]
    fn statistics_have_a_line_for_each_subject() {
        let mut statistics = statistics();
        let readings = identity().readings(&statistics, &Usage::default(), Time::default());
        let lines = "30.0 fps  age 7.0 ms (p50 8.0, p99 9.0)\n\
                     25.6 Mbit/s  repaired 0 of 0 parts\n\
                     no frame lost\n\
                     10.0.0.1:5004\n\
                     udp, 30 frames, 1.0 ms there and back";
        assert_eq!(readings.statistics, lines);
        assert_eq!(readings.stages[4], Duration::from_millis(5));
        assert!(readings.name.starts_with("lobby  connecting  "));
        assert_eq!(readings.caption, "lobby  connecting  8 ms");

        statistics.losses.link = 2;
        statistics.losses.superseded = 3;
        let readings = identity().readings(&statistics, &Usage::default(), Time::default());
        assert!(
            readings
                .statistics
                .contains("\nlost 5: link 2, superseded 3\n")
        );
    }

    #[test]
    fn where_time_went_is_not_told_of_the_past() {
        let mut statistics = statistics();
        statistics.summary.silence = Some(Duration::from_secs(90));
        let readings = identity().readings(&statistics, &Usage::default(), Time::default());
        assert!(
            readings
                .statistics
                .starts_with("no new picture for 1 min 30 s\n")
        );
        assert_eq!(readings.stages, [Duration::ZERO; 7]);
        assert_eq!(readings.caption, "lobby  connecting  1 min 30 s");
    }

    #[test]
    fn this_host_has_an_address_or_no_network() {
        let address = address();
        let is_address = address.parse::<IpAddr>().is_ok_and(|it| !it.is_loopback());
        assert!(is_address || address == "no network", "{address}");
    }
}
