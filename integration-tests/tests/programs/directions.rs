//! Screens that are directed over HTTP and by the command line of a real relay. A client of the test plays the screen: it tells of
//! each frame that the relay sent it, or lies.

use std::io::{BufRead as _, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::message::{Direction, Goodbye, KeepAlive, ScreenReport};
use fanlight_tests::TestEnv;
use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::http::{Answer, Site};
use fanlight_tests::program::Program;
use fanlight_tests::raw_client::RawClient;
use fanlight_tests::wait::{Deadline, SOON, until};
use serde_json::{Value, json};

/// A relay of the streams `cam1` and `cam2`, with tokens.
struct Fixture {
    env: TestEnv,
    relay: Program,
    site: Site,
    admin: String,
    view: String,
}

impl Fixture {
    fn new() -> Self {
        let env = TestEnv::new();
        let sources = ["cam1", "cam2"].map(|name| FakeSource::start(name, None));
        let [view, admin] = ["view", "admin"].map(|name| token(&env, name));
        let relay = env
            .relay(0, &sources.map(|source| source.endpoint()))
            .flag("http", format!("{}:0", env.relay_address(0).ip()))
            .flags("--http-access token")
            .flag("http-view-token", env.path("view"))
            .flag("http-admin-token", env.path("admin"))
            .flag("http-scenes", env.path("scenes.json"))
            .flags("--http-history-s 60")
            .ready();
        let site = Site::of(&relay);
        for stream in ["cam1", "cam2"] {
            relay.wait_for_line(&format!("live stream={stream}"));
        }
        Self {
            env,
            relay,
            site,
            admin,
            view,
        }
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let token = format!("Bearer {token}");
        let headers = [("Authorization", token.as_str())];
        self.site.ask(method, path, &headers, body)
    }

    fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, &self.admin, &body.to_string())
    }

    fn screens(&self) -> Vec<Value> {
        let answer = self.ask("GET", "/api/screens", &self.view, "");
        answer.json()["screens"].as_array().unwrap().clone()
    }

    fn screen(&self, name: &str) -> Option<Value> {
        self.screens().into_iter().find(|it| it["name"] == name)
    }

    /// A screen that takes directions, once the relay knows it.
    fn player(&self, name: &str, conduct: Conduct) -> Player {
        let player = Player::start(&self.env, name, conduct);
        until("the relay knows the screen", SOON, || self.screen(name));
        player
    }

    /// What `fanlight-relay` prints for these words.
    fn command(&self, words: &str, code: i32) -> Vec<String> {
        let asked = self
            .env
            .program("relay")
            .flag("http", self.site.0.to_string())
            .flags("--http-access token")
            .flag("http-admin-token", self.env.path("admin"))
            .flags(words)
            .ends_with(code);
        let lines = asked.log().matching(0, "").into_iter();
        let told = lines.filter(|line| line.from == "out" || code != 0);
        told.map(|line| line.text).collect()
    }
}

pub(super) fn token(env: &TestEnv, name: &str) -> String {
    let path = env.path(name);
    let flags = format!("keygen token {}", path.display());
    env.program("relay").flags(&flags).ends_with(0);
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// How a screen does what it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Conduct {
    /// It does it.
    Obeys,
    /// It says that it does it, and claims a frame that nobody sent.
    Lies,
}

/// A screen of one tile.
struct Player {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Player {
    fn start(env: &TestEnv, name: &str, conduct: Conduct) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, name) = (Arc::clone(&stop), name.to_owned());
        let relay = env.relay_address(0);
        let thread = std::thread::spawn(move || {
            let mut stream = "cam1".to_owned();
            let mut report = ScreenReport {
                screen: 7,
                tiles: 1,
                ..ScreenReport::default()
            };
            while !stopped.load(Ordering::Acquire) {
                let mut client = RawClient::to(relay);
                let session = client.join_as(&stream, &name).session;
                report.epoch = 0;
                stream = play(&mut client, session, &mut report, conduct, &stopped);
                client.say(&ToRelay::Goodbye(session, Goodbye::default()));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|it| it.is_ok()) || std::thread::panicking());
    }
}

/// Stays in one session until another stream is to be shown, and gives that.
fn play(
    client: &mut RawClient,
    session: u64,
    report: &mut ScreenReport,
    conduct: Conduct,
    stop: &AtomicBool,
) -> String {
    const ALIVE: Duration = Duration::from_millis(100);
    let mut consent = 0;
    let mut due = Deadline::after(Duration::ZERO);
    loop {
        if due.is_over() || stop.load(Ordering::Acquire) {
            due = Deadline::after(ALIVE);
            let alive = KeepAlive {
                sent_us: 1,
                consent,
                ..KeepAlive::default()
            };
            client.say(&ToRelay::KeepAlive(session, alive));
            client.say(&ToRelay::ScreenReport(session, report.clone()));
        }
        if stop.load(Ordering::Acquire) {
            return String::new();
        }

        let Some(datagram) = client.receive(due.left().max(Duration::from_millis(1))) else {
            continue;
        };
        match ToViewer::parse(&datagram) {
            Ok(ToViewer::Pulse(_, pulse)) => consent = pulse.consent,
            Ok(ToViewer::Data(header, _)) => {
                if report.epoch != header.id.epoch {
                    due = Deadline::after(Duration::ZERO);
                }
                let lie = u64::from(conduct == Conduct::Lies) << 40;
                (report.epoch, report.number) = (header.id.epoch, header.id.number + lie);
            }
            Ok(ToViewer::Direct(_, direct)) => {
                due = Deadline::after(Duration::ZERO);
                if let Some(notice) = direct.notice {
                    report.notice = notice.id;
                }
                if let Some(direction) = direct.direction {
                    let stream = direction.streams.first().cloned();
                    obey(report, direction);
                    if let Some(stream) = stream {
                        client.say(&ToRelay::ScreenReport(session, report.clone()));
                        return stream;
                    }
                }
            }
            _ => {}
        }
    }
}

fn obey(report: &mut ScreenReport, direction: Direction) {
    report.direction = Some(direction);
    report.in_force = true;
}

#[test]
fn what_a_screen_showed_is_told_with_its_picture_and_to_administrators_alone() {
    let fixture = Fixture::new();
    let _player = fixture.player("lobby", Conduct::Obeys);
    let path = "/api/screens/lobby/history";
    let history = |query: &str| fixture.ask("GET", &format!("{path}{query}"), &fixture.admin, "");
    let shows = |stream: &str| {
        let told = fixture.put(
            "/api/screens/lobby?wait_ms=20000",
            &json!({ "streams": [stream] }),
        );
        assert_eq!(told.status, 200, "{}", told.json());
        until("it is noted, with a picture", SOON, || {
            let now = history("").json();
            let is_there = now["screen"]["showing"][0]["stream"] == stream
                && now["pictures"][0]["stream"] == stream;
            is_there.then(|| now["at_ms"].as_u64().unwrap())
        })
    };
    until(
        "the screen is noted before it is told anything",
        SOON,
        || (history("").status == 200).then_some(()),
    );
    let then = shows("cam2");
    shows("cam1");

    let answer = history(&format!("?at={then}"));
    let known = answer.json();
    assert_eq!(
        (answer.status, &known["at_ms"]),
        (200, &json!(then)),
        "{known}"
    );
    assert_eq!(known["screen"]["showing"][0]["stream"], "cam2", "{known}");
    let changes = known["changes"].as_array().unwrap();
    let first = &changes[0];
    assert_eq!(
        (&first["state"], &first["direction"]["streams"]),
        (&json!("showing"), &json!(["cam2"]))
    );
    assert!(
        changes.iter().any(|it| it["direction"].is_null()),
        "before it was told anything"
    );
    let picture = history(&format!("?at={then}&picture=cam2"));
    assert_eq!(picture.header("content-type"), "image/jpeg");
    assert!(picture.body.starts_with(&[0xff, 0xd8]));

    assert_eq!(history("?at=1").error(), "not_known");
    let refused = fixture.ask("GET", path, &fixture.view, "");
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (403, "admin_needed")
    );
}

#[test]
fn a_screen_is_directed_and_the_answer_comes_with_the_proof() {
    let fixture = Fixture::new();
    let _lobby = fixture.player("lobby left", Conduct::Obeys);
    let path = "/api/screens/lobby%20left";
    let known = fixture.screen("lobby left").unwrap();
    assert_eq!(known["takes_directions"], true);
    assert_eq!(
        (&known["state"], &known["direction"]),
        (&json!("own"), &Value::Null)
    );

    let answer = fixture.put(
        &format!("{path}?wait_ms=20000"),
        &json!({ "streams": ["cam2"] }),
    );
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let screen = answer.json()["screen"].clone();
    assert_eq!(screen["state"], "showing");
    assert_eq!(screen["showing"][0]["stream"], "cam2");
    let version = screen["direction"]["version"].as_u64();
    assert_eq!(version, screen["direction"]["given_ms"].as_u64());
    let by = screen["direction"]["by"].as_str().unwrap();
    assert!(by.starts_with("admin at 127."), "{by}");
    assert!(screen["shown_after_ms"].as_u64() >= screen["acknowledged_after_ms"].as_u64());
    fixture
        .relay
        .wait_for_line("a screen is directed screen=\"lobby left\"");

    let answer = fixture.put(path, &json!({ "card": "closed", "cycle_s": 5 }));
    assert_eq!(answer.status, 202);
    assert!(answer.json()["version"].as_u64() > version, "{version:?}");
    until("the card is there", SOON, || {
        let screen = fixture.screen("lobby left")?;
        (screen["state"] == "showing" && screen["direction"]["card"] == "closed").then_some(())
    });
    let answer = fixture.put(&format!("{path}?wait_ms=20000"), &json!({}));
    assert_eq!(answer.json()["screen"]["state"], "own");
}

#[test]
fn what_cannot_be_directed_is_refused_with_what_there_is() {
    let fixture = Fixture::new();
    let _lobby = fixture.player("lobby", Conduct::Obeys);
    let mut mute = RawClient::to(fixture.env.relay_address(0));
    mute.join_as("cam1", "mute");
    until("the other screen is known", SOON, || fixture.screen("mute"));
    let mute = fixture.screen("mute").unwrap();
    assert_eq!(
        (&mute["takes_directions"], &mute["state"]),
        (&json!(false), &json!("undirected"))
    );

    let refused = |name: &str, body: Value| {
        let answer = fixture.put(&format!("/api/screens/{name}"), &body);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        (answer.status, answer.error(), message)
    };
    let (status, code, message) = refused("nobody", json!({}));
    assert_eq!((status, code.as_str()), (404, "no_such_screen"));
    assert!(message.ends_with("there are lobby, mute"), "{message}");
    let (status, code, _) = refused("mute", json!({}));
    assert_eq!((status, code.as_str()), (409, "undirected"));
    let (status, code, message) = refused("lobby", json!({ "streams": ["cam1", "cam9"] }));
    assert_eq!((status, code.as_str()), (404, "no_such_stream"));
    assert!(
        message.contains("cam9") && message.contains("cam1, cam2"),
        "{message}"
    );

    for (body, field) in [
        (json!({ "stream": "cam1" }), "stream"),
        (json!({ "cycle_s": 0.5 }), "cycle_s"),
        (json!({ "card": "c".repeat(241) }), "card"),
        (json!({ "streams": vec!["cam1"; 17] }), "streams"),
    ] {
        let (status, _, message) = refused("lobby", body);
        assert!(
            status == 400 && message.contains(field),
            "{status} {message}"
        );
    }
    let body = json!({}).to_string();
    let viewer = fixture.ask("PUT", "/api/screens/lobby", &fixture.view, &body);
    assert_eq!(
        (viewer.status, viewer.error().as_str()),
        (403, "admin_needed")
    );
    let popup = r#"{"text":"hello","seconds":1}"#;
    let viewer = fixture.ask("POST", "/api/screens/lobby/popup", &fixture.view, popup);
    assert_eq!(viewer.status, 403);
}

#[test]
fn a_lie_is_no_proof_and_the_command_that_waits_for_one_fails() {
    let fixture = Fixture::new();
    let _liar = fixture.player("liar", Conduct::Lies);
    let told = fixture.command("direct liar --stream cam2 --wait 1s", 1);
    let told = told.join("\n");
    assert!(told.contains("has not reported a frame of cam2"), "{told}");
    let liar = fixture.screen("liar").unwrap();
    assert_ne!(liar["state"], "showing");
    assert_eq!(liar["showing"], json!([]));
    let metrics = fixture.ask("GET", "/metrics", &fixture.view, "").body;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    let count = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!(count("fanlight_relay_unproved_screen_frames_total") > 0.0);
    assert!(count("fanlight_relay_screen_directions_total") >= 1.0);
    assert!(count("fanlight_relay_screens{state=\"showing\"}") < 0.5);
}

#[test]
fn the_command_directs_a_screen_and_lists_all() {
    let fixture = Fixture::new();
    let _lobby = fixture.player("lobby", Conduct::Obeys);
    let told = fixture.command("direct lobby --stream cam2 --wait 20s", 0);
    assert!(told[0].starts_with("lobby does so after "), "{told:?}");
    let listed = fixture.command("screens", 0);
    let row: Vec<_> = listed[1].split_whitespace().take(4).collect();
    assert_eq!(row, ["lobby", "showing", "cam2", "cam2"]);
    fixture.command("direct lobby", 64);
    fixture.command("direct lobby --stream cam1 --release", 64);
    let told = fixture.command("direct nobody --release", 1).join("\n");
    assert!(told.contains("there are lobby"), "{told}");
}

#[test]
fn a_notice_is_obeyed_once_and_the_screen_says_so() {
    let fixture = Fixture::new();
    let _lobby = fixture.player("lobby", Conduct::Obeys);
    for (address, body, is) in [
        (
            "identify",
            json!({ "seconds": 60 }),
            json!([null, null, true]),
        ),
        (
            "popup",
            json!({ "stream": "cam2", "seconds": 60 }),
            json!(["cam2", null, false]),
        ),
        (
            "popup",
            json!({ "text": "hello", "seconds": 60 }),
            json!([null, "hello", false]),
        ),
    ] {
        let path = format!("/api/screens/lobby/{address}");
        let answer = fixture.ask("POST", &path, &fixture.admin, &body.to_string());
        assert_eq!(answer.status, 202);
        until("it is listed", SOON, || {
            let notice = fixture.screen("lobby")?["notice"].clone();
            let shown = json!([notice["stream"], notice["text"], notice["identify"]]);
            (shown == is).then_some(())
        });
    }
    for words in [
        "--identify 5s",
        "--popup-stream cam1",
        "--popup-text hi --seconds 3",
    ] {
        fixture.command(&format!("direct lobby {words}"), 0);
    }
    for (body, word) in [
        (json!({ "seconds": 5 }), "either"),
        (json!({ "text": "x", "seconds": 4000 }), "3600"),
        (json!({ "stream": "cam9", "seconds": 5 }), "cam9"),
    ] {
        let path = "/api/screens/lobby/popup";
        let answer = fixture.ask("POST", path, &fixture.admin, &body.to_string());
        let message = answer.json()["message"].to_string();
        assert!(
            [400, 404].contains(&answer.status) && message.contains(word),
            "{message}"
        );
    }
}

#[test]
fn a_scene_directs_all_its_screens_and_says_how_each_took_it() {
    let fixture = Fixture::new();
    let _lobby = fixture.player("lobby", Conduct::Obeys);
    let scene = json!({ "screens": { "lobby": { "streams": ["cam2"] }, "gone": { "card": "x" } } });
    assert_eq!(
        fixture.put("/api/scenes/morning", &scene).json()["version"],
        1
    );
    assert_eq!(
        fixture
            .put("/api/scenes/night", &json!({ "screens": {} }))
            .status,
        200
    );
    let kept = std::fs::read_to_string(fixture.env.path("scenes.json")).unwrap();
    assert!(kept.contains("morning") && kept.contains("cam2"));
    let listed = fixture.command("scene list", 0);
    assert_eq!(listed, ["morning gone,lobby", "night "].map(str::trim));

    let told = fixture.command("scene apply morning", 1).join("\n");
    assert!(told.contains("gone: the relay knows no screen"), "{told}");
    until("the lobby shows it", SOON, || {
        (fixture.screen("lobby")?["state"] == "showing").then_some(())
    });

    let ask = |method: &str, path: &str, token: &str| fixture.ask(method, path, token, "");
    let apply = ask("POST", "/api/scenes/morning/apply", &fixture.admin);
    let given = &apply.json()["screens"][1]["version"];
    assert!(apply.status == 202 && given.is_u64(), "{given}");
    assert_eq!(
        ask("POST", "/api/scenes/morning/apply", &fixture.view).status,
        403
    );
    assert_eq!(
        ask("DELETE", "/api/scenes/morning", &fixture.view).status,
        403
    );
    assert_eq!(
        ask("DELETE", "/api/scenes/morning", &fixture.admin).status,
        204
    );
    let none = ask("POST", "/api/scenes/morning/apply", &fixture.admin);
    assert_eq!((none.status, none.error().as_str()), (404, "no_such_scene"));

    // As another relay that shares the file does it.
    std::fs::write(fixture.env.path("scenes.json"), &kept).unwrap();
    until("the file is read again", SOON, || {
        let scenes = ask("GET", "/api/scenes", &fixture.view).json();
        (scenes["scenes"].as_array()?.len() == 2).then_some(())
    });
}

#[test]
fn changes_of_screens_come_as_events_until_the_token_is_another_one() {
    let fixture = Fixture::new();
    let token = format!("Bearer {}", fixture.view);
    let headers = [("Authorization", token.as_str())];
    let (answer, rest) = fixture
        .site
        .begin("GET", "/api/events", &headers, "")
        .unwrap();
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let mut lines = BufReader::new(rest.stream().try_clone().unwrap()).lines();
    let mut next = |wanted: &str| {
        let mut lines = lines.by_ref().map_while(Result::ok);
        lines.any(|line| line.contains(wanted))
    };

    let _lobby = fixture.player("lobby", Conduct::Obeys);
    assert!(next("\"state\":\"own\""));
    assert_eq!(
        fixture
            .put("/api/screens/lobby", &json!({ "streams": ["cam2"] }))
            .status,
        202
    );
    assert!(next("\"state\":\"showing\""));
    std::fs::write(fixture.env.path("view"), "x".repeat(44)).unwrap();
    assert!(!next("no line has this"), "the answer ends");
}
