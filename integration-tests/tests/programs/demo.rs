//! What a newcomer types first.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fanlight_tests::promise::judge;
use fanlight_tests::wait::{SOON, until};
use rustix::process::{Pid, Signal, kill_process_group};

/// `./dev demo` on the programs that were built for these tests, in a process group of its own.
fn demo(folder: &Path, words: &[&str]) -> Child {
    let binaries: PathBuf = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .into();

    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../dev"))
        .arg("demo")
        .args(words)
        .env("FANLIGHT_BIN_DIR", binaries)
        .env("TMPDIR", folder)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn a_demo_of_some_seconds_shows_pictures_ends_by_itself_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let demo = demo(folder.path(), &["--seconds", "3"])
        .wait_with_output()
        .unwrap();
    assert!(demo.status.success(), "{}", demo.status);
    let lines = String::from_utf8(demo.stdout).unwrap();
    assert!(
        lines
            .lines()
            .any(|line| line.contains("fps") && line.contains(" live")),
        "{lines}"
    );

    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "./dev promises"]
fn a_demo_ends_by_the_verdict_on_its_screen() {
    judge("a demo that verifies its screen", |measurement| {
        let folder = tempfile::tempdir().unwrap();
        let demo = demo(folder.path(), &["--verify", "--seconds", "3"])
            .wait_with_output()
            .unwrap();
        let lines = String::from_utf8(demo.stdout).unwrap();
        let right = lines.contains("1 of 1 screens showed the right picture");
        assert_eq!(demo.status.success(), right, "{lines}");
        measurement.compare(
            "the right picture within 100 ms for 3 s",
            "1 screen",
            if right { "1" } else { "0" },
            "",
            right,
        );

        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    });
}

#[test]
fn ctrl_c_stops_the_whole_demo_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains(" live")),
        "the demo ended without a picture"
    );

    let group = Pid::from_child(&demo);
    kill_process_group(group, Signal::INT).unwrap();
    let status = until("the demo ends", SOON, || demo.try_wait().unwrap());
    assert!(status.success(), "{status}");
    assert!(
        kill_process_group(group, Signal::INT).is_err(),
        "a program of the demo still runs"
    );

    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
