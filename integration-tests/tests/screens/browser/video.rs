//! Panes that show a stream as video, by WebRTC.

use fanlight_daemon::clock;
use fanlight_tests::browser::{Browser, Look, Page};
use fanlight_tests::http::Site;
use fanlight_tests::lab::Lab;
use fanlight_tests::wait::{SOON, until};
use serde_json::Value;

use super::appearance::folder;
use super::fixture::{Fixture, WEBRTC_PORT};

/// What opens the page with its camera as video.
const AS_VIDEO: &str = "#pattern&video=pattern";

/// How much older the picture in a pane may be than the pane says: an interval of 30 a second, and the rounding of clocks.
const AGE_ERROR_MS: f64 = 40.0;

/// How much younger: the page is told of a picture after it is there.
const LATE_WORD_MS: f64 = 1000.0;

/// Waits until all panes are live, with pictures that came this way.
#[track_caller]
fn wait_by(page: &Page<'_>, way: &str) {
    page.wait_panes(way, |panes| {
        let shows = |by: &Option<String>| by.as_deref() == Some(way);
        panes
            .iter()
            .all(|pane| pane.state == "live" && shows(&pane.by) && pane.age_ms.p50.is_some())
    });
}

/// How the clients of the relay watch.
fn kinds(site: &Site) -> Vec<Value> {
    let listed = site.get("/api/viewers").json();
    let rows = listed["viewers"].as_array().unwrap().iter();
    rows.map(|row| row["kind"].clone()).collect()
}

#[track_caller]
fn wait_kinds(site: &Site, wanted: &[&str]) {
    until(&format!("clients are {wanted:?}"), SOON, || {
        (kinds(site) == wanted).then_some(())
    });
}

/// Asserts that the age that the pane says is that of the picture in it, by the time painted into that.
#[track_caller]
fn assert_age_is_true(page: &Page<'_>) {
    let milliseconds = || clock::now().as_micros() as f64 / 1e3;
    let (asked, seen) = until("the code in the picture is read", SOON, || {
        let asked = milliseconds();
        let seen = page.seen().into_iter().find(|seen| seen.code.is_some());
        seen.map(|seen| (asked, seen))
    });
    let answered = milliseconds();

    let pane = &seen.pane;
    assert_eq!((pane.width, pane.height), (Some(1280), Some(720)));
    let captured = seen.code.unwrap().captured_ns as f64 / 1e6;
    let age = pane.picture_age_ms.unwrap();
    let (earliest, latest) = (asked - age - AGE_ERROR_MS, answered - age + LATE_WORD_MS);
    assert!(
        (earliest..=latest).contains(&captured),
        "captured at {captured}, and by its age between {earliest} and {latest}: {pane:?}"
    );
}

#[test]
fn a_pane_shows_video_and_its_true_age_when_asked_and_pictures_again() {
    let Some(lab) = Lab::open() else { return };
    let [relay, screen] = ["relay", "screen"].map(|name| lab.host(name));
    let Some(browser) = Browser::start(&screen.enter()) else {
        return;
    };

    let fixture = Fixture::pattern_at(&relay);
    let site = Site::of(&fixture.relay);
    let kinds_are = |wanted: &[&str]| relay.within(|| wait_kinds(&site, wanted));
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_live(1);
    wait_by(&page, "pictures");
    kinds_are(&["ws"]);

    page.press("w");
    wait_by(&page, "video");
    kinds_are(&["webrtc"]);
    assert_eq!(page.evaluate::<String>("location.hash"), "#&video=pattern");
    assert_age_is_true(&page);
    page.screenshot(&folder().join("page-video.png"));

    page.wait("document.querySelector('.pane [aria-pressed=true]').click() ?? true");
    wait_by(&page, "pictures");
    kinds_are(&["ws"]);
    page.assert_clean();
}

#[test]
fn a_pane_goes_back_to_pictures_by_itself_where_video_does_not_get_through() {
    let Some(lab) = Lab::open() else { return };
    let [relay, screen] = ["relay", "screen"].map(|name| lab.host(name));
    let Some(browser) = Browser::start(&screen.enter()) else {
        return;
    };

    let fixture = Fixture::pattern_at(&relay);
    lab.rule(&format!("udp dport {WEBRTC_PORT} drop"));
    let page = browser.open(&fixture.url(AS_VIDEO), &Look::default());
    wait_by(&page, "pictures");
    page.wait("document.getElementById('toast').textContent.startsWith('No video of pattern')");
    page.assert_clean();
}

#[test]
fn a_relay_without_webrtc_shows_pictures_and_offers_no_video() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::pattern();
    let page = browser.open(&fixture.url(AS_VIDEO), &Look::default());
    wait_by(&page, "pictures");
    page.wait("document.querySelector('.pane [aria-pressed]').hidden");
    page.assert_clean();
}
