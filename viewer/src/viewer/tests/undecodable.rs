//! Frames that arrive and cannot be decoded.

use super::*;

/// A picture that lacks its second half.
fn cut(mut jpeg: Vec<u8>) -> Vec<u8> {
    jpeg.truncate(jpeg.len() / 2);
    jpeg.extend([0xff, 0xd9]);
    jpeg
}

#[test]
fn a_stream_that_becomes_undecodable_is_not_live_and_says_why() {
    let live = Live::start_with("127.0.0.1:0", 1, 0, |number, jpeg| {
        if number < 20 { jpeg } else { cut(jpeg) }
    });
    let folder = tempfile::tempdir().unwrap();
    let extra = headless(&folder, Duration::from_millis(3500));
    run(&config(&live.address), &extra, None, &Context::default()).unwrap();

    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(extra.report.unwrap()).unwrap()).unwrap();
    let last = report["link_states"].as_array().unwrap().last().unwrap();
    assert_eq!(last["state"], "undecodable", "{report}");
    assert_eq!(
        last["reason"],
        "pictures come but cannot be decoded: damaged JPEG"
    );
}

#[test]
fn a_run_in_which_nothing_could_be_decoded_says_so_and_not_that_no_relay_answers() {
    let live = Live::start_with("127.0.0.1:0", 1, 0, |_, jpeg| cut(jpeg));
    let extra = Extra {
        headless: true,
        duration: Some(Duration::from_millis(1500)),
        ..Extra::default()
    };

    let error = run(&config(&live.address), &extra, None, &Context::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no frame was shown in 1.5s: pictures come but cannot be decoded: damaged JPEG"
    );
}
