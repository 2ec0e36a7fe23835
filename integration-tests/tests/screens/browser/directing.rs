//! The page's view of the screens: an admin directs them by mouse, keyboard and touch, and others only look.

use fanlight_tests::browser::{Browser, Look, Page};
use fanlight_tests::viewer_process::ViewerProcess;

use super::fixture::{CAMERA, Fixture};

/// A screen that takes directions and shows the first camera by its own settings.
fn screen(fixture: &Fixture, name: &str) -> ViewerProcess {
    let relay = fixture.env.relay_address(0);
    let screen = fixture.env.viewer(relay, "cam1").flag("name", name);
    let screen = screen.flag("state-dir", fixture.env.path("state"));
    screen.flags("--directed").start()
}

/// Waits until the tile of the screen `name` has this state and says what is shown.
fn wait_tile(page: &Page<'_>, name: &str, state: &str, shown: &str) {
    page.wait(&format!(
        "(() => {{
           const tile = document.querySelector('.screen[data-screen={name}]');
           return tile?.dataset.state === '{state}' && tile.querySelector('.what').textContent.startsWith('{shown}');
         }})()"
    ));
}

#[test]
fn a_camera_is_put_on_a_screen_by_dragging_by_choosing_and_from_the_list() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let fixture = Fixture::open(3, 10);
    let lobby = screen(&fixture, "lobby");
    lobby.wait_shown(3);
    let page = browser.open(&fixture.url("#&view=screens"), &Look::default());
    wait_tile(&page, "lobby", "own", "cam1");
    page.wait("document.querySelector('.monitor img')?.naturalWidth > 0");

    page.drag(".camera[data-stream=cam2]", ".screen[data-screen=lobby]");
    wait_tile(&page, "lobby", "showing", "cam2");
    page.wait("/^lobby shows cam2, after [0-9.]+ m?s$/.test(document.getElementById('toast').textContent)");

    // As by keyboard and touch: first the camera, then the screen.
    page.click(".camera[data-stream=cam3]");
    page.click(".screen[data-screen=lobby] .primary");
    wait_tile(&page, "lobby", "showing", "cam3");

    page.choose(".screen[data-screen=lobby] select", "cam1");
    wait_tile(&page, "lobby", "showing", "cam1");
    page.choose(".screen[data-screen=lobby] select", "");
    page.wait("/own settings say/.test(document.getElementById('toast').textContent)");
    page.press("d");
    page.wait("document.getElementById('screens').hidden && location.hash === ''");
    page.assert_clean();

    let (_, shown) = lobby.finish();
    let mut cameras: Vec<u64> = shown
        .iter()
        .filter_map(|it| it.code)
        .map(|code| code / CAMERA)
        .collect();
    cameras.dedup();
    assert_eq!(cameras, [1, 2, 3, 1], "and no other picture between");
}

#[test]
fn who_may_only_watch_sees_the_screens_and_cannot_touch_them() {
    let Some(browser) = Browser::start(&[]) else {
        return;
    };

    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("token");
    let fixture = Fixture::with(2, 10, |relay| {
        let mut keygen = std::process::Command::new(relay.binary());
        let made = keygen.args(["keygen", "token"]).arg(&file).status();
        assert!(made.unwrap().success());
        let relay = relay.flags("--http-access token");
        relay.flag("http-view-token", &file)
    });

    let lobby = screen(&fixture, "lobby");
    lobby.wait_shown(3);
    let token = std::fs::read_to_string(&file).unwrap();
    let token = token.lines().rfind(|line| !line.starts_with('#')).unwrap();
    let phone = Look {
        size: (390, 844),
        phone: true,
        ..Look::default()
    };

    let page = browser.open(&fixture.url("#&view=screens"), &phone);
    page.wait("document.getElementById('login').open");
    page.fill("#token", token.trim());
    page.press("Enter");
    wait_tile(&page, "lobby", "own", "cam1");
    page.wait(
        "/Only an admin/.test(document.querySelector('#screens [data-part=word]').textContent)",
    );
    let touchable = "[...document.querySelectorAll('#screens button, #screens select')]
                       .filter((it) => it.checkVisibility() && !it.disabled).length";
    assert_eq!(page.evaluate::<u64>(touchable), 0);
    assert!(page.evaluate::<bool>(
        "document.documentElement.scrollWidth <= innerWidth && document.getElementById('screens').scrollWidth <= innerWidth"
    ));
}
