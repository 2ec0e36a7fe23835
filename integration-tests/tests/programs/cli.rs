//! What an operator sees of a program that cannot start: which key, why, and what to do; exit 64 before anything is
//! bound.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fanlight_tests::TestEnv;
use fanlight_tests::lab::{MOUNT, permitted};
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::wait::{self, SOON};

/// EX_USAGE of sysexits.h.
const USAGE: i32 = 64;

const PROGRAMS: [&str; 3] = ["source", "relay", "viewer"];

/// What it wrote on standard output, once it has ended.
fn output(program: &Program, last_line: &str) -> String {
    program.wait_for_line(last_line);
    let lines = program.log().matching(0, "");
    lines
        .iter()
        .filter(|line| line.from == "out")
        .map(|line| format!("{}\n", line.text))
        .collect()
}

#[test]
fn an_unknown_flag_is_refused_with_a_suggestion() {
    let env = TestEnv::new();
    for (name, flag, meant) in [
        ("source", "--ratte 30", "--rate"),
        ("relay", "--lisen x", "--listen"),
        ("viewer", "--durations 5s", "--duration"),
    ] {
        let program = env.program(name).flags(flag).ends_with(USAGE);
        program.says(&[meant]);
    }
}

#[test]
fn a_bad_value_is_refused_and_the_message_names_the_key_and_what_it_may_be() {
    let env = TestEnv::new();
    let cases: [(&str, &str, &[&str]); 9] = [
        ("source", "--size 1280", &["--size", "1280x720"]),
        ("source", "--input bal", &["--input", "ball"]),
        ("source", "--rate 0", &["rate"]),
        ("source", "--quality 0", &["quality"]),
        (
            "source",
            "--publish tpc://127.0.0.1:5",
            &["--publish", "tcp://"],
        ),
        (
            "source",
            "--publish tcp://0.0.0.0:5700",
            &["feed_key", "allow_remote"],
        ),
        ("source", "--stream a/b", &["--stream", "A-Z"]),
        ("relay", "--listen 0.0.0.0:5004", &["access", "open"]),
        ("relay", "--gso maybe", &["--gso", "auto"]),
    ];

    for (name, flags, words) in cases {
        let program = env.program(name).flags(flags).ends_with(USAGE);
        // clap has the key and what it may be on lines of their own.
        words.iter().for_each(|word| program.says(&[word]));
    }
}

#[test]
fn an_unknown_key_of_a_file_is_refused_with_its_line_and_a_suggestion() {
    let env = TestEnv::new();
    for (name, text, words) in [
        (
            "source",
            "stream = \"cam\"\nsise = \"640x480\"\n",
            ["sise", "size", "line 2"],
        ),
        (
            "relay",
            "\nlissten = \"127.0.0.1:5004\"\n",
            ["lissten", "listen", "line 2"],
        ),
        (
            "viewer",
            "rellay = \"127.0.0.1:5004\"\n",
            ["rellay", "relay", "line 1"],
        ),
    ] {
        let file = env.path(&format!("{name}.toml"));
        std::fs::write(&file, text).unwrap();
        env.program(name)
            .flag("config", &file)
            .ends_with(USAGE)
            .says(&words);
        env.program(name)
            .flags("check-config")
            .flag("config", &file)
            .ends_with(USAGE)
            .says(&words);
    }
}

#[test]
fn a_missing_file_is_named() {
    let env = TestEnv::new();
    for name in PROGRAMS {
        let program = env
            .program(name)
            .flags("--config /nowhere/at-all.toml")
            .ends_with(USAGE);
        program.says(&["/nowhere/at-all.toml"]);
    }
}

#[test]
fn what_print_config_prints_is_a_good_config_that_prints_the_same() {
    let env = TestEnv::new();
    for (name, flags, last) in [
        (
            "source",
            "--stream lobby --size 640x480 --publish ipc:///tmp/a.ipc",
            "idle_after =",
        ),
        (
            "relay",
            "--listen 127.0.0.1:7777 --gso off",
            "capture_dir =",
        ),
        ("viewer", "--relay 127.0.0.1:7777", "overlay ="),
    ] {
        let first = env
            .program(name)
            .flags(flags)
            .flags("--print-config")
            .ends_with(0);
        let text = output(&first, last);
        assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        let file = env.path(&format!("{name}-printed.toml"));
        std::fs::write(&file, &text).unwrap();
        env.program(name)
            .flags("check-config")
            .flag("config", &file)
            .ends_with(0)
            .says(&["good"]);
        let again = env
            .program(name)
            .flags("--print-config")
            .flag("config", &file)
            .ends_with(0);
        assert_eq!(output(&again, last), text);
    }
}

#[test]
fn the_shipped_files_are_good() {
    let env = TestEnv::new();
    for name in PROGRAMS {
        let file = format!("{}/../config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
        env.program(name)
            .flags("check-config")
            .flag("config", &file)
            .ends_with(0);
    }
}

#[test]
fn a_flag_wins_over_the_file() {
    let env = TestEnv::new();
    let file = env.path("relay.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:7001\"\nmax_viewers = 7\n").unwrap();
    let printed = env
        .program("relay")
        .flags("--listen 127.0.0.1:7002 --print-config")
        .flag("config", &file)
        .ends_with(0);

    printed.says(&["listen", "127.0.0.1:7002"]);
    printed.says(&["max_viewers", "7"]);
}

#[test]
fn every_program_makes_keys_that_only_their_owner_can_read() {
    let env = TestEnv::new();
    for name in PROGRAMS {
        for (kind, prefix) in [
            ("psk", "fanlight-psk:"),
            ("feed", "fanlight-feed:"),
            ("pair", "fanlight-private:"),
        ] {
            let file = env.path(&format!("{name}.{kind}"));
            let made = keygen(&env, name, kind, &file).ends_with(0);
            let metadata = std::fs::metadata(&file).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
            let key = std::fs::read_to_string(&file).unwrap();
            let digits = key.trim_end().strip_prefix(prefix).unwrap();
            assert_eq!(digits.len(), 64);
            let shown = made.log().matching(0, digits);
            assert!(shown.is_empty(), "{name} shows its key: {shown:?}");
        }
    }
}

#[test]
fn the_public_part_of_a_key_is_one_line_to_be_pasted() {
    let env = TestEnv::new();
    let file = env.path("hall.key");
    let made = keygen(&env, "viewer", "pair", &file).ends_with(0);
    let public = output(&made, "fanlight-public:");
    assert_eq!(
        fanlight_proto::keys::parse_names(&format!("{} hall", public.trim_end()))
            .unwrap()
            .len(),
        1
    );

    let again = keygen(&env, "relay", "public", &file).ends_with(0);
    assert_eq!(output(&again, "fanlight-public:"), public);
}

#[test]
fn a_key_is_never_overwritten() {
    let env = TestEnv::new();
    let file = env.path("wall.psk");
    keygen(&env, "relay", "psk", &file).ends_with(0);
    let first = std::fs::read(&file).unwrap();

    for kind in ["psk", "pair", "feed"] {
        let refused = keygen(&env, "relay", kind, &file).ends_with(1);
        refused.says(&["wall.psk", "never overwritten"]);
    }

    assert_eq!(std::fs::read(&file).unwrap(), first);
}

#[test]
fn keygen_says_what_it_misses() {
    let env = TestEnv::new();
    let file = env.path("wall.psk");
    keygen(&env, "relay", "psk", &file).ends_with(0);

    for (words, code, said) in [
        ("keygen psk".to_owned(), USAGE, "<FILE>"),
        ("keygen pskk wall.psk".to_owned(), USAGE, "'psk'"),
        (
            "keygen psk /nowhere/wall.psk".to_owned(),
            1,
            "/nowhere/wall.psk",
        ),
        (
            "keygen public /nowhere/hall.key".to_owned(),
            1,
            "/nowhere/hall.key",
        ),
        (
            format!("keygen public {}", file.display()),
            1,
            "fanlight-private:",
        ),
    ] {
        env.program("relay")
            .flags(&words)
            .ends_with(code)
            .says(&[said]);
    }

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = keygen(&env, "relay", "public", &file).ends_with(1);
    exposed.says(&["0640", "chmod 600", "wall.psk"]);
}

/// Keys are made before there is a good config, which may want them.
#[test]
fn keygen_asks_for_no_config() {
    let env = TestEnv::new();
    let words = "--config /nowhere/at-all.toml keygen psk";
    env.program("relay")
        .flags(words)
        .flags(&env.path("wall.psk").display().to_string())
        .ends_with(0);
}

fn keygen(env: &TestEnv, program: &str, kind: &str, file: &Path) -> Launch {
    env.program(program)
        .flags("keygen")
        .flags(kind)
        .flags(&file.display().to_string())
}

#[test]
fn every_program_tells_its_version() {
    let env = TestEnv::new();
    for name in PROGRAMS {
        env.program(name)
            .flags("--version")
            .ends_with(0)
            .says(&[&format!("fanlight-{name}"), "0."]);
    }
}

/// What a program wrote, without what the fixture says of it.
fn written(program: &Program) -> Vec<String> {
    let lines = program.log().matching(0, "");
    let own = lines.into_iter().filter(|line| line.from != "fixture");
    own.map(|line| line.text).collect()
}

#[test]
fn an_answer_comes_without_the_line_that_a_service_begins_with() {
    let env = TestEnv::new();
    let (_, devices) = env.program("source").flags("--list-devices").run();
    let (_, status) = env.source("none").flags("status").run();
    let (_, list) = env
        .program("viewer")
        .flags("--list --relay 127.0.0.1:1")
        .run();
    for (program, said) in [(devices, ""), (status, "none.ipc"), (list, "127.0.0.1:1")] {
        let lines = written(&program);
        assert!(!lines.iter().any(|line| line.contains("pid=")), "{lines:?}");
        let saying = lines.iter().filter(|line| line.contains(said)).count();
        assert!(saying == 1 || said.is_empty(), "once: {lines:?}");
    }
}

#[test]
fn a_screen_without_a_display_is_told_what_to_do_in_one_line_and_no_librarys_words() {
    let env = TestEnv::new();
    let viewer = env.program("viewer").flags("--relay 127.0.0.1:1");
    let viewer = viewer.env("DISPLAY", "").env("WAYLAND_DISPLAY", "");
    let lines = written(&viewer.ends_with(1));
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("display"))
        .collect();
    assert_eq!(told.len(), 1, "{lines:?}");
    assert!(told[0].contains("--headless"), "{told:?}");
    assert!(!lines.iter().any(|line| line.contains(".rs")), "{lines:?}");
}

#[test]
fn a_second_source_at_the_same_endpoint_is_told_who_is_in_its_way() {
    let env = TestEnv::new();
    let _first = env
        .source("cam")
        .flags("--input ball --size 320x240")
        .ready();

    let (exit, second) = env.source("cam").flags("--input ball --size 320x240").run();
    assert!(!exit.status.success());
    second.says(&["another source", &env.ipc("cam"), "--publish"]);
}

#[test]
fn a_source_replaces_the_socket_file_of_one_that_was_killed() {
    let env = TestEnv::new();
    let source = env
        .source("cam")
        .flags("--input ball --size 320x240")
        .ready();

    source.kill();
    assert!(env.path("cam.ipc").exists(), "SIGKILL leaves the file");
    source.start_again();
    source.wait_ready();
}

#[test]
fn a_source_does_not_remove_a_file_that_is_no_socket() {
    let env = TestEnv::new();
    std::fs::write(env.path("cam.ipc"), "precious").unwrap();
    let (exit, source) = env.source("cam").flags("--input ball --size 320x240").run();
    assert!(!exit.status.success());
    source.says(&["no socket", "cam.ipc"]);
    assert_eq!(
        std::fs::read_to_string(env.path("cam.ipc")).unwrap(),
        "precious"
    );
}

#[test]
fn a_second_relay_on_the_same_port_is_told_which_port() {
    let env = TestEnv::new();
    let _first = env.relay(0, &[env.ipc("cam")]).ready();
    let (exit, second) = env.relay(0, &[env.ipc("cam")]).run();
    assert!(!exit.status.success());
    second.says(&[&env.relay_address(0).to_string(), "--listen"]);
}

#[test]
fn a_relay_on_any_port_says_which_it_got() {
    let env = TestEnv::new();
    let relay = env
        .program("relay")
        .flags("--listen 127.0.0.1:0")
        .flag("sources", env.ipc("cam"))
        .ready();

    let line = relay.wait_for_line("serving").text;
    let port = line
        .split("127.0.0.1:")
        .nth(1)
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .next()
        .unwrap();

    assert_ne!(port.parse::<u16>().unwrap(), 0, "{line}");
}

#[test]
fn a_source_without_its_device_says_what_it_misses_and_lives_on() {
    let env = TestEnv::new();
    let source = env
        .source("cam")
        .flags("--input camera --device /dev/no-such-camera")
        .ready();
    source.says(&["/dev/no-such-camera"]);
    assert!(source.pid().is_some());
}

#[test]
fn the_log_is_json_when_asked() {
    let env = TestEnv::new();
    let source = env
        .source("cam")
        .flags("--input ball --size 320x240 --log-format json")
        .ready();

    let line = source.wait_for_line("fanlight-source").text;
    let lines: Vec<_> = source
        .log()
        .matching(0, "")
        .into_iter()
        .filter(|line| line.from == "err")
        .collect();

    assert!(
        lines
            .iter()
            .all(|line| serde_json::from_str::<serde_json::Value>(&line.text).is_ok()),
        "{line}"
    );
}

/// The files of the log `path`, the oldest first.
fn log_files(path: &Path) -> Vec<String> {
    let older = (1..100).map(|number| path.with_extension(format!("log.{number}")));
    let mut texts: Vec<_> = older
        .map_while(|file| std::fs::read_to_string(file).ok())
        .collect();
    texts.reverse();
    texts.push(std::fs::read_to_string(path).expect("the log can be read"));
    texts
}

#[test]
fn a_log_file_goes_on_over_restarts_and_rotations_and_loses_no_line() {
    const RUNS: usize = 12;
    let env = TestEnv::new();

    for name in PROGRAMS {
        let path = env.path(&format!("{name}.log"));
        let run = |files: &str| {
            let program = env
                .program(name)
                .flags("--config /nowhere/at-all.toml --log-file-size 1kB --log-format json");
            program
                .flag("log-file", &path)
                .flags(files)
                .ends_with(USAGE)
                .says(&["/nowhere/at-all.toml"]);
        };

        (0..RUNS).for_each(|_| run("--log-files 100"));
        let files = log_files(&path);
        assert!(
            files.len() > 2 && files.iter().all(|text| text.len() <= 1_000),
            "{files:?}"
        );

        let lines: Vec<serde_json::Value> = files
            .concat()
            .lines()
            .map(|line| serde_json::from_str(line).expect("no line is split"))
            .collect();

        let levels: Vec<_> = lines
            .iter()
            .map(|line| line["level"].as_str().unwrap())
            .collect();

        assert_eq!(
            levels,
            ["INFO", "ERROR"].repeat(RUNS),
            "the version and the error of each run"
        );

        let stamps: Vec<_> = lines
            .iter()
            .map(|line| line["timestamp"].as_str().unwrap())
            .collect();

        assert!(stamps.is_sorted(), "{stamps:?}");
    }
}

#[test]
fn no_more_log_files_are_kept_than_asked_for_and_five_unless_asked() {
    let env = TestEnv::new();
    for (flags, most) in [("--log-files 2", 2), ("", 5)] {
        let folder = env.path(&format!("logs{most}"));
        std::fs::create_dir(&folder).unwrap();

        for _ in 0..25 {
            let relay = env
                .program("relay")
                .flags("--config /nowhere/at-all.toml --log-file-size 1kB")
                .flags(flags);
            relay
                .flag("log-file", folder.join("relay.log"))
                .ends_with(USAGE);
        }

        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), most);
        assert_eq!(log_files(&folder.join("relay.log")).len(), most);
    }
}

#[test]
fn a_log_file_that_cannot_be_written_is_refused_with_what_to_do() {
    let env = TestEnv::new();
    let busy = env.path("busy.log");
    let _first = env
        .source("cam")
        .flags("--input ball --size 320x240")
        .flag("log-file", &busy)
        .ready();

    for name in PROGRAMS {
        let refused = |path: &Path| env.program(name).flag("log-file", path).ends_with(USAGE);
        refused(&env.path("missing/a.log")).says(&[
            "missing/a.log",
            "directory that exists",
            "--log-file",
        ]);

        refused(env.directory()).says(&["no regular file", "--log-file"]);
        refused(&busy).says(&["another program logs to", "busy.log"]);
        env.program(name)
            .flags("--log-file-size 10")
            .ends_with(USAGE)
            .says(&["--log-file-size", "10MB"]);

        env.program(name)
            .flags("--log-files 0")
            .ends_with(USAGE)
            .says(&["--log-files", "1..=100"]);
    }
}

#[test]
fn a_disk_full_of_logs_stops_nobody_and_the_log_goes_on_when_there_is_room() {
    let Some(()) = permitted(&MOUNT) else { return };
    let env = TestEnv::new();
    let disk = env.path("disk");
    std::fs::create_dir(&disk).unwrap();
    // It is mounted where only the program sees it, and nearly full: the log has a page of eight, with room for one line.
    let script = "mount -t tmpfs -o size=32k none \"$0\" && head -c 28672 /dev/zero >\"$0/filler\" && \
                  yes '{}' | head -c 3999 >\"$0/source.log\" && exec \"$@\"";
    let disk_name = disk.to_str().unwrap();
    let source = env.source("cam").flag("input", "pipe").flag(
        "command",
        "while :; do echo no picture >&2; sleep 0.05; done",
    );

    let source = source
        .flags("--log-format json")
        .flag("log-file", disk.join("source.log"));
    let source = source
        .under(&["unshare", "--mount", "sh", "-c", script, disk_name])
        .ready();
    source.says(&[
        "cannot write the log file",
        "source.log",
        "No space left",
        "lines are lost until it works again",
    ]);

    let seen = Path::new("/proc")
        .join(source.pid().unwrap().to_string())
        .join("root")
        .join(disk.strip_prefix("/").unwrap());

    std::fs::remove_file(seen.join("filler")).unwrap();
    let log = seen.join("source.log");
    wait::until("the log tells of missing lines", SOON, || {
        std::fs::read_to_string(&log)
            .is_ok_and(|text| text.contains("lines of this log are missing"))
            .then_some(())
    });

    let told = source.log().matching(0, "cannot write the log file");
    assert_eq!(told.len(), 1, "one failure is told once: {told:?}");
    let text = std::fs::read_to_string(&log).unwrap();
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        .count();

    assert!(
        text.lines().count() - whole <= 1,
        "no line was cut short but perhaps the one being written"
    );

    assert!(source.pid().is_some());
}
