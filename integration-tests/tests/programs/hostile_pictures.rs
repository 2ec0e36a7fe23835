//! JPEGs that are made to keep whoever decodes them busy: a source refuses each with its reason, and waits for none.

use fanlight_tests::program::Launch;
use fanlight_tests::{TestEnv, jpeg};

/// As many scans as 4 MB hold: libjpeg-turbo works on them for minutes.
const SCANS: usize = 390_000;

/// The source of `launch` says what it gets and from where, and ends at SIGTERM.
fn refuses_and_ends(launch: Launch, place: &str) {
    let source = launch.ready();
    source.says(&["too many scans (more than 100", place]);
    let (exit, _) = source.stop();
    assert_eq!(exit.code(), Some(0));
}

#[test]
fn a_picture_of_390_000_scans_stalls_no_source_that_reads_a_pipe() {
    let env = TestEnv::new();
    let film = env.path("film.mjpeg");
    std::fs::write(&film, jpeg::of_scans(640, 480, SCANS)).unwrap();
    // The command outlives its pictures, so that the pipe stays open.
    let command = format!("while cat {}; do sleep 0.2; done", film.display());
    for scale in ["1", "0.5"] {
        let source = env
            .source("cam")
            .flags("--input pipe")
            .flag("scale", scale)
            .flag("command", &command);
        refuses_and_ends(source, "pipe");
    }
}

#[test]
fn a_picture_of_390_000_scans_stalls_no_source_that_reads_files() {
    let env = TestEnv::new();
    let folder = env.path("pictures");
    std::fs::create_dir(&folder).unwrap();
    let film = env.path("film.mjpeg");
    std::fs::write(folder.join("0.jpg"), jpeg::of_scans(640, 480, SCANS)).unwrap();
    std::fs::write(&film, jpeg::of_scans(640, 480, SCANS)).unwrap();

    for (path, scale) in [(&folder, "1"), (&folder, "0.5"), (&film, "0.5")] {
        let source = env
            .source("cam")
            .flags("--input files --rate 5")
            .flag("path", path)
            .flag("scale", scale);
        refuses_and_ends(source, &path.display().to_string());
    }
}

/// Within all limits, a picture may take some tenths of a second: many of these in a row, and SIGTERM in the midst.
#[test]
fn a_source_that_decodes_the_costliest_pictures_allowed_ends_at_sigterm() {
    let env = TestEnv::new();
    let film = env.path("film.mjpeg");
    let picture = jpeg::of_scans(3840, 2160, 12);
    std::fs::write(&film, picture).unwrap();
    let source = env
        .source("cam")
        .flags("--input files --rate 30 --scale 0.5")
        .flag("path", &film)
        .ready();
    source.says(&["not published"]);
    let (exit, _) = source.stop();
    assert_eq!(exit.code(), Some(0));
}
