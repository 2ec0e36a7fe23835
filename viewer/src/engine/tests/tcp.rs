//! Paths over TCP, alone, beside others, and in place of UDP that fails.

use fanlight_proto::frame_message::{Content, FrameMessage};

use super::*;

/// The relay's side of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    open: bool,
    pub(super) credit: u32,
    last: Option<u64>,
    superseded: u32,
    sent: u64,
}

/// Those of the paths of an engine.
pub(super) fn connections(config: &EngineConfig) -> BTreeMap<usize, Connection> {
    let paths = config.paths.iter().enumerate();
    paths
        .filter(|(_, carrier)| matches!(carrier, Carrier::Tcp { .. }))
        .map(|(at, _)| (at, Connection::default()))
        .collect()
}

impl Connection {
    /// The message of a frame that the relay has; none while it may send none.
    pub(super) fn frame(
        &mut self,
        relay: &mut MiniRelay,
        id: FrameId,
        body: &[u8],
        sends: bool,
    ) -> Vec<Vec<u8>> {
        if !sends || !self.open {
            return Vec::new();
        }

        if self.credit == 0 {
            self.superseded += 1;
            relay.withheld += 1;
            return Vec::new();
        }

        self.credit -= 1;
        let last = self.last.replace(id.number);
        let skipped = last.map_or(0, |last| id.number - last - 1) as u32;
        self.sent += 1;
        let head = FrameMessage {
            content: Content::Frame,
            subscription: relay.session.unwrap_or_default() as u32,
            id,
            captured_us: None,
            captured_utc_us: 0,
            age_us: None,
            skipped,
            superseded: std::mem::take(&mut self.superseded).min(skipped),
            size: (1, 1),
        };

        vec![[&head.to_bytes()[..], body].concat()]
    }
}

impl World {
    /// Opens and closes connections as the engine wants them and the network lets them be.
    pub(super) fn connect(&mut self) {
        for (at, connection) in &mut self.connections {
            let there = !self.cut[*at] && self.relays[*at].is_some();
            let open = there && self.engine.wants_connection(*at);
            if open == connection.open {
                continue;
            }

            *connection = Connection {
                open,
                credit: 1,
                ..Connection::default()
            };
            if open {
                self.engine.on_connected(self.now, *at);
            } else {
                self.relays[*at]
                    .iter_mut()
                    .for_each(|relay| relay.session = None);
                self.engine.on_disconnected(self.now, *at);
            }
        }
    }
}

fn tcp(instead_of: Option<usize>) -> Carrier {
    Carrier::Tcp { instead_of }
}

fn with(paths: Vec<Carrier>) -> EngineConfig {
    EngineConfig { paths, ..config() }
}

/// One relay that can be reached by both.
fn both_ways() -> EngineConfig {
    with(vec![Carrier::Udp(ViewerAccess::Open), tcp(Some(0))])
}

#[track_caller]
fn assert_in_order(world: &World) {
    let numbers: Vec<_> = world.frames.iter().map(|(_, id)| id.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(world.bodies_wrong, 0);
}

fn longest_gap(world: &World, since: Time) -> Duration {
    let frames = world.frames.iter().filter(|(when, _)| *when > since);
    let times: Vec<_> = frames.map(|(when, _)| *when).chain([world.now]).collect();
    let gaps = times
        .windows(2)
        .map(|pair| pair[1].saturating_since(pair[0]));
    gaps.max().unwrap_or_default()
}

#[test]
fn a_connection_brings_every_frame_that_there_is_credit_for() {
    let mut world = World::with(1, with(vec![tcp(None)]));
    world.run_until(ms(3000));
    assert_in_order(&world);
    let summary = world.engine.summary(world.now);
    assert_eq!(
        (summary.joins, summary.losses.total(), summary.foreign),
        (1, 0, 0)
    );
    assert!(summary.counts.whole > 80, "{summary:?}");
    assert_eq!(summary.paths[0].frames, summary.counts.whole);
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
    assert_eq!(summary.transport, Transport::Tcp);
    let report = world.relay().reports.last().copied().unwrap();
    assert!(report.frames_whole > 50, "{report:?}");
}

/// With one credit a frame, and 50 ms there and back, no more than 20 frames a second would come.
#[test]
fn a_relay_far_away_gets_credit_in_advance() {
    let mut world = World::with(2, with(vec![tcp(None)]));
    world.far[0] = Duration::from_millis(50);
    world.run_until(ms(3000));
    assert_in_order(&world);
    let before = world.frames.len();
    world.run_until(ms(5000));
    assert!(
        world.frames.len() - before >= 58,
        "{}",
        world.frames.len() - before
    );
}

#[test]
fn a_frame_that_there_is_no_credit_for_is_lost_because_the_relay_skipped_it() {
    let mut world = World::with(3, with(vec![tcp(None)]));
    // Between two frames: one under way would bring credit.
    world.run_until(ms(1015));
    world.connections.get_mut(&0).unwrap().credit = 0;
    world.run_until(ms(1500));
    world.connections.get_mut(&0).unwrap().credit = 1;
    world.run_until(ms(2000));
    let losses = world.engine.summary(world.now).losses;
    assert!(losses.skipped > 10, "{losses:?}");
    assert_eq!(losses.skipped, losses.total(), "{losses:?}");
}

#[test]
fn a_connection_that_ends_is_used_again_when_there_is_another() {
    let mut world = World::with(4, with(vec![tcp(None)]));
    world.run_until(ms(1000));
    world.cut[0] = true;
    world.run_until(ms(3000));
    assert_ne!(world.link_state_at(world.now), LinkState::Live);
    world.cut[0] = false;
    world.run_until(ms(5000));
    assert_in_order(&world);
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
    let summary = world.engine.summary(world.now);
    assert_eq!(summary.joins, 2);
    assert_eq!(
        summary.losses.away,
        summary.losses.total(),
        "{:?}",
        summary.losses
    );
}

#[test]
fn why_a_connection_is_refused_is_the_link_state() {
    let mut world = World::with(5, with(vec![tcp(None)]));
    world.cut[0] = true;
    world.run_until(ms(100));
    world
        .engine
        .on_rejected(world.now, 0, "no token".to_owned());
    world.run_until(ms(200));
    let rejected = LinkState::Rejected("no token".to_owned());
    assert_eq!(world.link_state_at(world.now), rejected);
    world.cut[0] = false;
    world.run_until(ms(1000));
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
}

#[test]
fn one_relay_by_udp_and_another_by_tcp_make_good_for_each_other() {
    for fails in [0, 1] {
        let paths = vec![Carrier::Udp(ViewerAccess::Open), tcp(None)];
        let mut world = World::with(6, with(paths));
        world.run_until(ms(1000));
        world.cut[fails] = true;
        world.run_until(ms(4000));
        world.cut[fails] = false;
        world.run_until(ms(6000));
        assert_in_order(&world);
        let summary = world.engine.summary(world.now);
        assert_eq!(summary.losses.total(), 0, "{fails}: {summary:?}");
        assert_eq!(summary.transport, Transport::Both);
        assert!(longest_gap(&world, ms(500)) < world.interval * 2);
    }
}

#[test]
fn while_udp_works_the_connection_is_not_even_opened() {
    let mut world = World::with(7, both_ways());
    world.run_until(ms(10_000));
    assert_in_order(&world);
    assert_eq!(world.engine.summary(world.now).transport, Transport::Udp);
    assert!(world.transports.is_empty());
    assert_eq!(world.connections[&1].sent, 0);
}

#[test]
fn udp_that_is_blocked_at_any_time_gives_way_to_tcp_and_comes_back_within_two_seconds() {
    for (seed, blocked) in [0, 1500, 4000].into_iter().enumerate() {
        let mut world = World::with(8 + seed as u64, both_ways());
        world.run_until(ms(blocked));
        world.cut[0] = true;
        world.run_until(ms(blocked + 10_000));
        assert_eq!(world.engine.summary(world.now).transport, Transport::Tcp);
        assert!(longest_gap(&world, ms(blocked + 1500)) < Duration::from_millis(100));
        let first = world.first_frame_after(ms(blocked + 100));
        assert!(first < ms(blocked + 2000), "{first:?}");

        world.cut[0] = false;
        let opened = world.now;
        world.run_until(opened + Duration::from_secs(4));
        assert_in_order(&world);
        let words: Vec<_> = world.transports.iter().map(|(_, to)| *to).collect();
        assert_eq!(words, [Transport::Tcp, Transport::Udp], "once each");
        let took = world.transports[1].0.saturating_since(opened);
        assert!(took < Duration::from_secs(2), "{took:?}");
        assert!(longest_gap(&world, opened) < Duration::from_millis(100));
        assert_eq!(world.link_state_at(world.now), LinkState::Live);
    }
}

/// A network that lets short datagrams through and none of the size of media: keep-alives are answered.
#[test]
fn udp_that_brings_answers_and_no_media_gives_way_to_tcp() {
    let mut world = World::with(11, both_ways());
    world.media_cut = true;
    world.run_until(ms(10_000));
    assert_in_order(&world);
    let summary = world.engine.summary(world.now);
    assert_eq!(summary.transport, Transport::Tcp);
    assert!(longest_gap(&world, ms(1500)) < Duration::from_millis(100));

    let before = summary.paths[0].datagrams;
    world.media_cut = false;
    world.run_until(ms(45_000));
    assert_eq!(world.engine.summary(world.now).transport, Transport::Udp);
    assert!(world.engine.summary(world.now).paths[0].datagrams > before);
}

#[test]
fn udp_that_loses_most_frames_gives_way_to_tcp() {
    let mut world = World::with(12, both_ways());
    world.run_until(ms(2000));
    world.link.lost = 600;
    // What is lost is sent again by TCP.
    world.reliable = true;
    world.run_until(ms(6000));
    assert_eq!(world.engine.summary(world.now).transport, Transport::Tcp);
    assert!(longest_gap(&world, ms(5000)) < Duration::from_millis(100));
    assert_in_order(&world);
}

#[test]
fn a_source_without_frames_is_no_reason_to_leave_udp() {
    let mut world = World::with(13, both_ways());
    world.run_until(ms(2000));
    world.capturing = false;
    let gone = Status {
        source_gone: true,
        ..Status::default()
    };
    world
        .relays
        .iter_mut()
        .flatten()
        .for_each(|relay| relay.status = gone.clone());
    world.run_until(ms(6000));
    world.capturing = true;
    let live = Status {
        state: State::Live.into(),
        ..Status::default()
    };
    world
        .relays
        .iter_mut()
        .flatten()
        .for_each(|relay| relay.status = live.clone());
    world.run_until(ms(8000));
    assert_eq!(world.engine.summary(world.now).transport, Transport::Udp);
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
}

#[test]
fn a_camera_that_pauses_or_is_slow_is_no_reason_to_leave_udp() {
    for (rate_millihertz, interval) in [(30_000, 33), (1_000, 1_000), (0, 1_000)] {
        let mut world = World::with(14, both_ways());
        world.interval = Duration::from_millis(interval);
        for relay in world.relays.iter_mut().flatten() {
            relay.rate_millihertz = rate_millihertz;
        }

        world.run_until(ms(5000));
        world.capturing = false;
        world.run_until(ms(5900));
        world.capturing = true;
        world.run_until(ms(15_000));
        assert_in_order(&world);
        assert_eq!(world.transports, [], "{rate_millihertz}");
        assert_eq!(world.engine.summary(world.now).transport, Transport::Udp);
    }
}
