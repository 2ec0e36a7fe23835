//! Which run of the source is the present one, with one relay and with two.

use super::*;

/// Feeds a frame of one shard at `now`, the newest of its relay, which was in epoch `former` before; whether it is whole.
fn newest(reassembly: &mut Reassembly, now: Time, id: (u64, u64), former: Option<u64>) -> bool {
    reassembly.on_newest(now, first(id.0, id.1).id, former);
    late(reassembly, now, id)
}

/// The same of what is not the newest of its relay.
fn late(reassembly: &mut Reassembly, now: Time, id: (u64, u64)) -> bool {
    feed(reassembly, now, &datagrams(first(id.0, id.1), 1)[0]).is_some()
}

fn sealed() -> Reassembly {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    reassembly.set_authentic(true);
    reassembly
}

#[test]
fn a_late_datagram_of_an_ended_epoch_that_this_viewer_never_saw_begins_none() {
    for authentic in [true, false] {
        let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
        reassembly.set_authentic(authentic);
        assert!(newest(&mut reassembly, ms(0), (2, 5), None));
        assert!(!late(&mut reassembly, ms(10), (1, 900)));
        assert!(newest(&mut reassembly, ms(33), (2, 6), Some(2)));
        assert_eq!(reassembly.counts().late, 1);
        assert_eq!(reassembly.losses().total(), 0);
    }
}

#[test]
fn a_recording_of_an_ended_epoch_begins_none_however_long_the_stream_is_silent() {
    let mut reassembly = sealed();
    assert!(newest(&mut reassembly, ms(0), (2, 5), None));
    assert!(!late(&mut reassembly, ms(60_000), (1, 900)));
    assert!(newest(&mut reassembly, ms(60_033), (2, 6), Some(2)));
}

#[test]
fn the_first_datagram_of_a_new_run_is_followed_at_once_and_one_of_the_former_run_is_late() {
    let mut reassembly = sealed();
    assert!(newest(&mut reassembly, ms(0), (1, 900), None));
    assert!(newest(&mut reassembly, ms(1), (2, 0), Some(1)));
    assert!(!late(&mut reassembly, ms(2), (1, 901)));
    assert!(newest(&mut reassembly, ms(34), (2, 1), Some(2)));
}

#[test]
fn what_began_with_a_recording_goes_on_with_what_the_relay_sends_now() {
    let mut reassembly = sealed();
    assert!(newest(&mut reassembly, ms(0), (1, 900), None));
    assert!(newest(&mut reassembly, ms(1), (2, 5), Some(1)));
    assert!(newest(&mut reassembly, ms(34), (2, 6), Some(2)));
}

#[test]
fn a_relay_that_is_behind_interrupts_none_that_is_ahead() {
    let mut reassembly = sealed();
    assert!(newest(&mut reassembly, ms(0), (2, 5), None));
    assert!(!newest(&mut reassembly, ms(10), (1, 900), None));
    assert!(!newest(&mut reassembly, ms(20), (1, 901), Some(1)));
    assert!(newest(&mut reassembly, ms(33), (2, 6), Some(2)));
    assert!(
        newest(&mut reassembly, ms(66), (2, 7), Some(1)),
        "it follows"
    );
}

#[test]
fn a_relay_that_came_first_and_is_cut_off_gives_way_after_a_second() {
    let mut reassembly = sealed();
    assert!(newest(&mut reassembly, ms(0), (1, 900), None));
    assert!(!newest(&mut reassembly, ms(999), (2, 0), None));
    assert!(newest(&mut reassembly, ms(1000), (2, 1), Some(2)));
}

#[test]
fn an_epoch_that_a_relay_went_on_from_comes_back_only_if_one_goes_back_to_it() {
    let mut reassembly = sealed();
    assert!(newest(&mut reassembly, ms(0), (1, 900), None));
    assert!(newest(&mut reassembly, ms(33), (2, 0), Some(1)));
    assert!(
        !newest(&mut reassembly, ms(60_000), (1, 901), Some(1)),
        "the other relay"
    );
    assert!(
        newest(&mut reassembly, ms(60_001), (1, 950), Some(2)),
        "a standby source"
    );
}

#[test]
fn a_forged_epoch_silences_an_open_stream_for_a_second_at_most() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(newest(&mut reassembly, ms(0), (1, 0), None));
    assert!(newest(&mut reassembly, ms(10), (666, 0), Some(1)));
    // With the highest sequence there is, so that nothing true is the newest again.
    assert!(!late(&mut reassembly, ms(1009), (1, 30)));
    assert!(late(&mut reassembly, ms(1010), (1, 31)));
    assert!(late(&mut reassembly, ms(1043), (1, 32)));
}
