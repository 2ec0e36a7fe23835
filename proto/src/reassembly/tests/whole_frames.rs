//! Frames that come whole, alone and beside shards of the same stream.

use super::*;

fn id(number: u64) -> FrameId {
    FrameId { epoch: 1, number }
}

/// The number of the frame that is given out, if one is.
fn whole(reassembly: &mut Reassembly, number: u64, lost_upstream: u64) -> Option<u64> {
    let body = body(number, 3);
    let whole = reassembly.on_frame(T0, id(number), &body, lost_upstream)?;
    assert_eq!(whole.body, body);
    reassembly.recycle(whole.body);
    Some(whole.id.number)
}

#[test]
fn a_whole_frame_is_given_out_once_and_in_order() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert_eq!(whole(&mut reassembly, 5, 0), Some(5));
    assert_eq!(whole(&mut reassembly, 5, 0), None, "twice");
    assert_eq!(whole(&mut reassembly, 9, 2), Some(9));
    assert_eq!(whole(&mut reassembly, 8, 0), None, "late");
    let losses = reassembly.losses();
    assert_eq!((losses.upstream, losses.link, losses.total()), (2, 1, 3));
    assert_eq!(
        (reassembly.counts().whole, reassembly.counts().late),
        (2, 2)
    );
}

#[test]
fn of_shards_and_whole_frames_whichever_is_first_gives_the_frame() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(feed_all(&mut reassembly, first(1, 0), 3).is_some());
    assert_eq!(whole(&mut reassembly, 0, 0), None);

    let begin =
        |reassembly: &mut _, number| feed(reassembly, T0, &datagrams(first(1, number), 3)[0]);
    assert_eq!(begin(&mut reassembly, 1), None);
    assert_eq!(whole(&mut reassembly, 1, 0), Some(1));
    assert_eq!(feed_all(&mut reassembly, first(1, 1), 3), None);

    assert_eq!(begin(&mut reassembly, 2), None);
    assert_eq!(whole(&mut reassembly, 3, 0), Some(3));
    let losses = reassembly.losses();
    assert_eq!((losses.incomplete, losses.total()), (1, 1));
    assert_eq!(reassembly.counts().whole, 3);
}

#[test]
fn frames_captured_while_there_was_no_session_are_lost_for_that_reason() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert_eq!(whole(&mut reassembly, 0, 0), Some(0));
    reassembly.on_away();
    assert_eq!(whole(&mut reassembly, 10, 4), Some(10));
    let losses = reassembly.losses();
    assert_eq!((losses.away, losses.upstream, losses.total()), (5, 4, 9));
}

#[test]
fn a_frame_too_large_or_with_an_impossible_number_is_refused() {
    let mut reassembly = Reassembly::new(100);
    assert_eq!(reassembly.on_frame(T0, id(0), &[0; 101], 0), None);
    assert!(reassembly.on_frame(T0, id(0), &[0; 100], 0).is_some());
    assert_eq!(reassembly.on_frame(T0, id(MAX_JUMP + 2), &[0], 0), None);
    assert_eq!(reassembly.on_frame(T0, id(u64::MAX), &[0], 0), None);
    assert_eq!(reassembly.counts().refused, 3);
}
