//! Viewers that watch over TCP: by the relay's WebSocket, with TLS and without, alone, beside UDP and in its place.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use fanlight_tests::http::Site;
use fanlight_tests::jpeg;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::tracking::TrackingResult;
use fanlight_tests::viewer_process::{Report, ViewerProcess};
use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, long};
use serde_json::Value;

use crate::http::access::certificate;
use crate::recovery::{gaps, judge_median_and_worst};
use crate::verification::until_row;

const BALL: &str = "--input ball --size 640x480 --rate 30";

/// A source and a relay with HTTP.
fn live(env: &TestEnv, source: &str, relay: &str) -> [Program; 2] {
    let source = env.source("cam").flags(source).ready();
    [source, relay_of(env, relay)]
}

fn relay_of(env: &TestEnv, flags: &str) -> Program {
    env.relay(0, &[env.ipc("cam")])
        .flag("http", env.http_address(0).to_string())
        .flags(flags)
        .ready()
}

fn url(address: SocketAddr) -> String {
    format!("ws://{address}")
}

/// The row of the viewer called `name` in `/api/viewers`, when `pick` likes it.
#[track_caller]
fn viewer_row(site: &Site, name: &str, pick: impl Fn(&Value) -> bool) -> Value {
    until("the relay lists the viewer", SOON, || {
        let listed = site.get("/api/viewers").json();
        let rows = listed["viewers"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name);
        row.filter(|row| pick(row)).cloned()
    })
}

/// Waits until the viewer says why it shows nothing, in a log line with these words.
#[track_caller]
fn assert_says(viewing: &ViewerProcess, state: &str, words: &str) {
    let line = viewing.program().wait_for_line(words);
    assert!(line.text.contains(state), "{}", line.text);
}

#[test]
fn a_screen_over_tcp_is_judged_by_the_source_as_one_over_udp() {
    let env = TestEnv::new();
    let programs = live(&env, BALL, "");
    let site = Site::of(&programs[1]);
    let viewing = env
        .viewer_at(&url(site.0), "cam")
        .flags("--track ball --name lobby")
        .start();

    until_row(&env, "lobby", "cam", |row| {
        (row["health"] == "right picture").then_some(())
    });
    until("the verdict is told to the screen", SOON, || {
        let judged = viewing.judged();
        judged
            .iter()
            .any(|it| it.verdict.health == "right")
            .then_some(())
    });

    let row = viewer_row(&site, "lobby", |row| {
        row["health"] == "right" && row["silent_ms"].is_u64()
    });
    assert_eq!(
        (&row["kind"], &row["stream"]),
        (&"tcp".into(), &"cam".into()),
        "{row}"
    );
    assert!(
        row["error_px"].as_f64().unwrap() < 0.5 && row["frames"].as_u64() > Some(0),
        "{row}"
    );
    assert!(
        row["last_shown_ms"].is_u64() && row["not_shown"].is_null(),
        "{row}"
    );

    env.program("source")
        .flags("verify --for 2s --viewers 1 --max-error 2 --max-age 30s")
        .flag("publish", env.ipc("cam"))
        .ends_with(0)
        .says(&["1 of 1 screens"]);

    let seen = TrackingResult::of(viewing);
    seen.assert_right("by TCP", 0.5, 2.0);
    seen.report.assert_one_session();
    assert_eq!(
        (seen.report.transport.as_str(), seen.report.clock.as_str()),
        ("tcp", "monotonic")
    );
    let way = &seen.report.paths[0];
    assert_eq!(
        (way.transport.as_str(), way.frames),
        ("tcp", seen.report.frames.whole)
    );
    until("the relay lists it no more", SOON, || {
        let listed = site.get("/api/viewers").json();
        listed["viewers"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
}

#[test]
fn pictures_over_tcp_are_proved_by_their_canary() {
    let env = TestEnv::new();
    let pictures = env.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for number in 0..4_u8 {
        let jpeg = jpeg::numbered(number.into(), 320, 240);
        std::fs::write(pictures.join(format!("{number}.jpg")), jpeg).unwrap();
    }

    let source = env
        .source("cam")
        .flag("path", &pictures)
        .flags("--input files --rate 10 --canary on")
        .ready();
    let relay = relay_of(&env, "");
    let viewing = env
        .viewer_at(&url(Site::of(&relay).0), "cam")
        .flags("--name lobby")
        .start();

    until_row(&env, "lobby", "cam.canary", |row| {
        (row["health"] == "right picture").then_some(())
    });

    let (report, _) = viewing.finish();
    assert!(report.canary.is_some_and(|canary| canary.found > 0));
    drop((source, relay));
}

#[test]
fn whatever_restarts_a_viewer_over_tcp_shows_pictures_again() {
    let env = TestEnv::new();
    let [source, relay] = live(&env, BALL, "");
    let viewing = env.viewer_at(&url(Site::of(&relay).0), "cam").start();
    viewing.wait_shown(5);

    for program in [&relay, &source] {
        program.kill();
        viewing
            .program()
            .wait_for_line(if std::ptr::eq(program, &relay) {
                "no answer from the relay"
            } else {
                "source gone"
            });
        program.start_again();
        program.wait_ready();
        viewing.wait_more(5);
    }

    relay.freeze();
    let mark = viewing.program().log().mark();
    viewing
        .program()
        .wait_for_line_from(mark, "no answer from the relay", SOON);
    relay.thaw();
    viewing.wait_more(5);

    let (report, frames) = viewing.finish();
    report.assert_balanced();
    assert!(report.joins >= 2, "{report:?}");
    let again = frames
        .windows(2)
        .any(|pair| pair[0].epoch == pair[1].epoch && pair[1].number <= pair[0].number);
    assert!(!again, "no frame is shown twice, or behind a newer one");
}

#[test]
fn the_streams_of_a_relay_are_listed_over_tcp_and_any_of_them_is_shown() {
    let env = TestEnv::new();
    let programs = live(&env, BALL, "");
    let address = url(Site::of(&programs[1]).0);
    let list = || {
        let listed = env
            .program("viewer")
            .flags("--list")
            .flag("relay", &address);
        listed.ends_with(0)
    };
    until("the stream is live", SOON, || {
        let lines = list().log().matching(0, "live");
        lines
            .iter()
            .any(|line| line.text.contains("cam"))
            .then_some(())
    });

    let missing = env.viewer_at(&address, "nave").start();
    missing
        .program()
        .wait_for_line("the relay has no stream nave");
    let any = env
        .program("viewer")
        .flags("--headless --duration 2s --report -")
        .flag("relay", &address);
    any.ends_with(0).says(&[r#""stream": "cam""#]);
}

#[test]
fn a_token_lets_a_viewer_in_and_without_it_the_card_says_what_is_missing() {
    let env = TestEnv::new();
    let token = |name: &str| {
        let path = env.path(name);
        let made = env.program("relay").flags("keygen token");
        made.flags(path.to_str().unwrap()).ends_with(0);
        path
    };

    let (good, bad) = (token("good"), token("bad"));
    let access = format!("--http-access token --http-view-token {}", good.display());
    let programs = live(&env, BALL, &access);
    let address = url(Site::of(&programs[1]).0);
    let watch = |token: Option<&Path>| {
        let command = env.viewer_at(&address, "cam");
        match token {
            Some(token) => command.flag("relay-token-file", token).start(),
            None => command.start(),
        }
    };

    let shut_out = watch(None);
    assert_says(&shut_out, "rejected", "asks for a token (relay_token_file)");
    let wrong = watch(Some(&bad));
    assert_says(&wrong, "rejected", "does not know this viewer's token");
    let right = watch(Some(&good));
    right.wait_shown(5);
    let logged = right.program().log().matching(0, "");
    let secret = std::fs::read_to_string(&good).unwrap();
    assert!(logged.iter().all(|line| !line.text.contains(secret.trim())));
}

/// Answers each connection with these bytes, and closes it.
fn answering(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

#[test]
fn what_is_no_relay_is_said_in_plain_words() {
    let env = TestEnv::new();
    let proxy = answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    let page = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let mail = answering(b"220 mail.example ESMTP\r\n");
    let nobody = env.http_address(7);
    let cases = [
        (proxy, "ws", "does not reach the relay: 502"),
        (page, "ws", "is no relay: 200"),
        (mail, "ws", "is no relay"),
        (mail, "wss", "speaks no TLS"),
        (nobody, "ws", "nobody listens at"),
    ];

    let started = cases.map(|(address, scheme, words)| {
        let viewing = env.viewer_at(&format!("{scheme}://{address}"), "cam");
        (
            viewing.flag("relay-certificate", "00".repeat(32)).start(),
            address,
            words,
        )
    });
    for (viewing, address, words) in started {
        let line = viewing.program().wait_for_line(words);
        assert!(line.text.contains(&address.to_string()), "{}", line.text);
    }
}

/// An authority of certificates, and a relay's certificate for `localhost` that it signed, with its key.
fn signed_certificate(env: &TestEnv) -> Option<[PathBuf; 3]> {
    let (authority, _) = certificate(env.directory(), "authority")?;
    let [request, cert, key, names] =
        ["relay.csr", "relay.crt", "relay.key", "names"].map(|name| env.path(name));
    std::fs::write(&names, "subjectAltName=DNS:localhost\n").unwrap();
    let openssl = |words: &str| {
        let ran = Command::new("openssl")
            .args(words.split(' '))
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    };

    let [authority_text, request, cert_text, key_text, names] =
        [&authority, &request, &cert, &key, &names].map(|path| path.to_str().unwrap());
    openssl(&format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=relay -keyout {key_text} -out {request}"
    ));
    openssl(&format!(
        "x509 -req -in {request} -CA {authority_text} -CAkey {} -CAcreateserial -days 2 -extfile {names} -out {cert_text}",
        env.path("authority.pem").display()
    ));
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Some([authority, cert, key])
}

/// The SHA-256 of a certificate, as openssl prints it.
fn fingerprint(certificate: &Path) -> String {
    let asked = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
    let output = Command::new("openssl")
        .args(asked)
        .arg(certificate)
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.trim().split_once('=').unwrap().1.to_owned()
}

#[test]
fn a_certificate_is_trusted_by_its_authority_or_its_fingerprint_and_else_refused() {
    let env = TestEnv::new();
    let Some([authority, cert, key]) = signed_certificate(&env) else {
        return;
    };
    let Some((other, _)) = certificate(env.directory(), "other") else {
        return;
    };

    let source = env.source("cam").flags(BALL).ready();
    let relay = env
        .relay(0, &[env.ipc("cam")])
        .flags("--http 127.0.0.1:0")
        .flag("http-certificate", &cert)
        .flag("http-key", &key)
        .ready();
    let site = Site::of(&relay).0;
    let named = format!("wss://localhost:{}", site.port());
    let unnamed = format!("wss://{site}");

    let pinned = env.viewer_at(&unnamed, "cam");
    let pinned = pinned.flag("relay-certificate", fingerprint(&cert)).start();
    let signed = env
        .viewer_at(&named, "cam")
        .flag("relay-ca-file", &authority)
        .start();
    pinned.wait_shown(5);
    signed.wait_shown(5);

    let refused = |address: &str, key: &str, value: &str, words: &str| {
        let viewing = env.viewer_at(address, "cam").flag(key, value).start();
        assert_says(&viewing, "rejected", words);
    };
    let [authority, other_file] = [&authority, &other].map(|path| path.to_str().unwrap());
    let other_print = fingerprint(&other);
    refused(&unnamed, "relay-ca-file", authority, "is for another name");
    refused(&named, "relay-ca-file", other_file, "is not trusted");
    refused(
        &named,
        "relay-certificate",
        &other_print,
        "is none of relay_certificate",
    );
    drop((source, relay));
}

/// Frames that were lost for another reason than that a program waited for the processor.
fn lost_on_the_way(report: &Report) -> u64 {
    let lost = &report.frames.lost.by_reason;
    ["link", "incomplete", "aborted", "away", "undecodable"]
        .iter()
        .map(|reason| lost[*reason])
        .sum()
}

#[test]
fn one_relay_over_udp_and_one_over_tcp_lose_no_frame_when_either_is_killed() {
    let env = TestEnv::new();
    let source = env.source("cam").flags(BALL).ready();
    let by_udp = env.relay(0, &[env.ipc("cam")]).ready();
    let by_tcp = env
        .relay(1, &[env.ipc("cam")])
        .flags("--http 127.0.0.1:0")
        .ready();

    let viewing = env
        .viewer(env.relay_address(0), "cam")
        .flag("relay", url(Site::of(&by_tcp).0))
        .start();
    viewing.wait_shown(20);

    by_udp.kill();
    viewing.wait_more(40);
    by_udp.start_again();
    by_udp.wait_ready();
    viewing.wait_more(40);
    by_tcp.kill();
    viewing.wait_more(40);

    let (report, _) = viewing.finish();
    report.assert_balanced();
    assert_eq!(report.transport, "both");
    assert!(
        report.paths.iter().all(|way| way.frames > 20),
        "{:?}",
        report.paths
    );
    assert_eq!(lost_on_the_way(&report), 0, "{report:?}");
    drop(source);
}

#[test]
fn where_nothing_answers_by_udp_pictures_come_by_tcp_and_the_viewer_says_so() {
    let env = TestEnv::new();
    let source = env.source("cam").flags(BALL).ready();
    let relay = relay_of(&env, "");
    let hole = UdpSocket::bind((env.http_address(0).ip(), 0)).unwrap();
    let watch = |transport: &str| {
        env.viewer(hole.local_addr().unwrap(), "cam")
            .flag("relay", url(env.http_address(0)))
            .flag("transport", transport)
            .flags("--stats")
            .start()
    };

    let (auto, udp) = (watch("auto"), watch("udp"));
    auto.wait_shown(5);
    auto.program()
        .wait_for_line("UDP brings no pictures: pictures by tcp");
    auto.program().wait_for_line("live by tcp");
    assert_eq!(udp.count(), 0);

    let (report, _) = auto.finish();
    assert_eq!(report.transport, "tcp");
    assert_eq!(report.transport_changes.len(), 1, "{report:?}");
    let changed = &report.transport_changes[0];
    assert_eq!(
        (changed.to.as_str(), changed.reason.as_str()),
        ("tcp", "UDP brings no pictures")
    );

    let tcp = watch("tcp");
    tcp.wait_shown(5);
    assert_eq!(tcp.finish().0.paths.len(), 1);
    drop((source, relay));
}

/// Beside P1 and P3: the same bounds for both.
#[test]
#[ignore = "./dev promises"]
fn screens_over_tcp_are_back_as_soon_as_those_over_udp() {
    judge(
        "P1, P3 by TCP: relay and source are killed",
        |measurement| {
            let env = TestEnv::new();
            let [source, relay] = live(&env, BALL, "");
            let ways = [
                ("TCP", url(env.http_address(0))),
                ("UDP", env.relay_address(0).to_string()),
            ];
            let screens = ways.map(|(way, address)| {
                let screens = [(); 3].map(|()| env.viewer_at(&address, "cam").start());
                screens.iter().for_each(|screen| screen.wait_shown(5));
                (way, screens)
            });

            let rounds = if long() { 20 } else { 3 };
            let mut back = [(); 2].map(|()| (Vec::new(), Vec::new()));
            relay.keep();
            for _ in 0..rounds {
                let killed = relay.kill();
                let started = until("the relay runs again", SOON, || {
                    relay.pid().map(|_| relay.started())
                });
                for ((_, screens), (relay, _)) in screens.iter().zip(&mut back) {
                    relay.extend(gaps(screens, killed, started));
                }
            }

            for _ in 0..rounds {
                source.kill();
                source.start_again();
                let ready = source.wait_ready();
                for ((_, screens), (_, sources)) in screens.iter().zip(&mut back) {
                    sources.extend(gaps(screens, ready, source.started()));
                }
            }

            for ((way, _), (relay, source)) in screens.iter().zip(back) {
                let what = format!("{way}: after the relay was killed");
                let [median, worst] = [1000, 1500].map(Duration::from_millis);
                judge_median_and_worst(measurement, &what, relay, median, worst);
                let what = format!("{way}: after the source was ready");
                measurement.all_at_most(what, Duration::from_secs(1), source);
            }
        },
    );
}
