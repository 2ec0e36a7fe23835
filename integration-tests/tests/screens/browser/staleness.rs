//! A picture that is not live never passes for live.

use std::path::Path;
use std::time::Duration;

use fanlight_tests::browser::{Browser, Look, Page};
use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::wait::{SOON, pause, until};
use fanlight_tests::{TestEnv, jpeg};

use super::fixture::{Fixture, source};

/// What a browser itself says on the console while nobody answers.
const UNREACHABLE: [&str; 3] = [
    "WebSocket connection to",
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
];

#[test]
fn a_camera_that_stops_is_dimmed_and_labelled_and_comes_back_by_itself() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(2, 10);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_live(2);
    until("it is shown plainly", SOON, || {
        (opacity(&page, 0) > 0.95 && !veiled(&page, 0)).then_some(())
    });

    fixture.sources[0].freeze();
    until("the pane says so", SOON, || {
        (page.panes(1.0)[0].state != "live").then_some(())
    });

    until("the picture is dimmed", SOON, || {
        (opacity(&page, 0) < 0.5 && veiled(&page, 0)).then_some(())
    });

    let [stopped, other] = page.panes(1.0).try_into().unwrap();
    assert!(
        ["stale", "trouble"].contains(&stopped.state.as_str()) && !stopped.reason.is_empty(),
        "{stopped:?}"
    );

    assert_eq!(other.state, "live");
    fixture.sources[0].thaw();
    page.wait_live(2);
    page.assert_clean();
}

#[test]
fn the_reason_of_a_source_without_pictures_is_shown() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let env = TestEnv::new();
    let ended = source(&env, 1, 10).flags("--repeat false").ready();
    let fixture = Fixture::serve(env, vec![ended], &["cam1".to_owned()], |relay| relay);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_panes("the pane says why", |panes| {
        panes.iter().any(|pane| pane.state == "trouble")
    });

    // It comes into view a moment after that, and what is not in view has no text.
    let reason = || {
        let shown: String = page.evaluate("document.querySelector('.pane .veil').innerText");
        (shown.contains("No signal") && shown.contains("end")).then_some(())
    };

    until(
        "the veil says no signal, and that the file has come to its end",
        SOON,
        reason,
    );

    page.assert_clean();
}

#[test]
fn pictures_that_cannot_be_decoded_leave_a_blind_pane_and_the_relay_knows() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    // Our own source would refuse it.
    let picture = jpeg::without_quantization(&jpeg::numbered(1, 320, 240));
    let source = FakeSource::with_picture("cam1", None, picture);
    let endpoints = [source.endpoint()];
    let fixture = Fixture::serve_from(TestEnv::new(), Vec::new(), &endpoints, |relay| relay);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_panes("the pane is blind", |panes| {
        panes.iter().any(|pane| pane.state == "blind")
    });

    let [pane] = page.panes(1.0).try_into().unwrap();
    assert!(
        pane.reason.contains("come but cannot be decoded") && pane.broken > 0 && pane.drawn == 0,
        "{pane:?}"
    );

    let blind = "fetch('api/viewers').then((answer) => answer.json()).then(({ viewers }) =>
        viewers.some((row) => row.kind === 'ws' && row.health === 'blind' && row.shown === 0 &&
            row.last_shown_ms === null && row.not_shown === 'pictures come but cannot be decoded'))";
    until("the relay says the same", SOON, || {
        page.evaluate::<bool>(blind).then_some(())
    });

    page.press("v");
    page.wait("/blind: pictures come/.test(document.getElementById('status').innerText)");
    page.assert_clean();
}

#[test]
fn sources_that_are_missing_stand_in_the_page() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let env = TestEnv::new();
    let fixture = Fixture::serve(env, Vec::new(), &["away".to_owned()], |relay| relay);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait("/source 1 .*no such socket/.test(document.getElementById('empty').innerText)");
    page.press("v");
    page.wait("/source 1 .*no such socket/.test(document.getElementById('status').innerText)");
}

#[test]
fn the_page_names_the_streams_that_there_are_and_the_source_that_is_not_taken() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    // The second one that says it is cam1 is refused.
    let env = TestEnv::new();
    let [taken, refused] = [(); 2].map(|()| FakeSource::start("cam1", None));
    let endpoints = [taken.endpoint(), refused.endpoint()];
    let fixture = Fixture::serve_from(env, Vec::new(), &endpoints, |relay| relay);
    let page = browser.open(&fixture.url("#cam1,lobby"), &Look::default());
    page.wait_panes("a stream that is not there", |panes| {
        panes.get(1).is_some_and(|pane| {
            pane.state == "missing" && pane.reason.contains("no stream lobby; it has cam1")
        })
    });

    page.wait("/stream cam1 is not taken: source .* has a stream of that name/.test(document.getElementById('show-status').title)");
    page.press("v");
    page.wait("/stream cam1 is not taken/.test(document.getElementById('status').innerText)");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    page.screenshot(&folder.join("page-refused-source.png"));
    page.assert_clean();
}

#[test]
fn a_relay_that_dies_is_said_and_the_page_finds_it_again() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(1, 10);
    let page = browser.open(&fixture.url("#cam1,nosuch"), &Look::default());
    let state = |at: usize, state: &'static str| {
        page.wait_panes(state, move |panes| {
            panes.get(at).is_some_and(|pane| pane.state == state)
        });
    };

    state(0, "live");
    state(1, "missing");
    page.assert_clean();
    fixture.relay.kill();
    state(0, "offline");
    page.wait(
        "!document.getElementById('banner').hidden && /Next try/.test(document.getElementById('banner').innerText)",
    );
    assert!(veiled(&page, 0));
    // Some tries fail before it is there again.
    pause(Duration::from_secs(2));
    fixture.relay.start_again();
    fixture.relay.wait_ready();
    state(0, "live");
    page.wait("document.getElementById('banner').hidden");
    assert_eq!(
        page.evaluate::<u32>("window.fanlight.figures().link.losses"),
        1
    );

    let unexpected = page
        .errors()
        .into_iter()
        .filter(|error| !UNREACHABLE.iter().any(|known| error.contains(known)));

    assert_eq!(unexpected.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_page_whose_part_did_not_come_loads_itself_again() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(1, 10);
    for part in ["report.js", "main.js"] {
        let look = Look {
            first_lost: Some(part),
            ..Look::default()
        };

        let page = browser.open(&fixture.url(""), &look);
        page.wait_live(1);
        assert!(!page.errors().is_empty(), "{part} was not lost");
    }
}

#[test]
fn a_hidden_page_asks_for_no_pictures_and_goes_on_when_it_is_seen() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(1, 30);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_live(1);
    page.hide(true);
    page.wait_panes("it pauses", |panes| {
        panes[0].state == "paused" && panes[0].wanted == Some(0.0)
    });

    // What was on its way has come by now.
    pause(Duration::from_millis(500));
    let before = page.panes(1.0)[0].frames;
    pause(Duration::from_secs(1));
    assert_eq!(page.panes(1.0)[0].frames, before);
    page.hide(false);
    page.wait_live(1);
    assert!(page.panes(1.0)[0].frames > before);
    page.assert_clean();
}

fn opacity(page: &Page<'_>, pane: usize) -> f64 {
    page.evaluate(&format!(
        "Number(getComputedStyle(document.querySelectorAll('.pane canvas')[{pane}]).opacity)"
    ))
}

fn veiled(page: &Page<'_>, pane: usize) -> bool {
    page.evaluate(&format!(
        "getComputedStyle(document.querySelectorAll('.pane .veil')[{pane}]).display !== 'none'"
    ))
}
