//! Captures of running programs, played to an engine.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use fanlight_daemon::capture::Recording;
use fanlight_tests::TestEnv;
use fanlight_tests::program::Program;
use fanlight_tests::seeded::{Random, seed};
use fanlight_tests::sim::{Compared, replay};
use fanlight_tests::wait::{SOON, until};
use rustix::process::Signal;

/// Of a hundred datagrams toward the viewer so many are lost: enough that repair does not save every frame.
const LOST_PERCENT: usize = 30;

/// Something between one viewer and its relay that loses datagrams toward the viewer. It ends with the test's process.
fn lossy_path(relay: SocketAddr, seed: u64) -> SocketAddr {
    let front = Arc::new(UdpSocket::bind((relay.ip(), 0)).expect("loopback has a port"));
    let back = Arc::new(UdpSocket::bind((relay.ip(), 0)).expect("loopback has a port"));
    back.connect(relay).expect("loopback is reachable");
    let address = front.local_addr().expect("a bound socket has an address");
    let (viewer, viewers) = std::sync::mpsc::channel();
    let inner = Arc::clone(&back);
    let outer = Arc::clone(&front);
    thread::spawn(move || {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = outer.recv_from(&mut bytes) {
            // A relay that is not there loses it as a network would.
            let _ = (viewer.send(from), inner.send(&bytes[..length]));
        }
    });

    thread::spawn(move || {
        let mut bytes = [0; 2048];
        let mut random = Random::new(seed);
        let Ok(mut to) = viewers.recv() else { return };

        loop {
            let Ok(length) = back.recv(&mut bytes) else {
                continue;
            };

            to = viewers.try_iter().last().unwrap_or(to);
            if random.below(100) >= LOST_PERCENT {
                let _ = front.send_to(&bytes[..length], to);
            }
        }
    });

    address
}

/// Asks a program for its capture and plays it. After a bad second it may have written one by itself: the first one
/// is whole from the start.
fn played(program: &Program, folder: &Path, name: &str) -> Vec<Compared> {
    program.signal(Signal::USR1);
    let ours = |path: &PathBuf| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(name) && file.ends_with(".pcapng")
    };

    let file = until("the capture is written", SOON, || {
        let entries = std::fs::read_dir(folder).expect("the test made the folder");
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(ours)
            .min()
    });

    let bytes = std::fs::read(file).expect("the test may read it");
    replay(&Recording::parse(&bytes).expect("it is complete under its name"))
}

fn count<'a>(counts: &'a [Compared], name: &str) -> &'a Compared {
    counts
        .iter()
        .find(|count| count.name == name)
        .unwrap_or_else(|| panic!("{name} is not counted: {counts:?}"))
}

#[test]
fn a_capture_of_a_viewer_behind_a_lossy_link_loses_the_same_frames_when_it_is_played() {
    let env = TestEnv::new();
    let folder = env.path("captures");
    std::fs::create_dir(&folder).unwrap();
    let _source = env
        .source("cam")
        .flags("--input ball --size 320x240")
        .ready();

    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flag("capture-dir", &folder)
        .ready();
    // Played again, the stream is there from the begin.
    relay.wait_for_line("live stream=cam");

    let path = lossy_path(env.relay_address(0), seed(77));
    let viewing = env.viewer(path, "cam").flag("capture-dir", &folder).start();
    viewing.wait_shown(20);
    let counts = played(viewing.program(), &folder, "fanlight-viewer");

    for name in ["whole", "lost"] {
        let Compared {
            happened, replayed, ..
        } = count(&counts, name);
        assert_eq!(*happened, Some(*replayed), "{name}: {counts:?}");
    }

    assert!(
        count(&counts, "lost").replayed + count(&counts, "repairs_received").replayed > 0,
        "{counts:?}"
    );

    let counts = played(&relay, &folder, "fanlight-relay");
    let sent = count(&counts, "frames_sent");
    assert!(
        sent.happened.unwrap().abs_diff(sent.replayed) <= 2,
        "{counts:?}"
    );

    assert_eq!(
        count(&counts, "joins").happened,
        Some(count(&counts, "joins").replayed),
        "{counts:?}"
    );

    assert!(count(&counts, "repairs_sent").replayed > 0, "{counts:?}");
}

#[test]
fn without_a_folder_the_signal_is_answered_by_a_line_that_says_how_to_set_one() {
    let env = TestEnv::new();
    let relay = env.relay(0, &[env.ipc("cam")]).ready();
    relay.signal(Signal::USR1);
    until("the line", SOON, || {
        relay.log().matching(0, "set capture_dir").pop()
    });

    assert!(relay.pid().is_some(), "it goes on");
}
