use super::*;
use crate::engine::link_state::LinkMonitor;

fn status(state: State, reason: &str) -> Status {
    Status {
        state: state as i32,
        reason: reason.into(),
        ..Status::default()
    }
}

fn tell(world: &mut World) {
    let now = world.now;
    let pulse = world.relay().tell_status(now);
    world.carry_all(0, pulse);
}

#[test]
fn an_unplugged_camera_is_named_at_once_and_forgotten_with_the_next_frame() {
    let mut world = World::new(1);
    world.run_until(ms(1000));
    world.capturing = false;
    world.relay().status = status(State::Unplugged, "camera unplugged: /dev/video0");
    tell(&mut world);
    world.run_until(ms(1100));
    let unplugged = LinkState::Camera {
        state: State::Unplugged,
        reason: "camera unplugged: /dev/video0".into(),
    };

    assert_eq!(world.link_state_at(ms(1100)), unplugged);
    assert_eq!(unplugged.to_string(), "camera unplugged: /dev/video0");
    world.run_until(ms(20_000));
    assert_eq!(
        world.link_state_at(ms(20_000)),
        unplugged,
        "it stays for as long as it is so"
    );

    assert_eq!(world.engine.summary(world.now).joins, 1);
    world.capturing = true;
    world.run_until(ms(20_100));
    assert_eq!(world.link_state_at(ms(20_100)), LinkState::Live);
    // The relay's word is older than the frames: saying it again is no news.
    world.run_until(ms(22_000));
    assert_eq!(world.link_state_at(ms(22_000)), LinkState::Live);
}

#[test]
fn a_source_that_is_gone_is_told_by_the_relay() {
    let mut world = World::new(2);
    world.run_until(ms(1000));
    world.capturing = false;
    world.run_until(ms(2010));
    world.relay().status.source_gone = true;
    tell(&mut world);
    world.run_until(ms(2400));
    assert_eq!(world.link_state_at(ms(2400)), LinkState::SourceGone);
}

#[test]
fn a_source_that_is_back_is_live_with_its_first_frame_and_nothing_is_said_between() {
    let mut world = World::new(8);
    world.run_until(ms(1000));
    world.capturing = false;
    world.run_until(ms(2050));
    world.relay().status.source_gone = true;
    tell(&mut world);
    world.run_until(ms(4000));
    world.relay().status.source_gone = false;
    tell(&mut world);
    world.run_until(ms(4100));
    assert_eq!(world.link_state_at(ms(4100)), LinkState::SourceGone);
    world.epoch = 2;
    world.number = 0;
    world.capturing = true;
    world.run_until(ms(5000));
    let words: Vec<_> = world
        .link_states
        .iter()
        .map(|(_, link_state)| link_state.word())
        .collect();

    assert_eq!(words, ["live", "source-gone", "live"]);
    // A source that is back and sends nothing all the same is not kept for gone.
    world.capturing = false;
    world.relay().status.source_gone = true;
    tell(&mut world);
    world.run_until(ms(7000));
    world.relay().status.source_gone = false;
    tell(&mut world);
    world.run_until(ms(9000));
    assert_eq!(world.link_state_at(ms(9000)), LinkState::NoFrames);
}

#[test]
fn frames_that_stop_without_a_word_give_a_card_within_a_second_and_a_half() {
    let mut world = World::new(3);
    world.run_until(ms(1000));
    world.capturing = false;
    world.run_until(ms(2500));
    assert_eq!(world.link_state_at(ms(1900)), LinkState::Live);
    assert_eq!(world.link_state_at(ms(2500)), LinkState::NoFrames);
}

#[test]
fn a_stream_of_one_frame_a_second_is_live_between_its_frames() {
    let mut world = World::new(4);
    world.relay().rate_millihertz = 1000;
    world.interval = Duration::from_secs(1);
    world.run_until(ms(10_000));
    assert_eq!(world.link_states.len(), 1, "{:?}", world.link_states);
    world.cut[0] = true;
    world.run_until(ms(11_500));
    assert_eq!(
        world.link_state_at(ms(11_500)),
        LinkState::Connecting,
        "a dead link is told at once all the same"
    );
}

#[test]
fn a_refusal_is_told_until_the_relay_changes_its_mind_or_is_gone() {
    let mut world = World::new(5);
    world.relay().refusal = Some((Refusal::NoStreams, 0));
    world.run_until(ms(3000));
    assert_eq!(world.link_state_at(ms(3000)), LinkState::NoStreams);
    world.relay().refusal = None;
    world.run_until(ms(3600));
    assert_eq!(
        world.link_state_at(ms(3600)),
        LinkState::Live,
        "a new stream is there within the retry"
    );

    let mut world = World::new(6);
    world.relay().refusal = Some((Refusal::NoStreams, 0));
    world.run_until(ms(3000));
    world.relays[0] = None;
    world.run_until(ms(6000));
    assert_eq!(world.link_state_at(ms(6000)), LinkState::Connecting);
}

#[test]
fn a_busy_relay_is_asked_again_when_it_said() {
    let mut world = World::new(7);
    world.relay().refusal = Some((Refusal::Busy, 2000));
    world.run_until(ms(1400));
    assert_eq!(
        world.link_state_at(ms(1400)),
        LinkState::Busy(Duration::from_secs(2))
    );

    assert_eq!(world.relay().joins_seen, 2);
    world.relay().refusal = None;
    world.run_until(ms(2200));
    assert_eq!(world.link_state_at(ms(2200)), LinkState::Live);
}

#[test]
fn a_camera_that_sleeps_is_said_to_wake_and_is_live_with_its_first_frame() {
    for (reason, words) in [
        ("", "the camera sleeps and wakes now"),
        (
            "nobody watches",
            "the camera sleeps (nobody watches) and wakes now",
        ),
    ] {
        let mut world = World::new(9);
        world.capturing = false;
        world.relay().status = status(State::Idle, reason);
        world.run_until(ms(300));
        let link_state = world.link_state_at(ms(300));
        assert_eq!(
            (link_state.to_string().as_str(), link_state.word()),
            (words, "idle")
        );
        // Frames come before the relay says that the state has changed, and after a status that is repeated.
        world.capturing = true;
        tell(&mut world);
        world.run_until(ms(400));
        assert_eq!(world.link_state_at(ms(400)), LinkState::Live);
        world.run_until(ms(3000));
        assert_eq!(world.link_state_at(ms(3000)), LinkState::Live);
    }
}

#[test]
fn why_no_datagram_gets_to_the_relay_is_said_until_one_comes_from_it() {
    let mut link = LinkMonitor::default();
    let reason = |link: &LinkMonitor, at| link.assess(ms(at)).0.to_string();
    link.on_unreachable(ms(100), "nobody listens at 10.0.0.1:5004".to_owned());
    assert_eq!(
        reason(&link, 101),
        "no answer from the relay: nobody listens at 10.0.0.1:5004"
    );
    assert_eq!(reason(&link, 9000), "no answer from the relay");

    link.on_unreachable(ms(9000), "no way to 10.0.0.1:5004".to_owned());
    link.on_received(ms(9100));
    assert_eq!(reason(&link, 9101), "no answer from the relay");
}
