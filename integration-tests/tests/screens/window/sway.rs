//! A Wayland compositor without a screen: sway, with outputs that it simulates. It does not start for root.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use fanlight_tests::wait::{SOON, until};
use serde_json::Value;
use tempfile::TempDir;

use super::display::{Monitor, Screenshot, installed, run};

/// A user who is not root.
const NOBODY: u32 = 65_534;

pub(crate) struct Sway {
    socket: String,
    ipc: String,
}

impl Sway {
    /// With these outputs; None, and said so, where something is not installed. The folder holds its sockets.
    pub(super) fn start(monitors: &[Monitor]) -> Option<(Self, Child, TempDir)> {
        for program in ["sway", "swaymsg", "grim", "setpriv"] {
            installed(program)?;
        }

        let folder = session_folder();
        let config = folder.path().join("config");
        let mut lines = String::from("xwayland disable\ndefault_border none\n");
        for (number, it) in (1..).zip(monitors) {
            let (width, height, x, y) = (it.width, it.height, it.x, it.y);
            lines += &format!("output HEADLESS-{number} mode {width}x{height} pos {x} {y}\n");
        }
        std::fs::write(&config, lines).unwrap();

        let ipc = folder.path().join("ipc");
        let child = user(folder.path(), "sway")
            .arg("-c")
            .arg(&config)
            .env("SWAYSOCK", &ipc)
            .envs(HEADLESS)
            .env("WLR_HEADLESS_OUTPUTS", monitors.len().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();

        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let sway = Self {
            socket: path(&folder.path().join("wayland-1")),
            ipc: path(&ipc),
        };
        until("sway's outputs", SOON, || sway.has(monitors).then_some(()));
        Some((sway, child, folder))
    }

    /// What WAYLAND_DISPLAY has to be.
    pub(super) fn socket(&self) -> &str {
        &self.socket
    }

    /// Has it do what swaymsg(1) offers.
    pub(crate) fn tell(&self, words: &str) {
        run(self.message().args(words.split(' ')));
    }

    /// The window of the viewer, as `swaymsg -t get_tree` describes it.
    pub(crate) fn window(&self) -> Option<Value> {
        let tree = self.ask("get_tree")?;
        let mut nodes = vec![&tree];
        while let Some(node) = nodes.pop() {
            if node["app_id"] == "fanlight-viewer" {
                return Some(node.clone());
            }
            for children in ["nodes", "floating_nodes"] {
                nodes.extend(node[children].as_array().into_iter().flatten());
            }
        }
        None
    }

    /// Whether it has one, be it a program's.
    pub(super) fn has_keyboard(&self) -> bool {
        let inputs = self.ask("get_inputs").unwrap_or_default();
        let inputs = inputs.as_array().into_iter().flatten();
        inputs.into_iter().any(|input| input["type"] == "keyboard")
    }

    /// Whether it can switch off an output that it simulates: that of Debian 12, which is 1.7, only says so.
    pub(crate) fn can_unplug(&self) -> bool {
        let version = self.ask("get_version").unwrap_or_default();
        version["minor"].as_u64() >= Some(10)
    }

    fn has(&self, monitors: &[Monitor]) -> bool {
        let outputs = self.ask("get_outputs");
        let is = |output: &Value, it: &Monitor| {
            let rect = &output["rect"];
            let found = ["x", "y", "width", "height"].map(|side| rect[side].as_u64());
            found == [it.x, it.y, it.width, it.height].map(|side| Some(side.into()))
        };
        let outputs = outputs.as_ref().and_then(Value::as_array);
        outputs.is_some_and(|outputs| {
            outputs.len() == monitors.len()
                && monitors
                    .iter()
                    .all(|it| outputs.iter().any(|output| is(output, it)))
        })
    }

    fn ask(&self, what: &str) -> Option<Value> {
        let out = self.message().args(["-r", "-t", what]).output().unwrap();
        serde_json::from_slice(&out.stdout).ok()
    }

    fn message(&self) -> Command {
        let mut command = Command::new("swaymsg");
        command.args(["-s", &self.ipc]);
        command
    }
}

/// Has a compositor of wlroots simulate its outputs and draw without a graphics card.
pub(crate) const HEADLESS: [(&str, &str); 3] = [
    ("WLR_BACKENDS", "headless"),
    ("WLR_RENDERER", "pixman"),
    ("WLR_LIBINPUT_NO_DEVICES", "1"),
];

/// A folder for the sockets of a session, of who may start a compositor.
pub(crate) fn session_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    if folder.path().metadata().unwrap().uid() == 0 {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    folder
}

/// `program` for who owns the folder, in which sockets of its session lie.
pub(crate) fn user(folder: &Path, program: &str) -> Command {
    let id = NOBODY.to_string();
    let mut command = if std::fs::metadata(folder).unwrap().uid() == NOBODY {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
        command.args(["--pdeathsig", "KILL", program]);
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

/// What the outputs of the compositor at this socket show, all or those that `arguments` of grim(1) choose.
pub(crate) fn grim(socket: &str, arguments: &[&str]) -> Screenshot {
    let mut command = Command::new("grim");
    command
        .args(arguments)
        .args(["-t", "ppm", "-"])
        .env("WAYLAND_DISPLAY", socket);
    // It has none while an output changes.
    until("a screenshot", SOON, || {
        Screenshot::of_ppm(&command.output().unwrap().stdout)
    })
}
