//! What a screen is told to show: which direction is newer, and the bounds of each. Relays give them, viewers obey.

use std::time::Duration;

use prost::Message as _;

use crate::limits::{
    MAX_CARD, MAX_DIRECTED_STREAMS, MAX_DIRECTION_BYTES, MAX_DIRECTION_VERSION, MAX_NOTICE,
    MAX_OVERLAY, MAX_VIEWER_NAME, MIN_CYCLE,
};
use crate::message::{Direct, Direction, Notice, ScreenReport, StreamName};

/// The order of all directions that a screen was ever given (Lamport 1978, with the relay's number where clocks are equal).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// See [`Direction::version`].
    pub version: u64,
    /// See [`Direction::origin`].
    pub origin: u64,
}

impl Direction {
    /// Its place among all directions of the screen.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        Stamp {
            version: self.version,
            origin: self.origin,
        }
    }

    /// The streams that it names.
    pub fn stream_names(&self) -> impl Iterator<Item = StreamName> {
        self.streams.iter().filter_map(|name| name.parse().ok())
    }

    /// Whether it leaves the screen to its own settings.
    #[must_use]
    pub const fn is_release(&self) -> bool {
        self.streams.is_empty() && !self.is_by_word() && self.overlay == 0
    }

    /// Whether there is only the screen's word for it, and no frame that proves it.
    #[must_use]
    pub const fn is_by_word(&self) -> bool {
        self.frozen || !self.card.is_empty()
    }

    /// How long each stream stays, when they are to be shown one after the other.
    #[must_use]
    pub fn cycle(&self) -> Option<Duration> {
        (self.cycle_ms > 0).then(|| Duration::from_millis(self.cycle_ms.into()))
    }
}

/// Checks a direction, wherever it comes from.
///
/// # Errors
/// Names the first field that is out of its bounds.
pub fn check(direction: &Direction) -> Result<(), &'static str> {
    let of = &direction;
    bound((1..=MAX_DIRECTION_VERSION).contains(&of.version), "version")?;
    bound(of.origin != 0, "origin")?;
    bound(of.by.len() <= MAX_VIEWER_NAME, "by")?;
    bound(of.streams.len() <= MAX_DIRECTED_STREAMS, "streams")?;
    bound(of.stream_names().count() == of.streams.len(), "streams")?;
    bound(of.card.len() <= MAX_CARD, "card")?;
    bound(of.overlay <= MAX_OVERLAY, "overlay")?;
    bound(
        of.cycle().is_none_or(|cycle| cycle >= MIN_CYCLE),
        "cycle_ms",
    )?;
    bound(of.encoded_len() <= MAX_DIRECTION_BYTES, "streams")
}

/// Checks a notice.
///
/// # Errors
/// Names the first field that is out of its bounds.
pub fn check_notice(notice: &Notice) -> Result<(), &'static str> {
    let longest = MAX_NOTICE.as_millis();
    bound(notice.id != 0, "id")?;
    bound(
        (1..=longest).contains(&u128::from(notice.lasts_ms)),
        "lasts_ms",
    )?;
    let is_stream = notice.stream.parse::<StreamName>().is_ok();
    bound(notice.stream.is_empty() || is_stream, "stream")?;
    bound(notice.text.len() <= MAX_CARD, "text")?;
    let kinds = [is_stream, !notice.text.is_empty(), notice.identify];
    bound(kinds.iter().filter(|is| **is).count() == 1, "stream")
}

/// Checks what a relay tells a screen.
///
/// # Errors
/// Names the first field that is out of its bounds.
pub fn check_direct(direct: &Direct) -> Result<(), &'static str> {
    direct.direction.as_ref().map_or(Ok(()), check)?;
    direct.notice.as_ref().map_or(Ok(()), check_notice)
}

/// Checks what a screen tells a relay.
///
/// # Errors
/// Names the first field that is out of its bounds.
pub fn check_report(report: &ScreenReport) -> Result<(), &'static str> {
    bound(report.screen != 0, "screen")?;
    bound(
        (1..=MAX_DIRECTED_STREAMS as u32).contains(&report.tiles),
        "tiles",
    )?;
    let is_stream = report.popup.parse::<StreamName>().is_ok();
    bound(report.popup.is_empty() || is_stream, "popup")?;
    report.direction.as_ref().map_or(Ok(()), check)
}

fn bound(within: bool, field: &'static str) -> Result<(), &'static str> {
    within.then_some(()).ok_or(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{SEAL_BYTES, SEALED_HEADER, ToRelay, ToViewer};
    use crate::limits::MAX_DATAGRAM;

    fn direction() -> Direction {
        Direction {
            version: 3,
            origin: 7,
            streams: vec!["cam".to_owned()],
            ..Direction::default()
        }
    }

    fn longest() -> Direction {
        Direction {
            version: MAX_DIRECTION_VERSION,
            origin: u64::MAX,
            given_ms: u64::MAX,
            by: "b".repeat(MAX_VIEWER_NAME),
            streams: vec!["s".repeat(64); 5],
            cycle_ms: u32::MAX,
            frozen: true,
            card: "c".repeat(MAX_CARD),
            overlay: MAX_OVERLAY,
            reload: u64::MAX,
        }
    }

    fn notice() -> Notice {
        Notice {
            id: 1,
            lasts_ms: 1000,
            identify: true,
            ..Notice::default()
        }
    }

    #[test]
    fn the_later_version_wins_and_then_the_greater_origin() {
        let stamp = |version, origin| Stamp { version, origin };
        let mut all = [stamp(2, 1), stamp(1, 9), stamp(2, 3), stamp(1, 2)];
        all.sort();
        assert_eq!(all, [stamp(1, 2), stamp(1, 9), stamp(2, 1), stamp(2, 3)]);
    }

    #[test]
    fn the_longest_direction_and_notice_fit_a_sealed_datagram() {
        assert_eq!(check(&longest()), Ok(()));
        let notice = Notice {
            text: "n".repeat(MAX_CARD),
            identify: false,
            lasts_ms: 3_600_000,
            ..notice()
        };
        let direct = Direct {
            direction: Some(longest()),
            notice: Some(notice),
        };
        assert_eq!(check_direct(&direct), Ok(()));
        let report = ScreenReport {
            screen: u64::MAX,
            direction: Some(longest()),
            in_force: true,
            epoch: u64::MAX,
            number: u64::MAX,
            notice: u64::MAX,
            tiles: 16,
            popup: "p".repeat(64),
        };
        assert_eq!(check_report(&report), Ok(()));

        let mut inner = Vec::new();
        ToViewer::Direct(1, direct).encode_inner(&mut inner);
        assert!(SEALED_HEADER + inner.len() + SEAL_BYTES <= MAX_DATAGRAM);
        ToRelay::ScreenReport(1, report).encode_inner(&mut inner);
        assert!(SEALED_HEADER + inner.len() + SEAL_BYTES <= MAX_DATAGRAM);
    }

    #[test]
    fn a_direction_out_of_bounds_is_refused_by_the_field() {
        let many = vec!["s".to_owned(); MAX_DIRECTED_STREAMS + 1];
        let long = vec!["s".repeat(64); 12];
        let change = |change: fn(&mut Direction)| {
            let mut changed = direction();
            change(&mut changed);
            check(&changed)
        };
        assert_eq!(check(&direction()), Ok(()));
        assert_eq!(change(|it| it.version = 0), Err("version"));
        assert_eq!(
            change(|it| it.version = MAX_DIRECTION_VERSION + 1),
            Err("version")
        );
        assert_eq!(change(|it| it.origin = 0), Err("origin"));
        assert_eq!(change(|it| it.by = "b".repeat(65)), Err("by"));
        assert_eq!(change(|it| it.cycle_ms = 999), Err("cycle_ms"));
        assert_eq!(change(|it| it.card = "c".repeat(241)), Err("card"));
        assert_eq!(change(|it| it.overlay = 5), Err("overlay"));
        assert_eq!(
            change(|it| it.streams = vec!["no name!".to_owned()]),
            Err("streams")
        );
        for streams in [many, long] {
            let direction = Direction {
                streams,
                ..direction()
            };
            assert_eq!(check(&direction), Err("streams"));
        }
    }

    #[test]
    fn a_notice_is_one_thing_for_a_bounded_time() {
        assert_eq!(check_notice(&notice()), Ok(()));
        let bad = [
            ("id", Notice { id: 0, ..notice() }),
            (
                "lasts_ms",
                Notice {
                    lasts_ms: 0,
                    ..notice()
                },
            ),
            (
                "lasts_ms",
                Notice {
                    lasts_ms: 3_600_001,
                    ..notice()
                },
            ),
            (
                "stream",
                Notice {
                    identify: false,
                    ..notice()
                },
            ),
            (
                "stream",
                Notice {
                    stream: "cam".to_owned(),
                    ..notice()
                },
            ),
            (
                "stream",
                Notice {
                    stream: "no name!".to_owned(),
                    identify: false,
                    ..notice()
                },
            ),
            (
                "text",
                Notice {
                    text: "t".repeat(MAX_CARD + 1),
                    identify: false,
                    ..notice()
                },
            ),
        ];
        for (field, notice) in bad {
            assert_eq!(check_notice(&notice), Err(field), "{notice:?}");
        }
    }
}
