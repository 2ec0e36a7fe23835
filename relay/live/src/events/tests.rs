use std::net::SocketAddr;
use std::sync::Arc;

use fanlight_proto::message::{
    Direction, Format, FrameBuffer, FrameHeader, Health, NotShown, Report, State, Verdict,
    parse_frame,
};

use super::*;
use crate::screens::{ScreenEntry, ScreenState};
use crate::status::{EngineStatus, StreamEntry, ViewerEntry};

const FAR: Duration = Duration::from_secs(3600);

/// A relay with one stream, on a clock of the test's own: each turn is a look.
struct Rig {
    table: Arc<StreamTable>,
    monitor: Monitor,
    now: Time,
    number: u64,
    streams: Vec<StreamEntry>,
    viewers: Vec<ViewerEntry>,
    screens: Vec<ScreenEntry>,
}

impl Rig {
    fn new() -> Self {
        Self {
            table: StreamTable::new(FAR),
            monitor: Monitor::default(),
            now: Time::default() + FAR,
            number: 0,
            streams: vec![stream("cam")],
            viewers: Vec::new(),
            screens: Vec::new(),
        }
    }

    fn put_picture(&mut self) {
        self.number += 1;
        let header = FrameHeader {
            stream: "cam".to_owned(),
            epoch: 1,
            number: self.number,
            width: 2,
            height: 1,
            format: Format::Jpeg as i32,
            state: State::Live as i32,
            ..FrameHeader::default()
        };
        let body = FrameBuffer::copy_of(&[0xff, 0xd8, 0xff, 0xd9]).finish(header);
        let frame = parse_frame(b"cam/", body.clone(), 1_000_000).unwrap();
        self.table.publish(0, frame, body, self.now).unwrap();
    }

    /// `seconds` go by, and a picture comes each second if `flows`.
    fn turn(&mut self, seconds: u32, flows: bool) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..seconds {
            self.now = self.now + LOOK_INTERVAL;
            if flows {
                self.put_picture();
            }
            self.table.publish_status(EngineStatus {
                at: self.now,
                streams: self.streams.clone(),
                viewers: self.viewers.clone(),
                screens: self.screens.clone(),
                ..EngineStatus::default()
            });
            events.extend(self.monitor.look(&self.table, self.now));
        }
        events
    }

    fn set_state(&mut self, state: State, reason: &str) {
        self.streams[0].state = state;
        reason.clone_into(&mut self.streams[0].reason);
    }
}

fn stream(name: &str) -> StreamEntry {
    StreamEntry {
        name: name.parse().unwrap(),
        size: (2, 1),
        rate_millihertz: 1_000,
        state: State::Live,
        reason: String::new(),
        source_gone: false,
        epoch: 1,
        newest: 0,
        origin: 0,
        clock: None,
        viewers: 0,
        clients: 0,
    }
}

fn viewer(name: &str, health: Option<Health>) -> ViewerEntry {
    ViewerEntry {
        name: name.to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], 1)),
        stream: "cam".parse().unwrap(),
        since: FAR,
        silent: Duration::ZERO,
        report: Report::default(),
        skipped: 0,
        aborted: 0,
        share: 1.0,
        parity_level: 0,
        own_socket: false,
        in_group: false,
        paused: false,
        verdict: health.map(|health| Verdict {
            health: health.into(),
            ..Verdict::default()
        }),
    }
}

fn changes(events: &[Event]) -> Vec<(&str, Condition, Condition)> {
    let change = |event: &'_ Event| (event.was, event.is);
    events
        .iter()
        .map(|event| (event.name.as_str(), change(event).0, change(event).1))
        .collect()
}

/// What becomes of `cam` is one event and one end.
#[track_caller]
fn assert_one_event_and_one_end(begun: &[Event], ended: &[Event], problem: Condition) {
    assert_eq!(changes(begun), [("cam", Condition::Live, problem)]);
    assert_eq!(changes(ended), [("cam", problem, Condition::Live)]);
}

#[test]
fn a_freeze_is_one_event_and_one_end() {
    let mut rig = Rig::new();
    assert!(
        rig.turn(5, true).is_empty(),
        "a stream that comes is no event"
    );
    let begun = rig.turn(60, false);
    let ended = rig.turn(20, true);
    assert_one_event_and_one_end(&begun, &ended, Condition::Frozen);
    let frozen_for = ended[0].was_for;
    assert!(
        Duration::from_secs(50) < frozen_for && frozen_for < Duration::from_secs(60),
        "{frozen_for:?}"
    );
}

#[test]
fn a_camera_that_is_unplugged_is_one_event_and_one_end_whatever_its_source_tries_meanwhile() {
    let mut rig = Rig::new();
    rig.turn(5, true);
    let mut begun = Vec::new();
    for state in [
        State::Unplugged,
        State::Unplugged,
        State::Unplugged,
        State::Opening,
    ] {
        rig.set_state(state, "/dev/video0 is not there");
        begun.extend(rig.turn(1, false));
    }
    rig.set_state(State::Unplugged, "/dev/video0 is not there");
    begun.extend(rig.turn(30, false));
    assert_eq!(begun[0].reason, "/dev/video0 is not there");

    let mut ended = Vec::new();
    for state in [State::Opening, State::Live] {
        rig.set_state(state, "");
        ended.extend(rig.turn(4, true));
    }
    assert_one_event_and_one_end(&begun, &ended, Condition::Unplugged);
}

#[test]
fn a_stream_that_no_screen_can_decode_is_one_event_and_one_end() {
    let mut rig = Rig::new();
    let mut blind = viewer("", None);
    blind.report.set_not_shown(NotShown::Damaged);
    rig.viewers = vec![blind.clone(), viewer("", None)];
    assert!(rig.turn(5, true).is_empty(), "one screen decodes it");

    rig.viewers.truncate(1);
    let begun = rig.turn(10, true);
    assert!(begun[0].reason.contains("damaged JPEG"), "{begun:?}");
    rig.viewers = vec![viewer("", None)];
    let ended = rig.turn(10, true);
    assert_one_event_and_one_end(&begun, &ended, Condition::Undecodable);
}

#[test]
fn a_source_that_goes_is_one_event_and_one_end_also_when_the_relay_forgets_the_stream() {
    let mut rig = Rig::new();
    rig.turn(5, true);
    rig.streams[0].source_gone = true;
    let mut begun = rig.turn(5, false);
    rig.streams.clear();
    begun.extend(rig.turn(60, false));
    rig.streams = vec![stream("cam")];
    let ended = rig.turn(10, true);
    assert_one_event_and_one_end(&begun, &ended, Condition::Gone);
}

#[test]
fn what_comes_and_goes_within_two_seconds_is_no_event() {
    let mut rig = Rig::new();
    rig.turn(5, true);
    for _ in 0..20 {
        rig.set_state(State::Stalled, "");
        assert!(rig.turn(2, false).is_empty());
        rig.set_state(State::Live, "");
        assert!(rig.turn(1, true).is_empty());
    }

    rig.set_state(State::Stalled, "");
    assert_eq!(rig.turn(3, false).len(), 1);
    for _ in 0..20 {
        rig.set_state(State::Live, "");
        assert!(rig.turn(2, true).is_empty(), "it is not well yet");
        rig.set_state(State::Stalled, "");
        assert!(rig.turn(1, false).is_empty());
    }
}

#[test]
fn problems_that_alternate_are_a_problem() {
    let mut rig = Rig::new();
    rig.turn(5, true);
    let mut events = Vec::new();
    for state in [State::Stalled, State::Failed, State::Stalled, State::Failed] {
        rig.set_state(state, "");
        events.extend(rig.turn(1, false));
    }
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_source_that_sleeps_is_no_event() {
    let mut rig = Rig::new();
    rig.turn(5, true);
    rig.set_state(State::Idle, "nobody watches");
    assert!(rig.turn(60, false).is_empty());
    rig.set_state(State::Live, "");
    assert!(rig.turn(5, true).is_empty());
    let (_, cam) = rig.monitor.streams().next().unwrap();
    assert_eq!(cam.condition, Condition::Live);
}

#[test]
fn a_screen_is_right_late_wrong_or_blind_and_each_is_one_event() {
    let mut rig = Rig::new();
    let mut all = Vec::new();
    for health in [
        Health::Right,
        Health::Late,
        Health::Wrong,
        Health::Blind,
        Health::Right,
    ] {
        rig.viewers = vec![viewer("hall", Some(health))];
        all.extend(rig.turn(10, true));
    }
    rig.viewers.clear();
    all.extend(rig.turn(10, true));

    use Condition::{Blind, Gone, Late, Right, Wrong};
    let expected = [
        (Right, Late),
        (Late, Wrong),
        (Wrong, Blind),
        (Blind, Right),
        (Right, Gone),
    ];
    let expected = expected.map(|(was, is)| ("hall", was, is));
    assert_eq!(changes(&all), expected);
    assert!(all.iter().all(|event| event.subject == Subject::Screen));
}

#[test]
fn sessions_of_one_name_are_one_screen_that_is_as_its_worst() {
    let mut rig = Rig::new();
    let mut paused = viewer("hall", None);
    paused.paused = true;
    rig.viewers = vec![
        paused,
        viewer("hall", Some(Health::Right)),
        viewer("hall", Some(Health::Wrong)),
        viewer("", Some(Health::Wrong)),
    ];
    rig.turn(5, true);
    let screens: Vec<_> = rig.monitor.screens().collect();
    assert_eq!(screens.len(), 1, "one without a name is nobody");
    let (name, screen) = screens[0];
    assert_eq!(
        (name.as_str(), screen.condition),
        ("hall", Condition::Wrong)
    );
    assert_eq!(screen.last.streams.len(), 1);
}

#[test]
fn only_so_many_screens_are_remembered_and_those_that_are_there_stay() {
    let mut rig = Rig::new();
    let names = |from: usize| (from..from + MAX_SCREENS).map(|n| viewer(&n.to_string(), None));
    rig.viewers = names(0).collect();
    rig.turn(1, true);
    rig.viewers.extend(names(MAX_SCREENS));
    rig.turn(1, true);
    assert!(
        rig.monitor
            .screens()
            .all(|(name, _)| name.parse::<usize>().unwrap() < MAX_SCREENS)
    );

    rig.viewers = names(MAX_SCREENS).collect();
    rig.turn(2, true);
    assert_eq!(rig.monitor.screens().count(), MAX_SCREENS);
    assert!(
        rig.monitor
            .screens()
            .all(|(name, _)| name.parse::<usize>().unwrap() >= MAX_SCREENS)
    );
}

#[test]
fn what_has_been_away_for_a_day_is_forgotten() {
    let mut rig = Rig::new();
    rig.viewers = vec![viewer("hall", None)];
    rig.turn(1, true);
    rig.viewers.clear();
    rig.turn(5, true);
    assert_eq!(rig.monitor.screens().count(), 1);
    rig.now = rig.now + KEPT;
    rig.turn(1, true);
    assert_eq!(rig.monitor.screens().count(), 0);
}

#[test]
fn a_screen_that_shows_the_card_it_was_told_to_is_not_blind_and_one_that_does_not_obey_is_wrong() {
    let mut rig = Rig::new();
    rig.viewers = vec![viewer("hall", Some(Health::Right))];
    rig.turn(5, true);

    let closed = Direction {
        card: "closed".to_owned(),
        ..Direction::default()
    };
    let mut told = viewer("hall", Some(Health::Blind));
    told.report.set_not_shown(NotShown::Directed);
    rig.viewers = vec![told];
    rig.screens = vec![ScreenEntry {
        name: "hall".to_owned(),
        state: ScreenState::Showing,
        direction: Some(Arc::new(closed)),
        ..ScreenEntry::default()
    }];
    assert_eq!(rig.turn(30, true), [], "it does what it was told");

    rig.viewers = vec![viewer("hall", Some(Health::Right))];
    rig.screens[0].state = ScreenState::Wrong;
    rig.screens[0].missing = Some("it also shows gate".to_owned());
    let events = rig.turn(30, true);
    let (was, is) = (Condition::Unverified, Condition::Wrong);
    assert_eq!(changes(&events), [("hall", was, is)]);
    assert_eq!(events[0].reason, "it also shows gate");

    rig.screens[0].state = ScreenState::Showing;
    let (was, is) = (Condition::Wrong, Condition::Right);
    assert_eq!(changes(&rig.turn(30, true)), [("hall", was, is)]);
}
