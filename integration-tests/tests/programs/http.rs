//! The relay's HTTP side: real programs, and clients that read strictly.

pub(crate) mod access;
mod controls;
mod hostile;
mod links;
mod many_clients;
mod openapi;
mod players;
mod socket;
mod sources;

use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::wait::{SOON, until};
use serde_json::{Value, json};

/// An age of a live picture that is a mistake on any machine.
const OLD_MS: f64 = 30_000.0;

/// EX_USAGE of sysexits.h.
const USAGE: i32 = 64;

/// A source and a relay that speaks HTTP.
struct Fixture {
    env: TestEnv,
    source: Program,
    relay: Program,
    site: Site,
}

impl Fixture {
    fn new(relay_flags: &str) -> Self {
        Self::of("--input ball --size 320x240 --rate 30", relay_flags)
    }

    fn of(source_flags: &str, relay_flags: &str) -> Self {
        let env = TestEnv::new();
        let source = env.source("cam").flags(source_flags).ready();
        let relay = relay(&env, 0, relay_flags);
        let site = Site::of(&relay);
        until("the first picture has come", SOON, || {
            (has_picture(&site)).then_some(())
        });
        Self {
            env,
            source,
            relay,
            site,
        }
    }

    /// One that speaks TLS, and is ready when `ready` says so.
    fn secure(relay_flags: &str, ready: impl Fn(Site) -> bool) -> Self {
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input ball --size 320x240 --rate 30")
            .ready();

        let relay = relay(&env, 0, relay_flags);
        let site = Site::of(&relay);
        until("the relay is ready", SOON, || ready(site).then_some(()));
        Self {
            env,
            source,
            relay,
            site,
        }
    }

    fn stream(&self) -> Value {
        self.site.get("/api/streams").json()["streams"][0].clone()
    }
}

/// A relay of the source `cam` on a port of its own for HTTP.
fn relay(env: &TestEnv, number: u16, flags: &str) -> Program {
    let http = format!("{}:0", env.relay_address(number).ip());
    env.relay(number, &[env.ipc("cam")])
        .flag("http", http)
        .flags(flags)
        .ready()
}

/// Whether the relay has had a picture, which it may not show to everybody.
fn has_picture(site: &Site) -> bool {
    site.get("/readyz").status == 200 && matches!(site.get("/snapshot/cam.jpg").status, 200 | 401)
}

/// Asserts that a picture is whole and decodes to that size.
#[track_caller]
fn assert_picture(bytes: &[u8], width: usize, height: usize) {
    let picture = turbojpeg::decompress(bytes, turbojpeg::PixelFormat::GRAY).unwrap();
    assert_eq!((picture.width, picture.height), (width, height));
}

#[test]
fn every_address_answers_as_documented() {
    let fixture = Fixture::new("");
    let site = fixture.site;
    let page = site.get("/");
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );

    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }

    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'; script-src 'self'")
    );

    let stream = fixture.stream();
    for (key, value) in [
        ("name", json!("cam")),
        ("width", json!(320)),
        ("height", json!(240)),
        ("state", json!("live")),
        ("reason", json!("")),
        ("source_gone", json!(false)),
        ("viewers", json!(0)),
        ("clients", json!(0)),
    ] {
        assert_eq!(stream[key], value, "{stream:#}");
    }

    assert!(stream["age_ms"].as_f64().unwrap() < OLD_MS, "{stream:#}");
    until("the rate is measured", SOON, || {
        fixture.stream()["fps"]
            .as_f64()
            .filter(|fps| (20.0..40.0).contains(fps))
    });

    assert_eq!(site.get("/api/health").json()["healthy"], true);
    assert_eq!(
        site.get("/readyz").json(),
        json!({ "ready": true, "reasons": [], "problems": [] })
    );

    assert_eq!(
        site.get("/api/session").json(),
        json!({ "access": "loopback", "role": "admin" })
    );

    for missing in [
        "/nothing",
        "/snapshot/cam.png",
        "/stream/cam",
        "/api",
        "/snapshot/",
        "/..%2f..%2fetc%2fpasswd",
    ] {
        let answer = site.get(missing);
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (404, "not_found"),
            "{missing}"
        );
    }

    let wrong = site.ask("PUT", "/api/streams", &[], "");
    assert_eq!(
        (wrong.status, wrong.error().as_str()),
        (405, "wrong_method")
    );

    assert_eq!(site.get("/?action=explode").status, 400);
    let head = site.ask("HEAD", "/snapshot/cam.jpg", &[], "");
    assert_eq!(
        (head.status, head.header("content-type"), head.body.len()),
        (200, "image/jpeg", 0)
    );

    assert!(head.header("content-length").parse::<usize>().unwrap() > 1_000);
}

#[test]
fn a_connection_takes_many_requests() {
    let fixture = Fixture::new("");
    let (mut answer, mut rest) = fixture.site.begin("GET", "/api/streams", &[], "").unwrap();

    for _ in 0..20 {
        rest.read_body(&mut answer).unwrap();
        assert_eq!(answer.json()["streams"][0]["name"], "cam");
        let request = format!(
            "GET /api/streams HTTP/1.1\r\nHost: {}\r\n\r\n",
            fixture.site.0
        );

        std::io::Write::write_all(&mut rest.stream(), request.as_bytes()).unwrap();
        answer = rest.read_head().unwrap();
    }
}

#[test]
fn a_snapshot_is_the_newest_picture_and_is_not_sent_twice_to_who_has_it() {
    let fixture = Fixture::of("--input ball --size 320x240 --rate 2", "");
    let site = fixture.site;
    let answer = site.get("/snapshot/cam.jpg");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "image/jpeg")
    );

    assert_eq!(answer.header("cache-control"), "no-store");
    assert_picture(&answer.body, 320, 240);
    assert!(answer.header("x-fanlight-age-ms").parse::<f64>().unwrap() < OLD_MS);
    assert!(answer.header("x-timestamp").parse::<f64>().unwrap() > 1.0e9);
    // Two pictures a second: of three tries, one falls between two pictures.
    let known = (0..20).any(|_| {
        let tag = site.get("/snapshot/cam.jpg").header("etag").to_owned();
        let again = site.ask("GET", "/snapshot/cam.jpg", &[("If-None-Match", &tag)], "");
        assert!(tag.starts_with('"') && tag.contains('-'), "{tag}");
        again.status == 304 && again.header("etag") == tag && again.body.is_empty()
    });

    assert!(known, "a picture that the client has is not sent again");
    let stale = site.ask(
        "GET",
        "/snapshot/cam.jpg",
        &[("If-None-Match", "\"0000000000000000-0\"")],
        "",
    );

    assert_eq!(stale.status, 200);
    for alias in [
        "/?action=snapshot",
        "/?action=snapshot&stream=cam",
        "/snapshot/cam.jpeg",
    ] {
        assert_picture(&site.get(alias).body, 320, 240);
    }
}

#[test]
fn a_snapshot_that_cannot_be_had_says_why() {
    let fixture = Fixture::new("");
    let site = fixture.site;
    let missing = site.get("/snapshot/other.jpg");
    assert_eq!(
        (missing.status, missing.error().as_str()),
        (404, "no_such_stream")
    );

    let wrong = site.get("/snapshot/cam.jpg?max_age=soon");
    assert_eq!((wrong.status, wrong.error().as_str()), (400, "bad_request"));
    fixture.source.freeze();
    until("the relay sees that the source has gone", SOON, || {
        (fixture.stream()["source_gone"] == true).then_some(())
    });

    let gone = site.get("/snapshot/cam.jpg");
    assert_eq!((gone.status, gone.error().as_str()), (404, "source_gone"));
    assert_eq!(gone.header("retry-after"), "1");
    assert_picture(&site.get("/snapshot/cam.jpg?max_age=3600").body, 320, 240);
    assert_eq!(site.get("/readyz").status, 503);
    let health = site.get("/api/health");
    assert_eq!(
        (health.status, &health.json()["reasons"]),
        (503, &json!(["no source has been heard lately"]))
    );

    let placeholder = site.get("/snapshot/cam.jpg?placeholder=1");
    assert_eq!(
        (placeholder.status, placeholder.header("x-fanlight-reason")),
        (200, "source_gone")
    );

    assert_picture(&placeholder.body, 640, 360);
    let placeholder = site.get("/snapshot/other.jpg?placeholder=1");
    assert_eq!(
        (placeholder.status, placeholder.header("x-fanlight-reason")),
        (200, "no_such_stream")
    );

    fixture.source.thaw();
    until("the picture is back", SOON, || {
        (site.get("/snapshot/cam.jpg").status == 200).then_some(())
    });
}

#[test]
fn a_snapshot_waits_for_a_fresh_picture_when_asked_to() {
    let fixture = Fixture::of("--input ball --size 320x240 --rate 2", "");
    let old = fixture
        .site
        .get("/snapshot/cam.jpg")
        .header("etag")
        .to_owned();

    let fresh = fixture.site.get("/snapshot/cam.jpg?wait=1");
    assert_ne!(fresh.header("etag"), old);
    // A picture that is too old is waited for too.
    let young = fixture.site.get("/snapshot/cam.jpg?max_age=0");
    assert_eq!(young.status, 200);
}

#[test]
fn a_home_that_polls_pictures_is_one_client_and_gets_a_new_one_each_time() {
    let fixture = Fixture::new("");
    let agent = [(
        "User-Agent",
        "HomeAssistant/2026.11 aiohttp/3.12 Python/3.13",
    )];

    let mut tags = std::collections::BTreeSet::new();
    until("ten pictures have come", SOON, || {
        let answer = fixture.site.ask("GET", "/snapshot/cam.jpg", &agent, "");
        assert_picture(&answer.body, 320, 240);
        tags.insert(answer.header("etag").to_owned());
        fanlight_tests::wait::pause(Duration::from_millis(100));
        (tags.len() >= 10).then_some(())
    });

    let viewers = fixture.site.get("/api/viewers").json();
    let rows = viewers["viewers"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["kind"]),
        (1, &json!("snapshot")),
        "{viewers:#}"
    );

    assert!(rows[0]["frames"].as_u64() >= Some(10), "{viewers:#}");
    assert_eq!(
        fixture.stream()["clients"],
        0,
        "who polls watches no stream"
    );
}

#[test]
fn viewers_of_every_kind_are_listed_while_they_watch() {
    let fixture = Fixture::new("");
    let viewing = fixture
        .env
        .viewer(fixture.env.relay_address(0), "cam")
        .flags("--name hall")
        .start();

    viewing.wait_shown(10);
    let mut parts = fixture.site.stream("/stream/cam.mjpeg", &[]);
    parts.next_part().unwrap().unwrap();
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    socket.subscribe(1, "cam", None);
    socket.frame().unwrap();
    let viewers = until("all are listed, and one has told of itself", SOON, || {
        let viewers = fixture.site.get("/api/viewers").json()["viewers"]
            .as_array()
            .unwrap()
            .clone();

        let told = viewers
            .iter()
            .any(|row| row["kind"] == "udp" && row["frames"].as_u64() > Some(5));
        let kinds = ["udp", "ws", "mjpeg"];
        let all = kinds
            .iter()
            .all(|kind| viewers.iter().any(|row| row["kind"] == *kind));
        (all && told).then_some(viewers)
    });

    let row = |kind| {
        viewers
            .iter()
            .find(|row| row["kind"] == kind)
            .unwrap_or_else(|| panic!("no {kind}: {viewers:#?}"))
    };

    assert_eq!(
        (&row("udp")["name"], &row("udp")["stream"]),
        (&json!("hall"), &json!("cam"))
    );

    assert!(row("udp")["address"].as_str().unwrap().contains(':'));
    assert_eq!(row("udp")["lost"]["aborted"], 0);
    assert_eq!(row("ws")["frames"], 1, "it gave no credit for a second");
    assert!(row("mjpeg")["frames"].as_u64() >= Some(1));
    let stream = fixture.stream();
    assert_eq!(
        (&stream["viewers"], &stream["clients"]),
        (&json!(1), &json!(2))
    );

    drop((socket, parts));
    until("who left is listed no more", SOON, || {
        (fixture.stream()["clients"] == 0).then_some(())
    });
}

#[test]
fn multipart_pictures_are_whole_and_timed_in_both_framings() {
    let fixture = Fixture::new("");
    for (path, agent, timed) in [
        ("/stream/cam.mjpeg", "curl/8", true),
        ("/stream/cam.mjpeg?framing=advance", "curl/8", false),
        (
            "/stream/cam.mjpeg",
            "Mozilla/5.0 (X11; Linux) Chrome/156",
            false,
        ),
        ("/?action=stream", "curl/8", true),
        (
            "/?action=stream&stream=cam&framing=advance",
            "curl/8",
            false,
        ),
    ] {
        let mut parts = fixture.site.stream(path, &[("User-Agent", agent)]);
        let mut last = 0.0;
        for _ in 0..10 {
            let part = parts.next_part().unwrap().unwrap();
            assert_picture(&part.body, 320, 240);
            assert_eq!(part.header("content-type"), "image/jpeg");

            if timed {
                assert_eq!(part.header("content-length"), part.body.len().to_string());
                let time: f64 = part.header("x-timestamp").parse().unwrap();
                assert!(time > last, "{time} after {last}");
                last = time;
            } else {
                assert_eq!(part.headers.len(), 1, "{:?}", part.headers);
            }
        }
    }

    for (path, status) in [
        ("/stream/other.mjpeg", 404),
        ("/stream/cam.mjpeg?fps=0", 400),
        ("/stream/cam.mjpeg?framing=x", 400),
    ] {
        assert_eq!(fixture.site.get(path).status, status, "{path}");
    }
}

#[test]
#[ignore = "./dev promises"]
fn who_wants_ten_pictures_a_second_gets_ten_evenly() {
    judge("a rate over HTTP", |measurement| {
        let fixture = Fixture::new("");
        let mut parts = fixture.site.stream("/stream/cam.mjpeg?fps=10", &[]);
        let times: Vec<f64> = (0..31)
            .map(|_| {
                parts
                    .next_part()
                    .unwrap()
                    .unwrap()
                    .header("x-timestamp")
                    .parse()
                    .unwrap()
            })
            .collect();

        let rate = 30.0 / (times[30] - times[0]);
        measurement.compare(
            "pictures a second",
            "9 to 10.5",
            format!("{rate:.2}"),
            "10",
            (9.0..10.5).contains(&rate),
        );

        // Of a busy machine a few may be off by one frame of the source.
        let even = times
            .windows(2)
            .filter(|pair| (pair[1] - pair[0] - 0.1).abs() < 0.02)
            .count();

        measurement.compare(
            "intervals of 30 that are a tenth of a second",
            ">= 24",
            even.to_string(),
            "30",
            even >= 24,
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_stops_says_goodbye_within_half_a_second() {
    judge("P25: a relay with HTTP clients stops", |measurement| {
        let fixture = Fixture::new("");
        let mut socket = fixture.site.socket("/ws", &[]).unwrap();
        socket.subscribe(1, "cam", None);
        socket.frame().unwrap();
        let mut parts = fixture.site.stream("/stream/cam.mjpeg", &[]);
        parts.next_part().unwrap().unwrap();
        let (_answer, idle) = fixture.site.begin("GET", "/api/health", &[], "").unwrap();
        let (exit, took) = fixture.relay.stop();
        assert_eq!(exit.code(), Some(0));
        measurement.at_most("from SIGTERM to the end", Duration::from_millis(500), took);

        while let Some(part) = parts.next_part().unwrap() {
            assert!(part.body.is_empty() || part.body.ends_with(&[0xff, 0xd9]));
        }

        let code = loop {
            match socket.hear().unwrap() {
                fanlight_tests::http::Said::Close(code) => break code,
                _ => continue,
            }
        };

        assert_eq!(code, 1001);
        drop(idle);
    });
}

#[test]
fn several_relays_on_one_host_have_ports_of_their_own_and_one_that_is_taken_is_named() {
    let fixture = Fixture::new("");
    let second = relay(&fixture.env, 1, "");
    until("the second has a picture too", SOON, || {
        has_picture(&Site::of(&second)).then_some(())
    });

    let taken = fixture
        .env
        .relay(2, &[fixture.env.ipc("cam")])
        .flag("http", fixture.site.0.to_string());

    taken
        .ends_with(1)
        .wait_for_line("another program has this port: give http another one");
}

#[test]
fn settings_that_would_open_the_relay_by_mistake_are_refused() {
    let env = TestEnv::new();
    let token = env.path("token");
    std::fs::write(&token, "a-token-that-is-open-to-others\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let token = token.to_str().unwrap();

    for (flags, words, code) in [
        (
            "--http 0.0.0.0:0".to_owned(),
            "is not a loopback address",
            USAGE,
        ),
        (
            "--http 127.0.0.1:0 --http-access token".to_owned(),
            "needs http_view_token or http_admin_token",
            USAGE,
        ),
        (
            "--http-view-token /x".to_owned(),
            "http_view_token has no use without http",
            USAGE,
        ),
        (
            format!("--http 127.0.0.1:0 --http-view-token {token}"),
            "has no use with http_access",
            USAGE,
        ),
        (
            format!("--http 127.0.0.1:0 --http-access token --http-view-token {token}"),
            "is open to others",
            1,
        ),
        (
            "--http 127.0.0.1:0 --http-access token --http-view-token /no/such".to_owned(),
            "there is no key file",
            1,
        ),
        (
            "--http 127.0.0.1:0 --http-certificate /x".to_owned(),
            "http_certificate needs http_key",
            USAGE,
        ),
        (
            "--http 127.0.0.1:0 --http-origins nonsense".to_owned(),
            "is no origin",
            USAGE,
        ),
    ] {
        let relay = env
            .relay(0, &[env.ipc("cam")])
            .flags(&flags)
            .ends_with(code);
        relay.wait_for_line(words);
    }
}
