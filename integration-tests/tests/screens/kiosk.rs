//! A screen without a desktop: the viewer alone on a Wayland compositor without an output, `cage`, as the unit
//! `fanlight-screen@` starts it.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fanlight_tests::wait::{SOON, until};
use fanlight_tests::{TestEnv, skip};
use tempfile::TempDir;

use super::grid::{BLUE, CARD, source};
use super::window::display;

/// What the compositor's output without a screen has.
const SIZE: (usize, usize) = (1280, 720);

/// A user who is not root, for which cage does not start.
const NOBODY: u32 = 65_534;

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

        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        if is_root(folder.path()) {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }

        let can_run = user(folder.path(), "test").arg("-x").arg(viewer).status();
        if !can_run.unwrap().success() {
            skip("another user than root may not run the viewer where it is");
            return None;
        }

        let cage = user(folder.path(), "cage")
            .args(["-d", "--"])
            .arg(viewer)
            .args(flags)
            .envs([
                ("WLR_BACKENDS", "headless"),
                ("WLR_RENDERER", "pixman"),
                ("WLR_LIBINPUT_NO_DEVICES", "1"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { cage, folder })
    }

    /// Whether the whole screen has this colour.
    fn is_full_of(&self, colour: u32) -> bool {
        let grim = user(self.folder.path(), "grim")
            .args(["-t", "ppm", "-"])
            .env("WAYLAND_DISPLAY", "wayland-0")
            .output()
            .unwrap();
        let header = format!("P6\n{} {}\n255\n", SIZE.0, SIZE.1);
        let Some(pixels) = grim.stdout.strip_prefix(header.as_bytes()) else {
            return false;
        };

        let [blue, green, red, _] = colour.to_le_bytes();
        let is_near = |at: &(usize, usize)| {
            let start = 3 * (at.1 * SIZE.0 + at.0);
            let found = &pixels[start..start + 3];
            let wanted = [red, green, blue];
            found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 16)
        };
        let corners = [(0, 0), (1279, 0), (0, 719), (1279, 719)];
        corners.iter().all(is_near)
    }
}

impl Drop for Kiosk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.cage.kill();
        let _ = self.cage.wait();
    }
}

fn is_root(owned: &Path) -> bool {
    owned.metadata().unwrap().uid() == 0
}

/// `program` for who owns the folder, in which sockets of its session lie.
fn user(folder: &Path, program: &str) -> Command {
    let id = NOBODY.to_string();
    let mut command = if std::fs::metadata(folder).unwrap().uid() == NOBODY {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "--pdeathsig",
            "KILL",
        ]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command
        .env("XDG_RUNTIME_DIR", folder)
        .env("HOME", folder)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY");
    command
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
