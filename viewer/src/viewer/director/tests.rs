use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{Direct, Direction, Notice, StreamName};

use super::directions::{Directions, Programme};
use crate::cover::Announcement;

fn ms(n: u64) -> Time {
    Time::from_nanos(1_000_000_000) + Duration::from_millis(n)
}

fn names(text: &str) -> Vec<StreamName> {
    let names = text.split_whitespace();
    names.map(|name| name.parse().unwrap()).collect()
}

/// A screen of one tile that shows `streams` by its own settings, one after the other if `cycle` is not 0.
fn screen(streams: &str, cycle: u64) -> Directions {
    let own = Programme {
        streams: names(streams),
        tiles: 1,
        cycle: (cycle > 0).then(|| Duration::from_millis(cycle)),
    };
    Directions::new(ms(0), own, 1)
}

fn direction(version: u64, origin: u64, streams: &str) -> Direction {
    Direction {
        version,
        origin,
        streams: names(streams).iter().map(ToString::to_string).collect(),
        ..Direction::default()
    }
}

fn direct(direction: Direction) -> Direct {
    Direct {
        direction: Some(direction),
        notice: None,
    }
}

fn notice(notice: Notice) -> Direct {
    Direct {
        direction: None,
        notice: Some(notice),
    }
}

/// The streams that are shown; `*`: any.
fn shown(directions: &Directions) -> String {
    let streams = directions.streams().into_iter();
    let names: Vec<String> = streams
        .map(|stream| stream.map_or_else(|| "*".to_owned(), |name| name.to_string()))
        .collect();
    names.join(" ")
}

#[test]
fn the_greatest_stamp_wins_whatever_comes_first() {
    let mut screen = screen("", 0);
    assert_eq!(shown(&screen), "*");
    assert!(!screen.state().in_force);

    let mut say = |version, origin, stream: &str, is_newer: bool, now_shown: &str| {
        let said = direct(direction(version, origin, stream));
        assert_eq!(screen.on_direct(ms(0), &said), (is_newer, false));
        assert_eq!(shown(&screen), now_shown);
    };
    say(2, 5, "gate", true, "gate");
    say(2, 4, "hall", false, "gate");
    say(1, 9, "hall", false, "gate");
    say(2, 5, "yard", false, "gate");
    say(2, 6, "hall", true, "hall");
    say(3, 1, "yard", true, "yard");
    say(4, 1, "", true, "*");

    let state = screen.state();
    assert!(state.in_force);
    assert_eq!((state.direction.unwrap().version, state.tiles), (4, 1));
}

#[test]
fn streams_follow_each_other_by_direction_and_then_by_the_own_settings() {
    let mut screen = screen("a b", 1000);
    assert_eq!(screen.turn(ms(0)), Some(ms(1000)));
    screen.turn(ms(1000));
    assert_eq!(shown(&screen), "b");

    let cycle = Direction {
        cycle_ms: 2000,
        ..direction(1, 1, "x y z")
    };
    screen.on_direct(ms(1500), &direct(cycle.clone()));
    assert_eq!(
        (shown(&screen), screen.turn(ms(1500))),
        ("x".into(), Some(ms(3500)))
    );
    screen.turn(ms(3500));
    assert_eq!(shown(&screen), "y");

    let same = Direction {
        version: 2,
        ..cycle.clone()
    };
    screen.on_direct(ms(4000), &direct(same));
    assert_eq!(shown(&screen), "y", "the same again begins nothing anew");

    let stopped = Direction {
        version: 3,
        frozen: true,
        ..cycle
    };
    screen.on_direct(ms(4000), &direct(stopped));
    screen.turn(ms(9000));
    assert_eq!(shown(&screen), "y", "what is stopped does not go on");

    screen.on_direct(ms(9000), &direct(direction(4, 1, "")));
    assert_eq!(shown(&screen), "a");
    screen.turn(ms(10_000));
    assert_eq!(shown(&screen), "b");
}

#[test]
fn a_cycle_without_names_takes_a_step_of_the_relay_each_time() {
    let mut screen = screen("", 1000);
    assert!(!screen.take_step());
    screen.turn(ms(1000));
    assert!(screen.take_step() && !screen.take_step());
    screen.on_direct(ms(1000), &direct(direction(1, 1, "gate")));
    screen.turn(ms(9000));
    assert!(!screen.take_step());
}

#[test]
fn what_a_person_chose_stays_until_the_next_direction_and_is_told() {
    let mut screen = screen("a b", 1000);
    let hall = || names("hall").remove(0);
    screen.on_choice(0, hall());
    assert_eq!(shown(&screen), "hall");
    screen.turn(ms(1000));
    assert_eq!(shown(&screen), "b", "own streams go on");

    let carded = Direction {
        cycle_ms: 1000,
        card: "closed".into(),
        ..direction(1, 1, "x y")
    };
    screen.on_direct(ms(1000), &direct(carded.clone()));
    screen.on_choice(0, hall());
    screen.turn(ms(9000));
    assert_eq!(shown(&screen), "hall");
    assert!(screen.cover().card.is_none());
    let state = screen.state();
    assert!(!state.in_force && state.direction.is_some());

    screen.on_direct(ms(9000), &direct(carded));
    assert_eq!(
        shown(&screen),
        "hall",
        "the same direction again is no news"
    );
    screen.on_direct(ms(9000), &direct(direction(2, 1, "x y")));
    assert!(!screen.state().in_force, "there is no room for two at once");
    screen.on_direct(ms(9000), &direct(direction(3, 1, "x")));
    assert!(screen.state().in_force);
}

#[test]
fn a_notice_is_shown_once_for_its_time_and_the_newest_replaces_another() {
    let mut screen = screen("a", 0);
    let identify = notice(Notice {
        id: 7,
        lasts_ms: 1000,
        identify: true,
        ..Notice::default()
    });
    let text = notice(Notice {
        id: 8,
        lasts_ms: 5000,
        text: "lunch".into(),
        ..Notice::default()
    });
    let stream = notice(Notice {
        id: 9,
        lasts_ms: 1000,
        stream: "door".into(),
        ..Notice::default()
    });

    assert_eq!(screen.on_direct(ms(0), &identify), (false, true));
    assert_eq!(screen.cover().announcement, Some(Announcement::Identity));
    assert_eq!(screen.turn(ms(500)), Some(ms(1000)));
    assert_eq!(screen.on_direct(ms(500), &identify), (false, false));
    screen.turn(ms(1000));
    assert_eq!(screen.cover().announcement, None);
    screen.on_direct(ms(1500), &identify);
    assert_eq!(screen.cover().announcement, None, "each is obeyed once");

    screen.on_direct(ms(2000), &text);
    let lunch = Announcement::Text("lunch".into());
    assert_eq!(screen.cover().announcement, Some(lunch));
    screen.on_direct(ms(2000), &stream);
    assert_eq!((shown(&screen), screen.state().notice), ("door".into(), 9));
    assert_eq!(screen.cover().announcement, None);
    screen.turn(ms(3000));
    assert_eq!(shown(&screen), "a");
    assert_eq!(screen.on_direct(ms(3000), &text), (false, false));
}

#[test]
fn card_and_stop_give_way_to_a_notice_of_a_stream() {
    let mut screen = screen("a", 0);
    let stopped = Direction {
        card: "closed".into(),
        frozen: true,
        ..direction(1, 1, "")
    };
    screen.on_direct(ms(100), &direct(stopped));
    let cover = screen.cover();
    assert_eq!(cover.card.as_ref().unwrap().title, "closed");
    assert!(cover.frozen && cover.stops(0, &names("a")[0]) && !cover.stops(0, &names("b")[0]));
    screen.on_direct(
        ms(200),
        &notice(Notice {
            id: 1,
            lasts_ms: 100,
            stream: "door".into(),
            ..Notice::default()
        }),
    );
    assert!(screen.cover().card.is_none() && !screen.cover().frozen);
    screen.turn(ms(300));
    assert_eq!(screen.cover(), cover);
}

#[test]
fn of_many_notices_few_are_remembered() {
    let mut screen = screen("a", 0);
    for id in 1..1000 {
        let said = Notice {
            id,
            lasts_ms: 1,
            identify: true,
            ..Notice::default()
        };
        assert_eq!(screen.on_direct(ms(0), &notice(said)), (false, true));
        assert_eq!(screen.state().notice, id);
    }
}
