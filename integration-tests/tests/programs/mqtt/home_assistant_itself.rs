//! Home Assistant itself, from PyPI, at a relay that asks for tokens: what it finds by MQTT, and the pictures of its integration
//! `mjpeg`. It takes minutes to install, so this is run with the promises.

use std::fs;

use fanlight_tests::http::Site;
use fanlight_tests::{TestEnv, python};
use serde_json::Value;

use super::{Broker, relay, source};

/// Asks as an administrator; what comes is JSON or nothing.
fn ask(site: Site, token: &str, method: &str, path: &str, body: &str) -> Value {
    let (bearer, length) = (format!("Bearer {token}"), body.len().to_string());
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Content-Length", length.as_str()),
    ];
    let answer = site.ask(method, path, &headers, body);
    assert!(answer.status < 300, "{path}: {}", answer.status);
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

#[test]
#[ignore = "./dev promises"]
fn home_assistant_has_state_availability_and_pictures_until_a_link_is_revoked() {
    let Some(python) = python::home_assistant() else {
        return;
    };
    let env = TestEnv::new();
    let Some(broker) = Broker::start(&env, "allow_anonymous true") else {
        return;
    };

    let token = |name: &str| {
        let file = env.path(name);
        let words = format!("keygen token {}", file.display());
        env.program("relay").flags(&words).ends_with(0);
        let token = fs::read_to_string(&file).unwrap();
        (file.display().to_string(), token.trim().to_owned())
    };
    let ((view_file, view), (admin_file, admin)) = (token("view"), token("admin"));
    let flags = format!(
        "--mqtt-picture-s 1 --http-access token --http-view-token {view_file} --http-admin-token {admin_file} --http-links {}",
        env.path("links").display()
    );
    let source = source(&env);
    let relay = relay(&env, &broker.url(), &flags);
    let site = Site::of(&relay);
    relay.wait_for_line("live stream=cam");
    let link = r#"{"name":"tablet","stream":"cam"}"#;
    let link = ask(site, &admin, "POST", "/api/links", link);
    let by_link = [&link["snapshot"], &link["mjpeg"]].map(|path| site.url(path.as_str().unwrap()));
    let by_token = ["/snapshot/cam.jpg", "/stream/cam.mjpeg"].map(|path| site.url(path));

    let words = format!(
        "{} {} {} bytoken={},{view} bylink={},",
        python::script("home_assistant.py").display(),
        broker.address.ip(),
        broker.address.port(),
        by_token.join(","),
        by_link.join(","),
    );
    let home = env.launch("home-assistant", python).flags(&words).start();
    for says in [
        "sensor.cam_state is live",
        "binary_sensor.cam_problem is off",
        "binary_sensor.cam_connected is on",
        "sensor.fanlight_box_streams is 1",
        "camera.cam shows a picture",
        "camera.bytoken shows a picture",
        "camera.bylink shows a picture",
    ] {
        home.wait_for_line(says);
    }

    let mark = home.log().mark();
    let wait = |mark, says: &str| home.wait_for_line_from(mark, says, fanlight_tests::wait::SOON);
    ask(site, &admin, "DELETE", "/api/links/tablet", "");
    wait(mark, "camera.bylink shows no picture");
    wait(home.log().mark(), "camera.bytoken shows a picture");

    let mark = home.log().mark();
    source.kill();
    wait(mark, "sensor.cam_state is gone");
    wait(mark, "binary_sensor.cam_problem is on");
    source.start_again();
    wait(mark, "binary_sensor.cam_problem is off");

    let mark = home.log().mark();
    broker.program.kill();
    wait(mark, "sensor.cam_state is unavailable");
    broker.program.start_again();
    wait(mark, "sensor.cam_state is live");

    let mark = home.log().mark();
    relay.kill();
    wait(mark, "sensor.cam_state is unavailable");
    wait(mark, "binary_sensor.cam_connected is unavailable");
}
