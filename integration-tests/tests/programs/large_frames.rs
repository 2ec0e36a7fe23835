//! Pictures of cameras with 20 megapixels, and frames of the largest size, from a source to a viewer.

use std::path::{Path, PathBuf};

use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX};
use fanlight_tests::http::Site;
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::viewer_process::hash;
use fanlight_tests::{TestEnv, jpeg};

/// As a camera of 20 megapixels has it.
const SIZE: (u32, u32) = (5472, 3648);

/// Bytes of the largest picture that fits a frame.
const LARGEST: usize = MAX_FRAME_BYTES - MAX_FRAME_PREFIX;

const UNLIMITED: &str = "--max-frame-bytes 33554432";

/// A folder with this one picture.
fn folder(env: &TestEnv, name: &str, jpeg: &[u8]) -> PathBuf {
    let folder = env.path(name);
    std::fs::create_dir(&folder).expect("a test may write to its folder");
    std::fs::write(folder.join("1.jpg"), jpeg).expect("a test may write to its folder");
    folder
}

fn source(env: &TestEnv, stream: &str, path: &Path) -> Launch {
    env.source(stream)
        .flags("--input files --rate 2")
        .flag("path", path)
}

#[test]
fn a_picture_of_20_megapixels_and_one_of_32_mib_are_shown_bit_by_bit() {
    let env = TestEnv::new();
    let picture = jpeg::numbered(7, SIZE.0, SIZE.1);
    let largest = jpeg::padded(&picture, LARGEST);
    let _small = source(&env, "small", &folder(&env, "a", &picture)).ready();
    let _large = source(&env, "large", &folder(&env, "b", &largest))
        .flags(UNLIMITED)
        .ready();

    let sources = [env.ipc("small"), env.ipc("large")];
    let relay = env.relay(0, &sources).flags(UNLIMITED);
    let relay = relay.flags("--http 127.0.0.1:0").ready();

    // Over UDP a busy machine would lose much of 32 MiB; the simulator sends them so.
    let connection = format!("ws://{}", Site::of(&relay).0);
    let datagrams = env.relay_address(0).to_string();
    for (stream, jpeg, relay) in [
        ("small", &picture, &datagrams),
        ("large", &largest, &connection),
    ] {
        let viewer = env.viewer_at(relay, stream).flags(UNLIMITED).start();
        viewer.wait_shown(2);
        let (report, shown) = viewer.finish();
        report.assert_one_session();
        assert!(
            shown.iter().all(|frame| frame.hash == hash(jpeg)),
            "{stream}"
        );
    }
}

#[test]
fn who_has_a_lower_limit_than_the_source_names_the_setting_to_raise() {
    let env = TestEnv::new();
    let picture = jpeg::numbered(7, 640, 480);
    let largest = folder(&env, "a", &jpeg::padded(&picture, LARGEST));
    let _source = source(&env, "cam", &largest).flags(UNLIMITED).ready();
    let with_defaults = source(&env, "other", &largest).start();
    let over = folder(&env, "b", &jpeg::padded(&picture, LARGEST + 1));
    let over = source(&env, "over", &over).flags(UNLIMITED).start();

    let lower = env.relay(0, &[env.ipc("cam")]).ready();
    let _relay = env.relay(1, &[env.ipc("cam")]).flags(UNLIMITED).ready();
    let viewer = env
        .program("viewer")
        .flags("--headless --stream cam")
        .flag("relay", env.relay_address(1).to_string())
        .start();
    let told = |program: &Program| {
        program.wait_for_line("set max_frame_bytes, up to 33554432");
    };
    told(&with_defaults);
    told(&over);
    told(&lower);
    viewer.wait_for_line("larger than max_side or max_frame_bytes of the viewer");
}
