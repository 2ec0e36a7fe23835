//! `/api/streams/NAME/controls`: what an admin of the relay sets at the source's camera. What a driver does with it is tested in
//! the camera's virtual machine (`camera::controls`).

use fanlight_proto::message::{Control, ControlChoice};
use fanlight_tests::TestEnv;
use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::http::{Answer, Site};
use fanlight_tests::wait::{SOON, until};
use serde_json::json;

use super::access::Locked;

const PATH: &str = "/api/streams/cam/controls";

fn put(site: Site, token: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
        ("Content-Length", &body.len().to_string()),
    ];
    site.ask("PUT", PATH, &headers, body)
}

#[test]
fn an_admin_lists_and_sets_the_controls_of_a_sources_camera() {
    let env = TestEnv::new();
    let source = FakeSource::start("cam", None);
    let exposure = [(1, "Manual Mode"), (3, "Aperture Priority Mode")];
    source.have_controls(vec![
        Control {
            name: "brightness".into(),
            value: Some(128),
            maximum: 255,
            step: 1,
            usual: 128,
            ..Control::default()
        },
        Control {
            name: "auto_exposure".into(),
            maximum: 3,
            inactive: true,
            choices: exposure
                .map(|(value, name)| ControlChoice {
                    value,
                    name: name.into(),
                })
                .into(),
            ..Control::default()
        },
    ]);
    let http = format!("{}:0", env.relay_address(0).ip());
    let relay = env
        .relay(0, &[source.endpoint()])
        .flag("http", http)
        .ready();
    let site = Site::of(&relay);
    relay.wait_for_line("live stream=cam");

    // The list of streams is made anew after the line in the log.
    let listed = until("the relay lists the stream", SOON, || {
        let answer = site.get(PATH);
        assert!(answer.status == 200 || answer.error() == "no_such_stream");
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!(
        listed["controls"][1],
        json!({
            "name": "auto_exposure", "value": null, "minimum": 0, "maximum": 3, "step": 0, "usual": 0, "inactive": true,
            "choices": [{ "value": 1, "name": "Manual Mode" }, { "value": 3, "name": "Aperture Priority Mode" }],
        })
    );

    let set = put(site, "", r#"{"set":{"brightness":99},"save":true}"#);
    assert_eq!(set.json()["controls"][0]["value"], 99);
    let asked = source.asked();
    assert!(
        asked[1].save && asked[1].by.starts_with("admin at 127."),
        "{asked:?}"
    );

    let refused = put(site, "", r#"{"set":{"brightness":256}}"#);
    assert_eq!((refused.status, refused.error().as_str()), (409, "refused"));
    assert_eq!(refused.json()["message"], "brightness takes up to 255");
    assert_eq!(site.get(PATH).json()["controls"][0]["value"], 99);

    let many: Vec<_> = (0..17).map(|n| format!(r#""c{n}":1"#)).collect();
    let many = format!(r#"{{"set":{{{}}}}}"#, many.join(","));
    for wrong in ["{}", r#"{"set":{"brightness":"high"}}"#, many.as_str()] {
        assert_eq!(put(site, "", wrong).status, 400, "{wrong}");
    }
    assert_eq!(
        source.asked().len(),
        4,
        "what makes no sense is asked of no camera"
    );
    let missing = site.get("/api/streams/none/controls");
    assert_eq!(missing.error(), "no_such_stream");
}

#[test]
fn controls_are_for_administrators_and_where_the_source_allows_it() {
    let locked = Locked::new();
    let site = locked.fixture.site;
    let body = r#"{"set":{"brightness":1}}"#;
    assert_eq!(put(site, &locked.view, body).error(), "admin_needed");

    let refused = put(site, &locked.admin, body);
    assert_eq!((refused.status, refused.error().as_str()), (409, "refused"));
    let says = refused.json()["message"].to_string();
    assert!(says.contains("remote_controls is off there"), "{says}");

    locked.fixture.source.kill();
    until("the relay sees that its source is gone", SOON, || {
        (put(site, &locked.admin, body).error() == "source_gone").then_some(())
    });
}
