//! What one can do on the page: by keys, buttons, addresses, with a token and without scripts.

use fanlight_tests::browser::{Browser, Look, Page};
use fanlight_tests::wait::{SOON, until};

use super::fixture::Fixture;

/// What a browser itself says on the console about an answer of 401.
const REFUSED: &str = "401";

#[test]
fn keys_and_buttons_do_what_the_help_says_and_the_address_follows() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(3, 10);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_live(3);
    page.press("?");
    page.wait(
        "document.getElementById('help').open && document.querySelectorAll('#keys tr').length > 10",
    );
    page.press("Escape");
    page.wait("!document.getElementById('help').open");

    page.press("2");
    assert_eq!(in_view(&page), ["cam2"]);
    page.wait_panes("only the large pane asks for pictures", |panes| {
        panes
            .iter()
            .map(|pane| pane.wanted)
            .eq([Some(0.0), None, Some(0.0)])
    });

    page.press("ArrowRight");
    assert_eq!(in_view(&page), ["cam3"]);
    page.press("Escape");
    assert_eq!(in_view(&page), ["cam1", "cam2", "cam3"]);
    assert_eq!(focused(&page), "cam3");
    page.press("ArrowUp");
    assert_eq!(focused(&page), "cam1");
    page.press("ArrowRight");
    page.press("Enter");
    assert_eq!(in_view(&page), ["cam2"]);
    page.press("0");

    page.press("x");
    assert_eq!(
        (hash(&page), in_view(&page)),
        (
            "#cam1,cam3".to_owned(),
            vec!["cam1".to_owned(), "cam3".to_owned()]
        )
    );

    page.choose("#size", "1");
    assert_eq!(
        (hash(&page), in_view(&page)),
        ("#cam1,cam3&grid=1".to_owned(), vec!["cam1".to_owned()])
    );

    page.press("PageDown");
    assert_eq!(in_view(&page), ["cam3"]);
    page.choose("#size", "auto");
    page.press("a");
    page.click("#add-menu button:has-text('cam2')");
    assert_eq!(hash(&page), "#cam1,cam3,cam2");
    page.choose(".pane select", "cam3");
    assert_eq!(hash(&page), "#cam3,cam3,cam2");
    page.wait_live(3);
    page.go(&fixture.url("#cam2"));
    page.wait_panes("an address that changes is followed", |panes| {
        panes.len() == 1 && panes[0].stream == "cam2"
    });

    page.press("t");
    assert_eq!(
        page.evaluate::<String>("document.documentElement.dataset.theme"),
        "light"
    );

    page.press("i");
    assert!(page.evaluate::<bool>(
        "getComputedStyle(document.querySelector('.pane .figures')).display === 'none'"
    ));
    page.press("c");
    page.wait("document.getElementById('toast').textContent.endsWith('/stream/cam2.mjpeg')");
    page.press("f");
    page.wait("document.fullscreenElement?.classList.contains('pane')");
    page.press("f");
    page.wait("document.fullscreenElement === null");
    page.assert_clean();
}

#[test]
fn a_saved_picture_is_the_one_that_the_camera_made() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(1, 10);
    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait_live(1);
    let saved = page.download("s");
    assert!(
        saved.name.starts_with("cam1-20") && saved.name.ends_with(".jpg"),
        "{}",
        saved.name
    );

    assert!(
        fixture.pictures(1).contains(&saved.bytes),
        "{} bytes are no picture of the source",
        saved.bytes.len()
    );

    page.assert_clean();
}

#[test]
fn the_status_shows_streams_viewers_and_the_relays_health() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(2, 10);
    let viewing = fixture
        .env
        .viewer(fixture.env.relay_address(0), "cam1")
        .start();

    viewing.wait_shown(5);
    let page = browser.open(&fixture.url("#&view=status"), &Look::default());
    page.wait_live(2);
    let part = |name: &str| {
        page.evaluate::<String>(&format!(
            "document.querySelector('[data-part={name}]').innerText"
        ))
    };

    until("all of it is there", SOON, || {
        let health = part("health");
        let streams = part("streams");
        let viewers = part("viewers");
        let good = health == "Healthy"
            && ["cam1", "cam2", "live"]
                .iter()
                .all(|word| streams.contains(word))
            && ["screen", "browser"]
                .iter()
                .all(|word| viewers.contains(word));

        good.then_some(())
    });

    page.wait("[...document.querySelectorAll('.tile .line')].every((line) => line.getAttribute('d').includes('L'))");
    page.press("v");
    page.wait("document.getElementById('status').hidden && location.hash === ''");
    page.assert_clean();
}

#[test]
fn a_relay_that_wants_a_token_is_given_it_once() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("token");
    let fixture = Fixture::with(1, 10, |relay| {
        let made = std::process::Command::new(relay.binary())
            .args(["keygen", "token"])
            .arg(&file)
            .status()
            .unwrap();

        assert!(made.success());
        relay
            .flags("--http-access token")
            .flag("http-view-token", &file)
    });

    let token = std::fs::read_to_string(&file).unwrap();
    let token = token
        .lines()
        .rfind(|line| !line.starts_with('#'))
        .unwrap()
        .trim();

    let page = browser.open(&fixture.url(""), &Look::default());
    page.wait("document.getElementById('login').open");
    page.assert_clean();
    page.fill("#token", "wrong");
    page.press("Enter");
    page.wait("/does not know/.test(document.querySelector('#login [role=alert]').textContent)");
    let errors = page.errors();
    assert!(
        errors.iter().all(|error| error.contains(REFUSED)),
        "{errors:#?}"
    );

    page.fill("#token", token);
    page.press("Enter");
    page.wait_live(1);
    page.go("about:blank");
    page.go(&fixture.url("#cam1"));
    page.wait_live(1);
    page.press("c");
    page.wait("/mjpeg.expires=/.test(document.getElementById('toast').textContent)");
    page.assert_clean();
}

#[test]
fn without_scripts_there_are_links_that_browsers_show_as_they_are() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(2, 10);
    let page = browser.open(
        &fixture.url(""),
        &Look {
            scripts: false,
            ..Look::default()
        },
    );

    until("the relay knows its streams", SOON, || {
        page.go(&fixture.url(""));
        let links: Vec<String> = page.evaluate(
            "[...document.querySelectorAll('.plain a')].map((link) => link.getAttribute('href'))",
        );
        let there = |link: &str| links.iter().any(|known| known == link);
        ["stream/cam1.mjpeg", "snapshot/cam2.jpg", "?action=stream"]
            .into_iter()
            .all(there)
            .then_some(())
    });

    page.assert_clean();
    page.go(&fixture.url("snapshot/cam2.jpg"));
    assert_eq!(
        page.evaluate::<u32>("document.images[0].naturalWidth"),
        1280
    );
}

fn in_view(page: &Page<'_>) -> Vec<String> {
    page.evaluate(
        "[...document.querySelectorAll('.pane:not([hidden])')].map((pane) => pane.dataset.stream)",
    )
}

fn focused(page: &Page<'_>) -> String {
    page.evaluate("document.activeElement.dataset.stream ?? ''")
}

fn hash(page: &Page<'_>) -> String {
    page.evaluate("location.hash")
}
