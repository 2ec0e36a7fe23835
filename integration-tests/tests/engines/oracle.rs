//! The oracle of the simulator finds what is untrue.

use std::time::Duration;

use fanlight_tests::sim::{Action, Case, Display, Link, Node, random_case, run};

fn case(name: &'static str) -> Case {
    Case::simple(
        name,
        "what is said of a screen is true",
        Link::clean(Duration::from_millis(2)),
        Duration::from_secs(8),
    )
}

#[test]
#[should_panic(expected = "passes for live")]
fn a_display_that_claims_frames_and_shows_none_is_caught() {
    let lie = Action::SetDisplay(0, Display::Pretends);
    run(
        &case("pretends").step(Duration::from_secs(2), "the display pretends", lie),
        1,
    );
}

#[test]
fn frames_that_do_not_decode_are_told_of_truly_while_they_come_and_after() {
    let case = case("undecodable")
        .step(
            Duration::from_secs(2),
            "pictures are damaged",
            Action::DamagePictures(0),
        )
        .step(
            Duration::from_secs(6),
            "and whole again",
            Action::MendPictures(0),
        );
    let world = run(&case, 2);
    let said = |second| world.watch(0).signal_at(Duration::from_secs(second));
    assert_eq!((said(1), said(4), said(7)), ("live", "undecodable", "live"));
}

#[test]
fn a_display_that_stands_still_is_told_of_truly() {
    let stop = Action::SetDisplay(0, Display::Stopped);
    let world = run(
        &case("stopped").step(Duration::from_secs(2), "it stops", stop),
        3,
    );
    let said = |second| world.watch(0).signal_at(Duration::from_secs(second));
    assert_eq!((said(1), said(5)), ("live", "not-displayed"));
}

#[test]
fn a_relay_dates_what_a_screen_said_that_has_gone_silent() {
    let freeze = Action::Freeze(Node::Viewer(0));
    run(
        &case("silent").step(Duration::from_secs(2), "it is frozen", freeze),
        4,
    );
}

/// In this storm somebody replays sealed media of the run before the one that the viewer came into.
#[test]
fn a_recording_of_an_ended_run_does_not_silence_a_screen_that_came_after_it() {
    run(&random_case(7355), 7355);
}

/// In this storm the only relay left has a new session and a new run of the source, while the other one had the former run
/// less than a second ago.
#[test]
fn a_new_run_that_is_not_followed_at_once_is_accounted_for_from_where_it_is() {
    run(&random_case(2416), 2416);
}

/// In each of these storms a relay said of a picture of two seconds ago that it was of a moment ago.
#[test]
fn what_a_relay_that_stood_still_finds_in_its_socket_is_not_news() {
    for seed in [1519, 4868] {
        run(&random_case(seed), seed);
    }
}
