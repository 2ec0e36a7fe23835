//! Cameras of others that send MJPEG over HTTP: what they do wrong is told on the screen, and pictures are back by themselves.

mod ffmpeg;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::document::{Document, put_programs, shell};
use fanlight_tests::network_camera::{Manner, NetworkCamera};
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::{ViewerProcess, hash};
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, jpeg, skip};

/// The promise: live on the screen again so long after the camera is back.
const BACK: Duration = Duration::from_secs(2);

/// A source of `input`, a relay and a viewer.
struct Chain {
    env: TestEnv,
    source: Program,
    _relay: Program,
    viewer: ViewerProcess,
}

impl Chain {
    fn of(env: TestEnv, input: &str, flags: &str) -> Self {
        let source = env.source("cam").flag("input", input).flags(flags).ready();
        let relay = env.relay(0, &[env.ipc("cam")]).ready();
        let viewer = env.viewer(env.relay_address(0), "cam").start();
        Self {
            env,
            source,
            _relay: relay,
            viewer,
        }
    }

    /// Waits until both the source's log and the screen say `reason`, in lines after the marks.
    fn says_from(&self, (source, viewer): (usize, usize), reason: &str) {
        self.source.wait_for_line_from(source, reason, SOON);
        let program = self.viewer.program();
        program.wait_for_line_from(viewer, reason, SOON);
    }

    fn marks(&self) -> (usize, usize) {
        (self.source.log().mark(), self.viewer.program().log().mark())
    }

    /// Nothing that any program has written holds this.
    fn never_says(&self, secret: &str) {
        for program in [&self.source, self.viewer.program()] {
            let lines = program.log().matching(0, secret);
            let told = lines.iter().filter(|line| line.from != "fixture");
            assert_eq!(told.count(), 0, "{secret} is in the log");
        }
    }
}

/// A file that only its owner reads.
fn password_file(env: &TestEnv, password: &str) -> PathBuf {
    let file = env.path("password");
    // There is none the first time.
    let _ = std::fs::remove_file(&file);
    fanlight_daemon::keys::write(&file, password).unwrap();
    file
}

/// What a camera can do wrong, and what is to be told of it.
const WRONGS: [(Manner, &str); 8] = [
    (Manner::HalfAPart, "is not a stream of JPEGs"),
    (Manner::EndlessHead, "does not speak HTTP"),
    (Manner::EndlessPartHead, "is not a stream of JPEGs"),
    (Manner::Silent, "does not answer"),
    (Manner::SilentInPart, "sends no picture"),
    (Manner::OtherPassword, "refuses the password"),
    (Manner::Page, "is not a stream of JPEGs: it sends text/html"),
    (Manner::Single, "but a single picture"),
];

#[test]
fn whatever_a_network_camera_does_wrong_is_told_and_pictures_come_again() {
    let camera = NetworkCamera::start();
    let env = TestEnv::new();
    let file = password_file(&env, "geheim").display().to_string();
    let url = camera.url().replace("//", "//me@");
    let flags = format!("--input-password {file} --stall-seconds 0.5");
    let chain = Chain::of(env, &url, &flags);
    chain.viewer.wait_shown(3);

    for (manner, reason) in WRONGS {
        let marks = chain.marks();
        camera.serve(manner);
        chain.says_from(marks, reason);

        let now = clock::now();
        camera.serve(Manner::Good);
        chain.viewer.wait_shown_after(now, SOON);
    }

    for manner in [Manner::WithoutLengths, Manner::InPieces] {
        camera.serve(manner);
        let now = clock::now();
        chain.viewer.wait_shown_after(now, SOON);
        chain.viewer.wait_more(5);
    }

    chain.never_says("geheim");
    let (report, frames) = chain.viewer.finish();
    report.assert_balanced();
    let sent: BTreeSet<_> = camera.pictures.iter().map(|jpeg| hash(jpeg)).collect();
    assert!(frames.iter().all(|frame| sent.contains(&frame.hash)));
}

#[test]
#[ignore = "./dev promises"]
fn pictures_of_a_network_camera_are_back_within_two_seconds_of_its_return() {
    judge("a network camera returns", |measurement| {
        let camera = NetworkCamera::start();
        let chain = Chain::of(TestEnv::new(), &camera.url(), "--stall-seconds 0.5");
        chain.viewer.wait_shown(3);
        for (manner, reason) in WRONGS {
            // It asks for a user before it refuses any.
            if manner == Manner::OtherPassword {
                continue;
            }

            let marks = chain.marks();
            camera.serve(manner);
            chain.says_from(marks, reason);
            let back = clock::now();
            camera.serve(Manner::Good);
            let shown = chain.viewer.wait_shown_after(back, SOON);
            let took = shown.at.saturating_since(back);
            measurement.at_most(format!("back after {manner:?}"), BACK, took);
        }
    });
}

/// ustreamer, which shows a picture of ours as long as it has no camera.
struct Ustreamer(Child);

impl Ustreamer {
    fn start(env: &TestEnv, picture: &Path, password: &str) -> Option<Self> {
        let address = env.http_address(9);
        let child = Command::new("ustreamer")
            .arg("--device")
            .arg(env.path("no-camera"))
            .arg("--blank")
            .arg(picture)
            .args(["--host", &address.ip().to_string()])
            .args(["--port", &address.port().to_string()])
            .args(["--user", "admin", "--passwd", password])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => Some(Self(child)),
            Err(_) => {
                skip("there is no ustreamer");
                None
            }
        }
    }
}

impl Drop for Ustreamer {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn ustreamer_is_a_camera_and_a_changed_password_is_told_until_its_file_has_it() {
    let env = TestEnv::new();
    let picture = env.path("blank.jpg");
    std::fs::write(&picture, jpeg::numbered(1, 640, 360)).unwrap();
    let Some(ustreamer) = Ustreamer::start(&env, &picture, "first-geheim") else {
        return;
    };

    let url = format!("http://admin@{}/stream", env.http_address(9));
    let file = password_file(&env, "first-geheim").display().to_string();
    let chain = Chain::of(env, &url, &format!("--input-password {file}"));
    chain.viewer.wait_shown(2);

    let marks = chain.marks();
    drop(ustreamer);
    chain.says_from(marks, "cannot be reached: nobody listens there");

    let marks = chain.marks();
    let ustreamer = Ustreamer::start(&chain.env, &picture, "second-geheim");
    chain.says_from(marks, "refuses the password");

    let now = clock::now();
    password_file(&chain.env, "second-geheim");
    let shown = chain.viewer.wait_shown_after(now, SOON);
    // ustreamer makes the picture anew, so its bytes are not ours.
    assert!(shown.captured > now);
    drop(ustreamer);
    chain.never_says("geheim");
}

/// The fingerprint of a certificate that signs itself, for `127.0.0.1`, and its files.
fn certificate(env: &TestEnv) -> Option<(PathBuf, PathBuf, String)> {
    let (file, key) = (env.path("relay.crt"), env.path("relay.key"));
    let openssl = |command: &str| {
        let words: Vec<_> = command.split(' ').collect();
        let output = Command::new("openssl").args(words).output().ok()?;
        let good = output.status.success();
        good.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };

    let made = openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=relay -keyout {} -out {}",
        key.display(),
        file.display()
    ));
    if made.is_none() {
        skip("no openssl to make certificates with");
        return None;
    }

    let print = openssl(&format!(
        "x509 -in {} -noout -fingerprint -sha256",
        file.display()
    ));
    let print = print.unwrap().trim().rsplit('=').next().unwrap().to_owned();
    Some((file, key, print))
}

#[test]
fn the_mjpeg_of_a_relay_behind_tls_and_a_token_is_a_camera() {
    let env = TestEnv::new();
    let Some((certificate, key, print)) = certificate(&env) else {
        return;
    };

    let token = env.path("token");
    let words = format!("keygen token {}", token.display());
    env.program("relay").flags(&words).ends_with(0);
    let folder = env.path("files");
    std::fs::create_dir(&folder).unwrap();
    let pictures: Vec<_> = (0..10).map(|n| jpeg::numbered(n, 640, 360)).collect();
    for (number, picture) in pictures.iter().enumerate() {
        std::fs::write(folder.join(format!("{number}.jpg")), picture).unwrap();
    }

    let files = env.source("first").flags("--input files --rate 20");
    let _files = files.flag("path", &folder).ready();
    let address = env.http_address(5);
    let _far = env
        .relay(5, &[env.ipc("first")])
        .flag("http", address.to_string())
        .flag("http-certificate", &certificate)
        .flag("http-key", &key)
        .flags("--http-access token")
        .flag("http-view-token", &token)
        .ready();

    let url = format!("https://box@{address}/stream/first.mjpeg");
    let token = token.display();
    let trusted = format!("--input-password {token} --input-certificate {print}");
    let chain = Chain::of(env, &url, &trusted);
    chain.viewer.wait_shown(20);
    let (report, frames) = chain.viewer.finish();
    report.assert_balanced();
    let hashes: Vec<_> = pictures.iter().map(|it| hash(it)).collect();
    assert!(frames.iter().all(|frame| hashes.contains(&frame.hash)));

    // Who signed it is not known to this host, and another fingerprint is another certificate.
    let other = format!(
        "--input-password {token} --input-certificate {}",
        "00".repeat(32)
    );
    for (stream, flags, says) in [
        (
            "unknown",
            format!("--input-password {token}"),
            "is not trusted",
        ),
        ("other", other, "it is another one"),
    ] {
        let source = chain.env.source(stream).flag("input", &url).flags(&flags);
        source.ready().wait_for_line(says);
    }
}

#[test]
fn a_password_in_an_address_is_never_told() {
    let env = TestEnv::new();
    let broken = "http://me:geheim@cam:99999/";
    let (_, program) = env.source("cam").flag("input", broken).run();
    program.says(&["input", "65535"]);
    let told = |program: &Program| {
        let lines = program.log().matching(0, "geheim");
        lines.iter().filter(|line| line.from != "fixture").count()
    };
    assert_eq!(told(&program), 0);

    let camera = NetworkCamera::start();
    camera.serve(Manner::OtherPassword);
    let url = camera.url().replace("//", "//me:geheim@") + "?pwd=geheim";
    let source = env
        .source("cam")
        .flag("input", url)
        .flags("--log trace")
        .ready();
    source.wait_for_line("refuses the password");
    assert_eq!(told(&source), 0);
    let status = env.program("source").flags("status --json --at");
    let (_, status) = status.flags(&env.ipc("cam")).run();
    until("the status is told", SOON, || {
        (!status.log().matching(0, "refuses the password").is_empty()
            || !status.log().matching(0, "http://").is_empty())
        .then_some(())
    });
    assert_eq!(told(&status), 0);
}

/// docs/network-cameras.md, with ustreamer and GStreamer as the cameras.
#[test]
fn network_cameras() {
    let env = TestEnv::new();
    let picture = env.path("blank.jpg");
    std::fs::write(&picture, jpeg::numbered(1, 640, 360)).unwrap();
    let Some(_ustreamer) = Ustreamer::start(&env, &picture, "secret") else {
        return;
    };
    let (true, Some(_rtsp)) = (ffmpeg::has_ffmpeg(), ffmpeg::camera(&env, "vp8", "secret")) else {
        return;
    };

    let programs = put_programs(&env);
    let address = env.http_address(9);
    let rtsp = format!("{}:{}", address.ip(), ffmpeg::PORT);
    Document::read("network-cameras.md").run(|_, commands| {
        let commands = commands.replace("192.168.1.20:8080", &address.to_string());
        let commands = commands.replace("192.168.1.20:8554", &rtsp);
        shell(&env, &["env"], &programs, &commands)
    });
}
