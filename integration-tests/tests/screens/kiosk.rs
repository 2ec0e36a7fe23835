//! Screens without a desktop: the viewer alone on a Wayland compositor without an output, `cage`, as the unit
//! `fanlight-screen@` starts it; and one on each output of `sway`, as `fanlight-outputs` and `fanlight-output@` start them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};

use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};
use tempfile::TempDir;

use super::grid::{BLUE, CARD, RED, is_near, source};
use super::window::display::{self, Screenshot};
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
        is_full_of(&grim(socket.to_str().unwrap(), &[]), colour)
    }
}

impl Drop for Kiosk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.cage.kill();
        let _ = self.cage.wait();
    }
}

fn is_full_of(shot: &Screenshot, colour: u32) -> bool {
    let (right, below) = (shot.width - 1, shot.height - 1);
    let corners = [(0, 0), (right, 0), (0, below), (right, below)];
    corners.into_iter().all(|at| is_near(shot, at, colour))
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

/// Ends what it has started.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A file of those that the units use.
fn shipped(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The compositor of `fanlight-outputs` with two outputs, once it has told systemd that it is ready.
fn compositor(folder: &Path) -> Option<Killed> {
    for program in ["sway", "grim", "setpriv", "systemd-notify"] {
        display::installed(program)?;
    }

    let config = folder.join("outputs.sway");
    std::fs::write(&config, shipped("outputs.sway")).unwrap();
    let notified = folder.join("notified");
    let socket = UnixDatagram::bind(&notified).unwrap();
    std::fs::set_permissions(&notified, PermissionsExt::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();

    let sway = user(folder, "sway")
        .arg("--config")
        .arg(&config)
        .envs(HEADLESS)
        .env("WLR_HEADLESS_OUTPUTS", "2")
        .env("NOTIFY_SOCKET", &notified)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let sway = Killed(sway);

    let mut said = [0; 100];
    let length = socket.recv(&mut said).unwrap();
    assert!(said[..length].starts_with(b"READY=1"), "{said:?}");
    Some(sway)
}

#[test]
fn each_output_of_one_compositor_has_the_screen_of_its_unit() {
    let folder = session_folder();
    let Some(_sway) = compositor(folder.path()) else {
        return;
    };

    let env = TestEnv::new();
    let _sources = [("red", RED), ("blue", BLUE)].map(|it| source(&env, it.0, it.1, (640, 360)));
    let _relay = env.relay(0, &[env.ipc("red"), env.ipc("blue")]).ready();
    let config = env.path("fanlight.toml");
    let relay = env.relay_address(0);
    let text = format!(
        "[viewer]\nrelay = [\"{relay}\"]\n[viewer.HEADLESS-1]\nstream = \"red\"\n[viewer.HEADLESS-2]\nstream = \"blue\"\n"
    );
    std::fs::write(&config, text).unwrap();

    let unit = shipped("fanlight-output@.service");
    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=fanlight-viewer "))
        .unwrap();
    let _viewers = ["HEADLESS-1", "HEADLESS-2"].map(|output| {
        let flags = command
            .replace("/etc/fanlight/fanlight.toml", config.to_str().unwrap())
            .replace("%i", output);
        env.program("viewer")
            .flags(&flags)
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("WAYLAND_DISPLAY", "wayland-1")
            .env("DISPLAY", "")
            .env("STATE_DIRECTORY", env.path(output))
            .start()
    });

    let socket = folder.path().join("wayland-1");
    for (output, colour) in [("HEADLESS-1", RED), ("HEADLESS-2", BLUE)] {
        until(output, SOON, || {
            let shot = grim(socket.to_str().unwrap(), &["-o", output]);
            is_full_of(&shot, colour).then_some(())
        });
    }
}
