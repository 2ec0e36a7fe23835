//! One row for each screen, merged from the rows of its paths: a screen may watch a stream through several relays, and a
//! canary beside it. No I/O. Called when a report is made.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::health;
use super::report::{Path, Screen, Second};

/// Merges the rows of each screen. The worst screen comes first, screens that left come last.
#[must_use]
pub(super) fn merge(rows: Vec<Screen>) -> Vec<Screen> {
    let mut groups = BTreeMap::<u64, Vec<Screen>>::new();
    let (known, unknown): (Vec<Screen>, Vec<Screen>) =
        rows.into_iter().partition(|row| row.screen != 0);
    for row in known {
        groups.entry(row.screen).or_default().push(row);
    }

    // A viewer that sends no detections does not say which screen it is; the canary beside it may.
    let canaries = canaries(&groups);
    let beside = |row: &Screen| canaries.get(&place(&row.stream, row)).copied().flatten();
    let numbers: Vec<u64> = unknown
        .iter()
        .map(|row| beside(row).filter(|_| !row.canary).unwrap_or(row.row))
        .collect();

    for (number, row) in numbers.into_iter().zip(unknown) {
        groups.entry(number).or_default().push(row);
    }

    let mut screens: Vec<_> = groups
        .into_iter()
        .map(|(number, paths)| merge_paths(number, &paths))
        .collect();

    screens.sort_by_key(|screen| {
        let severity = Reverse(health::severity_of(&screen.health));
        (screen.left_s.is_some(), severity, screen.row)
    });

    screens
}

/// A stream, and the name and host of a screen that shows it.
type Place = (String, String, String);

fn place(stream: &str, row: &Screen) -> Place {
    (
        stream.to_owned(),
        row.name.clone(),
        host(&row.address).to_owned(),
    )
}

/// The screens whose canaries say what they are beside. None where several screens are in the same place.
fn canaries(groups: &BTreeMap<u64, Vec<Screen>>) -> BTreeMap<Place, Option<u64>> {
    let mut found = BTreeMap::<Place, Option<u64>>::new();
    for (&number, paths) in groups {
        for path in paths.iter().filter(|path| path.canary) {
            let Some(status) = &path.canary_status else {
                continue;
            };
            found
                .entry(place(&status.stream, path))
                .and_modify(|screen| *screen = screen.filter(|screen| *screen == number))
                .or_insert(Some(number));
        }
    }

    found
}

fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

fn merge_paths(number: u64, paths: &[Screen]) -> Screen {
    let all_left = paths.iter().all(|path| path.left_s.is_some());
    let present = || {
        paths
            .iter()
            .filter(|path| all_left || path.left_s.is_none())
    };

    // Detections of a stream come by one path at a time: the one that brought the newest speaks for the stream.
    let speaks = |canary: bool| {
        present()
            .filter(|path| path.canary == canary)
            .max_by_key(|path| {
                let newest = path.seconds.last().map(|second| second.second);
                (is_measured(path), newest, Reverse(path.row))
            })
    };

    let main = speaks(false);
    let canary = speaks(true);
    let decides = [canary, main]
        .into_iter()
        .flatten()
        .max_by_key(|path| health::severity_of(&path.health))
        .expect("a screen has a path");

    let shown = main.or(canary).expect("a screen has a path");

    Screen {
        row: number,
        screen: number,
        name: shown.name.clone(),
        address: shown.address.clone(),
        stream: shown.stream.clone(),
        canary: shown.canary,
        peer: shown.peer,
        viewer: shown.viewer.clone(),
        shown: shown.shown,
        since_s: paths.iter().map(|path| path.since_s).fold(0.0, f64::max),
        heard_s: paths
            .iter()
            .map(|path| path.heard_s)
            .fold(f64::MAX, f64::min),
        left_s: shown.left_s.filter(|_| all_left),
        canary_status: canary.and_then(|canary| canary.canary_status.clone()),
        seconds: merge_seconds(paths),
        paths: paths.iter().map(path_of).collect(),
        ..decides.clone()
    }
}

fn is_measured(path: &Screen) -> bool {
    health::severity_of(&path.health) > 0
}

fn merge_seconds(paths: &[Screen]) -> Vec<Second> {
    let mut seconds = BTreeMap::<u64, Second>::new();
    for second in paths.iter().flat_map(|path| &path.seconds) {
        let merged = seconds.entry(second.second).or_insert(Second {
            second: second.second,
            ..Second::default()
        });

        merged.answers += second.answers;
        merged.found += second.found;
        merged.none += second.none;
        merged.worst_px = merged.worst_px.max(second.worst_px);
        merged.oldest_ms = merged.oldest_ms.max(second.oldest_ms);
        merged.blind |= second.blind;
    }

    seconds.into_values().collect()
}

fn path_of(row: &Screen) -> Path {
    Path {
        stream: row.stream.clone(),
        canary: row.canary,
        address: row.address.clone(),
        peer: row.peer,
        health: row.health.clone(),
        reason: row.reason.clone(),
        left_s: row.left_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::report::CanaryStatus;

    fn path(row: u64, screen: u64, stream: &str, health: &str) -> Screen {
        Screen {
            row,
            screen,
            name: "hall".into(),
            address: format!("10.0.0.7:{row}"),
            stream: stream.into(),
            canary: stream.ends_with(".canary"),
            health: health.into(),
            ..Screen::default()
        }
    }

    fn answered(second: u64) -> Vec<Second> {
        vec![Second {
            second,
            answers: 5,
            found: 5,
            worst_px: second as f64,
            ..Second::default()
        }]
    }

    #[test]
    fn a_screen_with_two_relays_is_one_row_with_the_health_of_the_path_that_tells() {
        let told = Screen {
            seconds: answered(11),
            ..path(3, 3, "cam", "right picture")
        };

        let other = Screen {
            seconds: answered(10),
            reason: "it tells by another relay".into(),
            ..path(7, 3, "cam", "not measured")
        };

        let [screen] = &merge(vec![other, told])[..] else {
            panic!("one screen")
        };

        assert_eq!((screen.row, screen.health.as_str()), (3, "right picture"));
        assert_eq!(screen.reason, "");
        assert_eq!(screen.paths.len(), 2);
        let seconds: Vec<_> = screen.seconds.iter().map(|s| s.second).collect();
        assert_eq!(seconds, [10, 11]);
    }

    #[test]
    fn picture_and_canary_are_one_row_and_the_worse_of_the_two_decides() {
        for (main, canary, expected) in [
            ("not measured", "right picture", "right picture"),
            ("right picture", "blind", "blind"),
            ("wrong", "right picture", "wrong"),
        ] {
            let rows = vec![path(1, 1, "cam", main), path(2, 1, "cam.canary", canary)];
            let screens = merge(rows);
            assert_eq!(screens.len(), 1);
            assert_eq!(screens[0].health, expected);
            assert_eq!(screens[0].stream, "cam");
        }
    }

    fn beside(row: u64, screen: u64, name: &str) -> Screen {
        Screen {
            name: name.into(),
            canary_status: Some(CanaryStatus {
                stream: "cam".into(),
                ..CanaryStatus::default()
            }),
            ..path(row, screen, "cam.canary", "right picture")
        }
    }

    #[test]
    fn a_viewer_without_a_tracker_belongs_to_the_canary_of_its_host_and_name() {
        let rows = vec![path(1, 0, "cam", "not measured"), beside(2, 2, "hall")];
        let screens = merge(rows);
        assert_eq!(screens.len(), 1);
        assert_eq!(screens[0].health, "right picture");

        let rows = vec![path(1, 0, "cam", "not measured"), beside(2, 2, "lobby")];
        assert_eq!(merge(rows).len(), 2, "another name");
        let rows = vec![
            path(1, 0, "cam", "not measured"),
            beside(2, 2, "hall"),
            beside(3, 3, "hall"),
        ];

        assert_eq!(merge(rows).len(), 3, "it could be either");
    }

    #[test]
    fn a_path_that_left_says_nothing_while_another_is_there() {
        let left = Screen {
            left_s: Some(3.0),
            ..path(1, 1, "cam", "blind")
        };

        let screens = merge(vec![left.clone(), path(2, 1, "cam", "right picture")]);
        assert_eq!(screens[0].health, "right picture");
        assert_eq!(screens[0].left_s, None);
        assert_eq!(merge(vec![left])[0].left_s, Some(3.0));
    }

    #[test]
    fn the_worst_screen_comes_first_and_those_that_left_come_last() {
        let left = Screen {
            left_s: Some(3.0),
            ..path(1, 1, "cam", "blind")
        };

        let rows = vec![
            left,
            path(2, 2, "cam", "right picture"),
            path(3, 3, "cam", "late"),
        ];

        let order: Vec<_> = merge(rows).iter().map(|screen| screen.row).collect();
        assert_eq!(order, [3, 2, 1]);
    }
}
