//! The manners of a service, tried on a real process: `examples/manners.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fanlight_daemon::clock;
use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(20);

/// A started program and its service manager.
struct Service {
    child: Child,
    manager: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Service {
    fn start(arguments: &[&str]) -> Self {
        Self::start_as(program(), arguments)
    }

    fn start_as(mut program: Command, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(DEADLINE)).unwrap();
        let child = program
            .args(arguments)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "60000")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();

        Self {
            child,
            manager,
            _dir: dir,
        }
    }

    /// Waits until the manager is told `wanted`.
    fn hears(&self, wanted: &str) {
        while self
            .next_note()
            .unwrap_or_else(|error| panic!("{wanted} did not come: {error}"))
            != wanted
        {}
    }

    fn next_note(&self) -> io::Result<String> {
        let mut note = [0; 256];
        loop {
            match self.manager.recv(&mut note) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => return received.map(|length| text(&note[..length])),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    let built = test
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("examples/manners");

    assert!(
        built.exists(),
        "{} is built by `cargo test -p fanlight-daemon`",
        built.display()
    );

    let mut command = Command::new(built);
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn file(dir: &tempfile::TempDir, config: &str) -> PathBuf {
    let file = dir.path().join("manners.toml");
    std::fs::write(&file, config).unwrap();
    file
}

#[test]
fn each_stop_signal_ends_a_program_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut service = Service::start(&[]);
        service.hears("READY=1");
        service.hears("STATUS=3 pictures");
        service.hears("WATCHDOG=1");
        service.signal(signal);
        service.hears("STOPPING=1");
        let status = service.child.wait().unwrap();
        assert_eq!(
            (status.code(), status.signal()),
            (Some(0), None),
            "{signal:?}"
        );
    }
}

#[test]
fn a_hang_up_reads_the_file_again_and_never_stops_a_program() {
    let dir = tempfile::tempdir().unwrap();
    let given = file(&dir, "pictures = 4\n");
    let log = dir.path().join("log");
    let mut service = Service::start(&[
        "--config",
        given.to_str().unwrap(),
        "--log-file",
        log.to_str().unwrap(),
    ]);
    service.hears("STATUS=4 pictures");

    let logged = |wanted: &str| {
        let deadline = clock::now() + DEADLINE;
        while !std::fs::read_to_string(&log).unwrap().contains(wanted) {
            assert!(clock::now() < deadline, "{wanted} is not logged");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };

    for (text, said) in [
        ("pictures = 4\n", "reload: nothing to change"),
        ("pictures = \n", "asked to reload, and nothing changes: "),
        ("pictures = 0\n", "`pictures` = 0 leaves nothing to show"),
        (
            "pictures = 4\nguest = []\n",
            "unknown key `guest` (line 2, column 1), did you mean `guests`?",
        ),
        (
            "pictures = 4\nguests = ['Ann']\n",
            "changes at the next start only, and stays until then: guests",
        ),
    ] {
        file(&dir, text);
        service.signal(Signal::HUP);
        logged(said);
    }

    file(&dir, "pictures = 5\nguests = ['Ann']\n");
    service.signal(Signal::HUP);
    service.hears("STATUS=5 pictures");
    service.signal(Signal::TERM);
    service.hears("STOPPING=1");
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_program_that_a_shell_started_in_the_background_stops_like_any_other() {
    // Such a shell leaves SIGINT ignored, and nohup(1) SIGHUP.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' INT HUP; exec \"$0\" \"$@\""])
        .arg(program().get_program())
        .stdin(Stdio::null());

    let mut service = Service::start_as(shell, &[]);
    service.hears("READY=1");
    service.signal(Signal::INT);
    service.hears("STOPPING=1");
    assert_eq!(service.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_ends_even_a_wedged_program() {
    let mut service = Service::start(&["--wedge"]);
    service.hears("READY=1");
    service.signal(Signal::TERM);
    service.hears("STOPPING=1");
    assert!(
        service.child.try_wait().unwrap().is_none(),
        "the first signal was not to end it"
    );

    service.signal(Signal::TERM);
    assert_eq!(service.child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_wedged_loop_feeds_no_watchdog() {
    let service = Service::start(&["--wedge"]);
    service.hears("WATCHDOG=1");
    service.signal(Signal::TERM);
    service.hears("STOPPING=1");
    service
        .manager
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();

    let after = std::iter::from_fn(|| service.next_note().ok())
        .take(10)
        .count();
    assert!(
        after <= 1,
        "{after} notes after the loop had stopped turning"
    );
}

#[test]
fn bad_flags_and_bad_files_end_with_64_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let bad = file(&dir, "pictures = 4\nguest = ['all']\n");
    let bad = bad.to_str().unwrap();

    for (arguments, said) in [
        (vec!["--pictures=many"], "invalid digit"),
        (vec!["--pitcures=1"], "--pictures"),
        (vec!["--log=a=b=c"], "--log"),
        (vec!["--log-format=xml"], "possible values: text, json"),
        (
            vec!["--pictures=0"],
            "`pictures` = 0 leaves nothing to show",
        ),
        (
            vec!["--config", bad],
            "unknown key `guest` (line 2, column 1), did you mean `guests`?",
        ),
        (
            vec!["--config", bad, "--print-config"],
            "did you mean `guests`?",
        ),
        (vec!["check-config", bad], "did you mean `guests`?"),
        (
            vec!["--config", "/nonexistent"],
            "cannot read the config file /nonexistent: No such file",
        ),
    ] {
        let output = output(&arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_bad_config_is_told_although_the_log_is_off() {
    let output = output(&["--log=off", "--pictures=0"]);
    assert_eq!(
        text(&output.stderr),
        "manners: `pictures` = 0 leaves nothing to show\n"
    );
}

#[test]
fn a_good_config_is_called_good_from_flags_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(&dir, "pictures = 4\n");
    let good = good.to_str().unwrap();

    for arguments in [
        vec!["check-config"],
        vec!["--config", good, "check-config"],
        vec!["check-config", good],
    ] {
        let output = output(&arguments);
        assert_eq!(
            (output.status.code(), text(&output.stderr).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(text(&output.stdout).ends_with(": good\n"), "{arguments:?}");
    }
}

#[test]
fn the_printed_config_is_flags_over_file_over_defaults_and_loads_again() {
    let dir = tempfile::tempdir().unwrap();
    let given = file(&dir, "pictures = 4\nguests = ['none']\n");
    let first = output(&[
        "--config",
        given.to_str().unwrap(),
        "--print-config",
        "--guests=Ann,Bo",
    ]);

    let printed = text(&first.stdout);
    assert_eq!(
        printed,
        "# Number of pictures\npictures = 4\n\n# Whom to show them to\nguests = [\"Ann\", \"Bo\"]\n"
    );

    let again = output(&[
        "--config",
        file(&dir, &printed).to_str().unwrap(),
        "--print-config",
    ]);

    assert_eq!(text(&again.stdout), printed);
}

#[test]
fn help_and_version_are_no_errors() {
    let version = output(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        format!("manners {}\n", env!("CARGO_PKG_VERSION"))
    );

    let help = output(&["--help"]);
    assert_eq!(
        (version.status.code(), help.status.code()),
        (Some(0), Some(0))
    );

    let help = text(&help.stdout);
    for line in [
        "Waits until it is asked to stop\n",
        "--pictures <PICTURES>",
        "[default: 3]",
        "--wedge",
        "--print-config",
        "--log <FILTER>",
        "check-config",
    ] {
        assert!(help.contains(line), "{line} is not in {help}");
    }
}

#[test]
fn a_failure_ends_with_1_and_one_line_with_all_its_causes() {
    let output = output(&["--fail", "--log-format=json"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    let (version, failure) = stderr.trim_end().split_once('\n').unwrap();
    assert!(
        version.contains(r#""message":"manners 0"#) && version.starts_with('{'),
        "{version}"
    );

    assert!(
        failure.contains(r#""message":"manners: cannot show pictures: the camera is gone""#),
        "{failure}"
    );

    assert!(!failure.contains('\n'), "{failure}");
}

#[test]
fn a_program_ends_with_the_code_it_chooses() {
    assert_eq!(output(&["--end=7"]).status.code(), Some(7));
}
