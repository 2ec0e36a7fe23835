//! SIGHUP: what changed in the config file takes effect, and nobody who watches notices.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use fanlight_tests::light_viewers::{LightViewers, socket};
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, jpeg};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

const VIEWERS: usize = 20;

/// Writes `text` into the program's file and has it read again; waits until the log says `outcome`.
#[track_caller]
fn reload(program: &Program, file: &Path, text: &str, outcome: &str) {
    fs::write(file, text).unwrap();
    let mark = program.log().mark();
    program.signal(Signal::HUP);
    program.wait_for_line_from(mark, outcome, SOON);
}

#[test]
fn twenty_viewers_get_every_frame_while_source_and_relay_reload() {
    let env = TestEnv::new();
    let (source_file, relay_file) = (env.path("source.toml"), env.path("relay.toml"));
    let feed = env.path("pictures");
    mknodat(CWD, &feed, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // Both ends, so that the other end neither waits for this one nor sees it go.
    let mut pictures = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&feed)
        .unwrap();

    fs::write(&source_file, "").unwrap();
    let source = env
        .source("cam")
        .flags("--input pipe --canary off")
        .stdin(&feed)
        .flag("config", &source_file)
        .ready();

    let near = env.ipc("cam");
    let relay_text = |more: &str| format!("sources = [\"{near}\"]\n{more}");
    fs::write(&relay_file, relay_text("")).unwrap();
    let relay = env
        .program("relay")
        .flag("listen", env.relay_address(0).to_string())
        .flag("config", &relay_file)
        .ready();

    let sockets = (0..VIEWERS).map(|_| socket(None)).collect();
    let interval = Duration::from_millis(33);
    let viewers = LightViewers::join(sockets, env.relay_address(0), "cam", interval);
    viewers.wait_joined(SOON);
    // Who came before the relay had heard of the stream was refused once.
    let refusals =
        |viewers: &LightViewers| -> u64 { viewers.seen().iter().map(|seen| seen.refusals).sum() };
    let refused_before = refusals(&viewers);
    viewers.begin();

    let changed = "reload: changed by";
    let mut sent = 0;
    let mut show = |count: u64| {
        for _ in 0..count {
            sent += 1;
            pictures.write_all(&jpeg::numbered(sent, 320, 240)).unwrap();
            until("every viewer has the frame whole", SOON, || {
                let seen = viewers.seen();
                seen.iter().all(|seen| seen.whole == sent).then_some(())
            });
        }
    };

    show(3);
    let elsewhere = format!("sources = [\"{near}\", \"{}\"]\n", env.ipc("other"));
    reload(&relay, &relay_file, &elsewhere, "sources");
    show(3);
    reload(
        &relay,
        &relay_file,
        &relay_text("max_viewers = 5\nkey_rotation_s = 60\n"),
        changed,
    );
    show(3);
    reload(
        &relay,
        &relay_file,
        &relay_text("max_viewer = 5\n"),
        "nothing changes: ",
    );
    show(3);
    reload(
        &relay,
        &relay_file,
        &relay_text("max_frame_bytes = 2048\n"),
        "until then: max_frame_bytes",
    );
    show(3);

    for (text, outcome) in [
        ("overlay = true\n", changed),
        ("rotate = 90\n", changed),
        ("rotate = 45\n", "nothing changes: "),
        ("stream = \"cam2\"\n", changed),
    ] {
        reload(&source, &source_file, text, outcome);
        show(3);
    }

    let seen = viewers.seen();
    assert!(
        seen.iter().all(|seen| (seen.joins, seen.partial) == (1, 0)),
        "{seen:?}"
    );
    assert_eq!(refusals(&viewers), refused_before);
    assert!(source.exits().is_empty() && relay.exits().is_empty());
}

#[test]
fn an_input_that_changes_keeps_its_epoch_and_its_viewers() {
    let env = TestEnv::new();
    let file = env.path("source.toml");
    let text = |size: &str| format!("input = \"ball\"\nsize = \"{size}\"\n");
    fs::write(&file, text("640x360")).unwrap();
    let source = env.source("cam").flag("config", &file).ready();
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewer = env.viewer(env.relay_address(0), "cam").start();
    viewer.wait_shown(10);

    reload(&source, &file, &text("320x180"), "reload: changed by");
    until("the relay lists the new size", SOON, || {
        let list = env
            .program("viewer")
            .flags("--list")
            .flag("relay", env.relay_address(0).to_string());
        let (_, list) = list.run();
        let line = list.log().matching(0, "320x180");
        (!line.is_empty()).then_some(())
    });

    viewer.wait_more(10);
    let (report, shown) = viewer.finish();
    report.assert_one_session();
    let epochs: BTreeSet<_> = shown.iter().map(|frame| frame.epoch).collect();
    assert_eq!(epochs.len(), 1);
    assert!(shown.is_sorted_by(|a, b| a.number < b.number));
}

#[test]
fn a_relay_follows_its_list_of_sources_and_those_that_stay_notice_nothing() {
    let env = TestEnv::new();
    let file = env.path("relay.toml");
    let small = "--input ball --size 640x360 --rate 30";
    let _sources = ["kept", "old", "new"].map(|name| env.source(name).flags(small).ready());
    let list = |names: [&str; 2]| format!("sources = {:?}\n", names.map(|name| env.ipc(name)));
    fs::write(&file, list(["kept", "old"])).unwrap();
    let relay = env
        .program("relay")
        .flag("listen", env.relay_address(0).to_string())
        .flag("config", &file)
        .ready();

    let [kept, old] = ["kept", "old"].map(|name| env.viewer(env.relay_address(0), name).start());
    kept.wait_shown(5);
    old.wait_shown(5);
    reload(&relay, &file, &list(["kept", "new"]), "reload: changed by");

    let new = env.viewer(env.relay_address(0), "new").start();
    new.wait_shown(5);
    kept.wait_more(5);
    until("the old source is shown no more", SOON, || {
        let (before, ()) = (old.count(), kept.wait_more(30));
        (old.count() == before).then_some(())
    });

    reload(&relay, &file, &list(["kept", "old"]), "reload: changed by");
    old.wait_more(5);
    kept.finish().0.assert_one_session();
}

#[test]
fn a_viewer_outlasts_the_end_of_its_terminal() {
    let env = TestEnv::new();
    let _source = env
        .source("cam")
        .flags("--input ball --size 640x360")
        .ready();
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewer = env.viewer(env.relay_address(0), "cam").start();
    viewer.wait_shown(5);
    viewer.program().signal(Signal::HUP);
    viewer
        .program()
        .wait_for_line("there is no config file, so nothing changes");
    viewer.wait_more(5);
    viewer.finish().0.assert_one_session();
}
