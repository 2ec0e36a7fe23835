//! One config file for all programs of a box.

use std::fs;
use std::path::{Path, PathBuf};

use fanlight_tests::TestEnv;
use fanlight_tests::viewer_process::ViewerCommand;
use fanlight_tests::wait::SOON;
use rustix::process::Signal;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/fanlight.toml");

fn written(env: &TestEnv, text: &str) -> PathBuf {
    let file = env.path("fanlight.toml");
    fs::write(&file, text).unwrap();
    file
}

/// The shipped file with every setting in force.
fn all_of_the_shipped_file() -> String {
    let text = fs::read_to_string(SHIPPED).unwrap();
    let is_setting = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
    };

    let lines = text.lines();
    lines
        .map(|line| if is_setting(line) { &line[1..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Every program finds the file good, or says this of it.
#[track_caller]
fn every_program_says(env: &TestEnv, file: &Path, code: u8, words: &[&str]) {
    for name in ["source", "relay", "viewer"] {
        env.program(name)
            .flags("check-config")
            .flags(file.to_str().unwrap())
            .ends_with(code.into())
            .says(words);
    }
}

#[test]
fn the_shipped_file_changes_nothing_and_each_of_its_examples_is_good() {
    let env = TestEnv::new();
    let text = fs::read_to_string(SHIPPED).unwrap();
    assert!(text.parse::<toml::Table>().unwrap().is_empty());
    let file = written(&env, &all_of_the_shipped_file());
    every_program_says(&env, &file, 0, &["fanlight.toml: good"]);
    let text = fs::read_to_string(&file).unwrap();
    let settings = text.parse::<toml::Table>().unwrap();
    for section in ["camera", "source", "relay", "viewer"] {
        assert!(settings.contains_key(section), "{text}");
    }
}

#[test]
fn whichever_program_checks_the_file_finds_what_is_wrong_in_the_part_of_any() {
    let env = TestEnv::new();
    for (text, words) in [
        (
            "[source.hall]\nqualty = 5\n",
            &["unknown key `qualty`", "line 2", "did you mean `quality`?"][..],
        ),
        (
            "[relay]\n[relay.second]\nlisen = \"5006\"\n",
            &["unknown key `lisen`", "line 3", "`listen`"],
        ),
        (
            "[viewer.left]\nfullscren = true\n",
            &["unknown key `fullscren`", "`fullscreen`"],
        ),
        (
            "[realy]\nlisten = \"5006\"\n",
            &["unknown section", "`relay`"],
        ),
        (
            "[relay]\n[relay.second]\nhttp = \"8080\"\n",
            &["[relay] and [relay.second] both listen at 127.0.0.1:5004"],
        ),
        (
            "[source.a]\nstream = \"b\"\n[source.b]\n",
            &["[source.a] and [source.b] both have the stream b"],
        ),
        (
            "[relay.second]\nlisten = \"5006\"\naccess = \"psk\"\nkey_file = \"/nowhere/psk\"\n",
            &["[relay.second]", "`key_file`", "no file /nowhere/psk"],
        ),
        ("[camera]\nscale = 5.0\n", &["[camera]", "scale"]),
    ] {
        let file = written(&env, text);
        every_program_says(&env, &file, 64, words);
    }
}

#[test]
fn a_program_starts_with_its_own_part_whatever_is_wrong_in_another() {
    let env = TestEnv::new();
    let file = written(
        &env,
        "[relay]\nlisten = \"127.0.0.1:7001\"\n[viewer]\nnonsense = 1\n",
    );
    env.program("relay")
        .flag("config", &file)
        .flags("--section relay.main --print-config")
        .ends_with(0)
        .says(&["listen = \"127.0.0.1:7001\""]);
    env.program("viewer")
        .flag("config", &file)
        .ends_with(64)
        .says(&["unknown key `nonsense`"]);
    env.program("relay")
        .flag("config", &file)
        .flags("--section viewer.left")
        .ends_with(64)
        .says(&["[viewer.left] is not a section of fanlight-relay"]);
}

#[test]
fn sources_two_relays_and_a_screen_run_by_one_file_and_reload_it() {
    let env = TestEnv::new();
    let [first, second] = [0, 1].map(|number| env.relay_address(number));
    let text = |more: &str| {
        format!(
            "[source]\ninput = \"ball\"\nsize = \"640x360\"\n[source.hall]\n{more}[source.yard]\nrate = 20.0\n\
             [relay]\nlisten = \"{first}\"\n[relay.second]\nlisten = \"{second}\"\n\
             [viewer.hall]\nrelay = [\"{first}\", \"{second}\"]\nstream = \"hall\"\n"
        )
    };

    let file = written(&env, &text(""));
    every_program_says(&env, &file, 0, &["good"]);
    let program = |name: &str, part: &str| {
        let launch = env.program(name).flag("config", &file);
        launch.flag("section", format!("{name}.{part}"))
    };

    let hall = program("source", "hall").ready();
    let _yard = program("source", "yard").ready();
    let _relays = ["main", "second"].map(|part| program("relay", part).ready());
    let screen = ViewerCommand::new(program("viewer", "hall"), &env).start();
    let yard = env.viewer(second, "yard").start();
    screen.wait_shown(5);
    yard.wait_shown(5);

    fs::write(&file, text("overlay = true\n")).unwrap();
    let mark = hall.log().mark();
    hall.signal(Signal::HUP);
    hall.wait_for_line_from(mark, "reload: changed by", SOON);
    screen.wait_more(5);
    assert_eq!(screen.finish().0.joins, 2, "one session with each relay");
    yard.finish().0.assert_one_session();
}
