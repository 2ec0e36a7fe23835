//! A viewer writes a stream to a video device, which is a camera for others: docs/obs.md, in the machine whose kernel has
//! v4l2loopback.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanlight_tests::document::Document;
use fanlight_tests::jpeg;

use super::guest::Guest;
use super::subscriber::Subscriber;

/// What runs on other hosts in the document. The pattern has number and time of each frame painted in.
const OTHERS: &str = "fanlight-source --input pattern --stream lobby --size 640x360 --rate 10 --publish ipc:///tmp/lobby.ipc \
                      --canary off >/dev/console 2>&1 & \
                      fanlight-relay --sources ipc:///tmp/lobby.ipc --listen 127.0.0.1:5004 >/dev/console 2>&1 &";

/// Runs the commands of the blocks of the document from number `first` to `last`.
fn type_in(guest: &mut Guest, first: usize, last: usize) {
    let document = Document::read("obs.md");
    for block in &document.blocks()[first..=last] {
        let commands = block
            .commands
            .replace("192.168.1.10:5004", "127.0.0.1:5004");
        let script = STANDARD.encode(format!("cd /tmp\n{commands}"));
        guest.run(&format!(
            "echo {script} | base64 -d >/tmp/typed; . /tmp/typed"
        ));
    }
}

#[test]
fn a_stream_is_a_camera_for_others_by_the_commands_of_the_document() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.run(OTHERS);
    type_in(&mut guest, 0, 1);
    let listed = guest.run("fanlight-source --list-devices");
    assert!(
        listed.contains("/dev/video10 (Fanlight)") && listed.contains("YUYV 640x360"),
        "{listed}"
    );

    // It is a camera for a source too.
    guest.source("--device /dev/video10");
    let mut subscriber = Subscriber::new(guest.endpoint());
    let painted = |jpeg: &[u8]| jpeg::read_number(jpeg).expect("the pattern has it");
    let frames: Vec<_> = subscriber
        .pictures(20)
        .iter()
        .map(|arrival| painted(&arrival.frame.jpeg))
        .collect();
    for pair in frames.windows(2) {
        assert!(pair[0].captured_ns <= pair[1].captured_ns, "{pair:?}");
    }
    let mut different: Vec<_> = frames.iter().map(|frame| frame.captured_ns).collect();
    different.dedup();
    assert!(different.len() > 10, "{different:?}");

    type_in(&mut guest, 2, 2);
    let says =
        guest.run("fanlight-viewer --stream lobby --output v4l2:/dev/null 2>&1; echo code $?");
    assert!(
        says.contains("/dev/null") && !says.contains("code 0"),
        "{says}"
    );
}
