//! A screen without a desktop: the viewer alone on a Wayland compositor without an output, `cage`, as the unit
//! `fanlight-screen@` starts it.

use std::path::Path;
use std::process::{Child, Stdio};

use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};
use tempfile::TempDir;

use super::grid::{BLUE, CARD, is_near, source};
use super::window::display;
use super::window::sway::{HEADLESS, grim, session_folder, user};

/// The compositor with a viewer; it is killed with it.
struct Kiosk {
    cage: Child,
    folder: TempDir,
}

impl Kiosk {
    /// None, and said so, where something is missing.
    fn start(viewer: &Path, flags: &[&str]) -> Option<Self> {
        for program in ["cage", "grim", "setpriv", "Xwayland"] {
            display::installed(program)?;
        }

        let folder = session_folder();
        let can_run = user(folder.path(), "test").arg("-x").arg(viewer).status();
        if !can_run.unwrap().success() {
            skip("another user than root may not run the viewer where it is");
            return None;
        }

        let cage = user(folder.path(), "cage")
            .args(["-d", "--"])
            .arg(viewer)
            .args(flags)
            .envs(HEADLESS)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { cage, folder })
    }

    /// Whether the whole screen has this colour.
    fn is_full_of(&self, colour: u32) -> bool {
        let socket = self.folder.path().join("wayland-0");
        let shot = grim(socket.to_str().unwrap(), &[]);
        let (right, below) = (shot.width - 1, shot.height - 1);
        let corners = [(0, 0), (right, 0), (0, below), (right, below)];
        corners.into_iter().all(|at| is_near(&shot, at, colour))
    }
}

impl Drop for Kiosk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.cage.kill();
        let _ = self.cage.wait();
    }
}

#[test]
fn without_a_desktop_a_picture_fills_the_screen_and_a_card_takes_its_place() {
    let env = TestEnv::new();
    let blue = source(&env, "blue", BLUE, (640, 360));
    let _relay = env.relay(0, &[env.ipc("blue")]).ready();
    let relay = env.relay_address(0).to_string();
    let flags = ["--relay", &relay, "--stream", "blue", "--fullscreen"];
    let Some(kiosk) = Kiosk::start(env.program("viewer").binary(), &flags) else {
        return;
    };

    let shows = |what: &str, colour| {
        until(what, SOON, || kiosk.is_full_of(colour).then_some(()));
    };
    shows("the picture", BLUE);
    blue.kill();
    shows("a card", CARD);
}
