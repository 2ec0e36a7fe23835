//! Panes that show a stream as video, by WebRTC.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::browser::{Browser, Look, Page, Pane};
use fanlight_tests::http::Site;
use fanlight_tests::lab::Lab;
use fanlight_tests::promise::judge;
use fanlight_tests::wait::{SOON, pause, until};
use serde_json::Value;

use super::appearance::folder;
use super::fixture::{Fixture, WEBRTC_PORT};

/// What opens the page with its camera as video.
const AS_VIDEO: &str = "#pattern&video=pattern";

/// As that, with pictures of which each has 107 kB: an encoder then uses all bits that it may.
const NOISY_AS_VIDEO: &str = "#cam1&video=cam1";

/// How much older the picture in a pane may be than the pane says: an interval of 30 a second, and the rounding of clocks.
const AGE_ERROR_MS: f64 = 40.0;

/// How much younger: the page is told of a picture after it is there.
const LATE_WORD_MS: f64 = 1000.0;

/// Longest from asking for video until its first picture is shown, and oldest that 95 of 100 pictures may then be.
const FIRST_PICTURE: Duration = Duration::from_millis(300);
const AGE: Duration = Duration::from_millis(80);

/// The same where five packets of a hundred are lost: each is sent again once or twice.
const LOSSY_AGE: Duration = Duration::from_millis(150);

/// Packets of a hundred that a network loses, and pictures of each 30 that are shown all the same.
const LOSSES: [(f64, f64); 2] = [(1.0, 29.0), (5.0, 26.0)];

/// How long is measured, and how long a change may take to show before that.
const MEASURE: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(3);

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
    // Where the machine or the network is slow it is half of the picture.
    let sizes = [Some((1280, 720)), Some((640, 360))];
    assert!(sizes.contains(&pane.width.zip(pane.height)), "{pane:?}");
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
fn a_card_that_moves_does_not_pass_for_live_and_video_goes_on_with_its_source() {
    let Some(lab) = Lab::open() else { return };
    let [relay, screen] = ["relay", "screen"].map(|name| lab.host(name));
    let Some(browser) = Browser::start(&screen.enter()) else {
        return;
    };

    let fixture = Fixture::pattern_at(&relay);
    let page = browser.open(&fixture.url(AS_VIDEO), &Look::default());
    wait_by(&page, "video");
    let shown = |page: &Page<'_>| page.panes(1.0)[0].drawn;

    fixture.sources[0].kill();
    page.wait_panes("the pane says that the source is gone", |panes| {
        panes[0].state == "trouble" && panes[0].by.as_deref() == Some("video")
    });
    let before = shown(&page);
    until("the card of the relay is shown twice", SOON, || {
        let pane = page.panes(1.0).remove(0);
        assert_eq!(pane.state, "trouble", "{pane:?}");
        (pane.drawn >= before + 2).then_some(())
    });

    fixture.sources[0].start_again();
    wait_by(&page, "video");
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
fn a_pane_shows_video_by_tcp_where_udp_does_not_get_through() {
    let Some(lab) = Lab::open() else { return };
    let [relay, screen] = ["relay", "screen"].map(|name| lab.host(name));
    let Some(browser) = Browser::start(&screen.enter()) else {
        return;
    };

    let fixture = Fixture::pattern_by_tcp_at(&relay);
    lab.rule(&format!("udp dport {WEBRTC_PORT} drop"));
    let page = browser.open(&fixture.url(AS_VIDEO), &Look::default());
    wait_by(&page, "video");
    assert_age_is_true(&page);
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

/// Turns the pane to pictures and to video again; how long the first picture of that took.
fn first_picture(page: &Page<'_>) -> Duration {
    page.press("w");
    wait_by(page, "pictures");
    page.press("w");
    wait_by(page, "video");
    let [pane] = page.panes(1.0).try_into().unwrap();
    Duration::from_secs_f64(pane.first_ms.unwrap() / 1e3)
}

/// What a pane with video shows while its network loses `percent`.
fn measured(page: &Page<'_>, percent: f64) -> Pane {
    pause(SETTLE + MEASURE);
    let [pane] = page.panes(MEASURE.as_secs_f64()).try_into().unwrap();
    let Pane {
        fps, age_ms, width, ..
    } = &pane;
    let [p50, p95] = [age_ms.p50, age_ms.p95].map(|age| age.unwrap_or(f64::INFINITY));
    let width = width.unwrap_or_default();
    eprintln!(
        "measured: {percent} % lost: {fps:.1} fps, age p50 {p50:.1} ms, p95 {p95:.1} ms, {width} wide"
    );
    pane
}

#[test]
#[ignore = "./dev promises"]
fn video_begins_at_once_and_is_fluent_over_networks_that_lose() {
    let Some(lab) = Lab::open() else { return };
    let [relay, screen] = ["relay", "screen"].map(|name| lab.host(name));
    let Some(browser) = Browser::start(&screen.enter()) else {
        return;
    };

    let fixture = Fixture::at(&relay, 30);
    let page = browser.open(&fixture.url(NOISY_AS_VIDEO), &Look::default());
    wait_by(&page, "video");
    judge("video by WebRTC in Chromium", |measurement| {
        let firsts = [(); 3].map(|()| first_picture(&page));
        measurement.all_at_most("the first picture", FIRST_PICTURE, firsts);
        let clean = measured(&page, 0.0).fps;
        for (percent, least) in LOSSES {
            lab.forget_rules();
            screen.lose_any(percent);
            let Pane { fps, age_ms, .. } = measured(&page, percent);
            // A machine that does not show 30 without loss does not with it.
            let least = least.min(least * clean / 30.0);
            measurement.compare(
                format!("pictures a second, {percent} % lost"),
                format!(">= {least:.1}"),
                format!("{fps:.1}"),
                format!("{clean:.1}"),
                fps >= least,
            );
            let age = Duration::from_secs_f64(age_ms.p95.unwrap_or(1e6) / 1e3);
            let what = format!("95th percentile of age when shown, {percent} % lost");
            measurement.at_most(what, if percent > 1.0 { LOSSY_AGE } else { AGE }, age);
        }
        lab.forget_rules();
    });
    page.assert_clean();
}
