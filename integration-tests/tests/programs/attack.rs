//! The audit's attacks in a quick form: none achieves what it is for. `./dev attack` runs them in full.

use fanlight_tests::attack::{self, Attack, Scale};

#[track_caller]
fn is_held(attack: Attack) {
    let outcome = (attack.run)(Scale::Quick);
    assert!(outcome.held, "{}: {outcome:?}", attack.name);
}

#[test]
fn a_proxy_without_a_key_shows_no_viewer_another_camera() {
    is_held(attack::REWRITTEN_JOIN);
}

#[test]
fn a_recorded_join_opens_no_session_after_its_own_has_ended() {
    is_held(attack::GHOST_SESSION);
}

#[test]
fn peers_without_the_key_keep_no_relay_from_its_source() {
    is_held(attack::PEERS_WITHOUT_KEY);
}

#[test]
fn one_address_keeps_no_viewer_of_others_out() {
    is_held(attack::ALL_SESSIONS);
}

#[test]
fn garbage_handshakes_from_40_addresses_keep_no_keyed_viewer_out() {
    is_held(attack::GARBAGE_HANDSHAKES);
}

#[test]
fn no_source_takes_a_relay_past_its_memory_budget() {
    is_held(attack::MEMORY);
}

#[test]
fn a_picture_of_390_000_scans_stops_no_stream_and_no_exit() {
    is_held(attack::SCANS);
}

#[test]
fn a_relay_that_alternates_its_group_floods_no_log() {
    is_held(attack::LOG_FLOOD);
}
