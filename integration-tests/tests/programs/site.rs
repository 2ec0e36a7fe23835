//! Two relays of one site: an administrator sees and directs by one of them what only the other reaches.

use std::net::SocketAddr;

use fanlight_tests::TestEnv;
use fanlight_tests::http::{Answer, Site};
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::wait::{SOON, until};
use serde_json::{Value, json};

use super::directions::token;

/// The left relay has one camera and no screen, the right one both cameras and the screen `lobby`.
struct Fixture {
    env: TestEnv,
    admin: String,
    view: String,
}

impl Fixture {
    fn relay(&self, number: u16, cameras: &[&str]) -> Program {
        let endpoints: Vec<_> = cameras.iter().map(|name| self.env.ipc(name)).collect();
        let relay = self.env.relay(number, &endpoints);
        // Each asks the other, and nobody asks in a circle.
        let other = format!("http://{}", self.env.http_address(1 - number));
        let relay = self.asked(relay, number).flag("http-peers", other);
        let relay = relay.flag("http-peer-token", self.env.path("admin"));
        let relay = relay.flag("http-view-token", self.env.path("view"));
        relay
            .flag("http-scenes", self.env.path("scenes.json"))
            .ready()
    }

    /// With the settings by which an administrator asks a relay.
    fn asked(&self, launch: Launch, number: u16) -> Launch {
        launch
            .flag("http", self.env.http_address(number).to_string())
            .flags("--http-access token")
            .flag("http-admin-token", self.env.path("admin"))
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let token = format!("Bearer {token}");
        let headers = [("Authorization", token.as_str())];
        let left: SocketAddr = self.env.http_address(0);
        Site(left).ask(method, path, &headers, &body.to_string())
    }

    fn site(&self) -> Value {
        self.ask("GET", "/api/site", &self.view, &Value::Null)
            .json()
    }

    /// What the left relay tells of the screen.
    fn lobby(&self) -> Option<Value> {
        let site = self.site();
        let screens = site["screens"].as_array()?;
        screens.iter().find(|row| row["name"] == "lobby").cloned()
    }
}

#[test]
fn by_one_relay_one_sees_and_directs_the_screens_of_all_and_reads_who_does_not_answer() {
    let env = TestEnv::new();
    let source = |name: &str| {
        let source = env.source(name);
        source
            .flags("--input pattern --size 320x240 --rate 30")
            .ready()
    };
    let _sources = ["cam1", "cam2"].map(source);
    let [view, admin] = ["view", "admin"].map(|name| token(&env, name));
    let fixture = Fixture { env, admin, view };
    let _left = fixture.relay(0, &["cam1"]);
    let right = fixture.relay(1, &["cam1", "cam2"]);
    let env = &fixture.env;
    let screen = env
        .viewer(env.relay_address(1), "cam1")
        .flag("name", "lobby");
    let screen = screen
        .flag("state-dir", env.path("state"))
        .flags("--directed");
    let _screen = screen.start();

    let path = "/api/screens/lobby";
    until(
        "the left relay knows the screen of the right one",
        SOON,
        || fixture.lobby().filter(|row| row["state"] == "own"),
    );
    let wanted = json!({ "streams": ["cam2"] });
    let refused = fixture.ask("PUT", path, &fixture.view, &wanted);
    assert_eq!(
        (refused.status, refused.error().as_str()),
        (403, "admin_needed")
    );
    let told = fixture.ask(
        "PUT",
        &format!("{path}?wait_ms=20000"),
        &fixture.admin,
        &wanted,
    );
    assert_eq!(told.status, 200, "{}", told.json());
    let row = &told.json()["screen"];
    assert_eq!(
        (&row["state"], &row["showing"][0]["stream"]),
        (&json!("showing"), &json!("cam2"))
    );
    assert_eq!(row["direction"]["by"], "admin at 127.0.0.1");

    let site = until("the right relay tells all of it", SOON, || {
        let site = fixture.site();
        (site["screens"][0]["state"] == "showing").then_some(site)
    });
    let relays = site["relays"].as_array().unwrap();
    let [left, right_name] = [0, 1].map(|at: usize| relays[at]["name"].clone());
    assert!(
        relays.len() == 2 && relays.iter().all(|relay| relay["reachable"] == true),
        "{site}"
    );
    assert_eq!(site["cameras"][0]["relays"], json!([left, right_name]));
    assert_eq!(site["cameras"][1]["relays"], json!([right_name]));
    assert_eq!(site["screens"][0]["relays"], json!([right_name]));
    let status = fixture
        .asked(env.program("relay"), 0)
        .flags("status")
        .ends_with(0);
    let is_row = |line: &str| {
        ["lobby", "showing", "cam2"]
            .iter()
            .all(|word| line.contains(word))
    };
    assert!(
        status
            .log()
            .matching(0, "")
            .iter()
            .any(|line| is_row(&line.text))
    );

    let scene = json!({ "screens": { "lobby": { "card": "Closed" }, "attic": {} } });
    assert_eq!(
        fixture
            .ask("PUT", "/api/scenes/night", &fixture.admin, &scene)
            .status,
        200
    );
    let applied = fixture.ask(
        "POST",
        "/api/scenes/night/apply",
        &fixture.admin,
        &Value::Null,
    );
    let rows = applied.json()["screens"].clone();
    assert_eq!(rows[0]["error"], "no_such_screen", "attic: {rows}");
    assert!(rows[1]["version"].is_u64(), "lobby: {rows}");
    until("the screen shows the card", SOON, || {
        let row = fixture.lobby()?;
        (row["direction"]["card"] == "Closed" && row["state"] == "showing").then_some(())
    });

    right.kill();
    let site = until("the right relay is missed", SOON, || {
        let site = fixture.site();
        (site["relays"][1]["reachable"] == false).then_some(site)
    });
    assert_eq!(
        (
            site["screens"].as_array().unwrap().len(),
            &site["cameras"][1]
        ),
        (0, &Value::Null)
    );
    let gone = fixture.ask("PUT", path, &fixture.admin, &json!({}));
    assert_eq!(
        (gone.status, gone.error().as_str()),
        (404, "no_such_screen")
    );
}
