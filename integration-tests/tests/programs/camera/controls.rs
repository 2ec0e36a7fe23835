//! Controls of a camera that runs, set on its host and by an admin of a relay, at the kernel's own driver.

use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::{Answer, Site};
use fanlight_tests::light_viewers::{LightViewers, socket};
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, until};

use super::guest::Guest;
use super::subscriber::Subscriber;

/// Who watches while a control is set.
const VIEWERS: usize = 20;

/// Frames that pass while controls are set.
const FRAMES: u64 = 30;

/// The counts of relay and viewers are not read at the same moment.
const SLACK: u64 = 2;

/// A relay of the camera in the guest, which serves HTTP here.
fn relay(env: &TestEnv, guest: &Guest) -> (Program, Site) {
    let http = format!("{}:0", env.relay_address(0).ip());
    let relay = env.relay(0, &[guest.endpoint()]).flag("http", http);
    let relay = relay.ready();
    relay.wait_for_line("live stream=cam");
    let site = Site::of(&relay);
    until("the relay lists the stream", SOON, || {
        let answer = site.get("/api/streams/cam/controls");
        (answer.status == 200).then_some(())
    });
    (relay, site)
}

fn put(site: Site, body: &str) -> Answer {
    let length = body.len().to_string();
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", length.as_str()),
    ];
    site.ask("PUT", "/api/streams/cam/controls", &headers, body)
}

/// Waits until pictures come that were taken with this brightness.
fn wait_brightness(subscriber: &mut Subscriber, brightness: u64) {
    until("the picture changes", SOON, || {
        let pictures = subscriber.pictures(3);
        (pictures[2].stamp().brightness == brightness).then_some(())
    });
}

/// Pictures of the camera that the relay has had.
fn received(site: Site) -> u64 {
    let metrics = String::from_utf8(site.get("/metrics").body).unwrap();
    let name = "fanlight_relay_received_frames_total{stream=\"cam\"";
    let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Has `meanwhile` done again and again while frames pass: each that the relay has had comes whole to all viewers. Returns how
/// many the camera itself left out, as an emulated one does.
fn watch(viewers: &LightViewers, site: Site, mut meanwhile: impl FnMut()) -> u64 {
    viewers.begin();
    let before = received(site);
    until("frames pass", SOON, || {
        meanwhile();
        let seen = viewers.seen();
        seen.iter().all(|seen| seen.whole >= FRAMES).then_some(())
    });

    let sent = received(site) - before;
    let seen = until("all of them come", SOON, || {
        let seen = viewers.seen();
        let come = seen.iter().all(|seen| seen.whole + SLACK >= sent);
        come.then_some(seen)
    });
    assert!(seen.iter().all(|seen| seen.partial == 0), "{seen:?}");
    let left_out = seen
        .iter()
        .map(|seen| seen.expected.saturating_sub(seen.whole));
    left_out.max().unwrap()
}

#[test]
fn an_admin_of_the_relay_sets_a_control_while_twenty_watch_and_no_frame_is_lost() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --rate 15 --remote-controls");
    let env = TestEnv::new();
    let (_relay, site) = relay(&env, &guest);
    let sockets = (0..VIEWERS).map(|_| socket(None)).collect();
    let slow = Duration::from_secs(3600);
    let viewers = LightViewers::join(sockets, env.relay_address(0), "cam", slow);
    viewers.wait_served(SOON);

    let quiet = watch(&viewers, site, || {});
    let mut value = 0;
    let busy = watch(&viewers, site, || {
        value = value % 200 + 1;
        let set = put(site, &format!(r#"{{"set":{{"brightness":{value}}}}}"#));
        assert_eq!(set.json()["controls"][0]["value"], value);
    });
    eprintln!(
        "of {FRAMES} frames the camera left out {quiet}, and {busy} while {value} controls were set"
    );
    wait_brightness(&mut Subscriber::new(guest.endpoint()), value);

    let refused = put(site, r#"{"set":{"brightness":256}}"#);
    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json()["message"],
        "/dev/video0: brightness takes 0 to 255, not 256"
    );
}

#[test]
fn a_control_that_is_saved_is_set_again_when_the_camera_returns() {
    let Some(mut guest) = Guest::boot() else {
        return;
    };

    guest.plug();
    guest.source("--size 640x360 --remote-controls --controls-file /tmp/cam.controls");
    let mut subscriber = Subscriber::new(guest.endpoint());
    subscriber.pictures(3);
    let saves = "fanlight-source controls --device /dev/video0 --controls-file /tmp/cam.controls";
    guest.run(&format!("{saves} --save contrast=11 zoom=1 || true"));
    guest.run(&format!("{saves} --save contrast=12"));
    let env = TestEnv::new();
    let (_relay, site) = relay(&env, &guest);
    assert_eq!(
        put(site, r#"{"set":{"brightness":42},"save":true}"#).status,
        200
    );
    wait_brightness(&mut subscriber, 42);

    // It returns as another one that has no zoom, which is passed over.
    guest.run("echo 'zoom = 7' >>/tmp/cam.controls");
    guest.webcam("unplug");
    guest.run("while [ -e /dev/video0 ]; do sleep 0.05; done");
    guest.plug();
    until("both are set again", SOON, || {
        let listed = guest.run("fanlight-source controls --device /dev/video0");
        let is_set = listed.contains("brightness=42") && listed.contains("contrast=12");
        is_set.then_some(())
    });
    wait_brightness(&mut subscriber, 42);
}
