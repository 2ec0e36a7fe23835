//! podman on a host of the laboratory: with a network, an address translation and control groups of its own, whatever this
//! machine runs. Images stay below target/.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use fanlight_tests::lab::{Host, installed};
use fanlight_tests::{TestEnv, skip, target_directory};
use rustix::process::geteuid;

/// Where `dev` and `deploy/` are.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What it takes; Debian packages of these names, but for the last (binutils).
const TOOLS: [&str; 6] = [
    "podman",
    "buildah",
    "podman-compose",
    "crun",
    "mmdebstrap",
    "strip",
];

/// Nothing of it is seen by this machine: not the mounts, nor what is in /run.
/// crun gives a container's standard input to the container's user, which is /dev/null.
const MOUNTS: &str = "mount --make-rprivate / && mount -t tmpfs tmpfs /run && \
                      mknod -m 666 /run/null c 1 3 && mount --bind /run/null /dev/null && \
                      { mountpoint -q /sys/fs/cgroup && umount -l /sys/fs/cgroup || true; } && \
                      mount -t cgroup2 cgroup2 /sys/fs/cgroup";

/// Containers in a virtual machine or another container may neither raise limits nor have control groups.
const CONTAINERS_CONF: &str = r#"
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=4096:4096", "nproc=2048:2048"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
[network]
network_backend = "netavark"
"#;

/// An engine, whose containers are removed with it.
pub(crate) struct Engine {
    /// Holds the namespaces; it ends when its input does.
    anchor: Child,
}

impl Engine {
    /// An engine on `host` that has Debian's base image; none, said aloud, where that cannot be.
    pub(crate) fn on(host: &Host) -> Option<Self> {
        let missing: Vec<_> = TOOLS.into_iter().filter(|tool| !installed(tool)).collect();
        if !missing.is_empty() || !geteuid().is_root() {
            skip(&format!("containers take root and {}", TOOLS.join(", ")));
            return None;
        }

        prepare();
        let mut anchor = Command::new("ip")
            .args(&host.enter()[1..])
            .args(["unshare", "--mount", "sh", "-ec"])
            .arg(format!("{MOUNTS}; echo; exec cat"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mounted = anchor.stdout.as_mut().unwrap().read_exact(&mut [0]);
        mounted.expect("an engine has mounts of its own");
        Some(Self { anchor })
    }

    /// A shell command on the host of the engine, in the folder of the repository.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--net", "--target"])
            .arg(self.anchor.id().to_string())
            .args(["sh", "-ec", &format!("cd {REPOSITORY}\n{line}")])
            .envs(variables());
        command
    }

    /// Runs such a command, which must succeed; what it prints.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        run(&mut self.command(line))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let everything = "podman rm --force --all --time 0; podman volume prune --force";
        let removed = self.command(everything).output();
        drop(self.anchor.stdin.take());
        let _ = self.anchor.wait();
        if let Err(error) = removed {
            eprintln!("containers may be left: {error}");
        }
    }
}

/// Where the engine has its files.
fn folder() -> PathBuf {
    target_directory().join("tmp/containers")
}

fn variables() -> [(&'static str, PathBuf); 5] {
    let relay = TestEnv::new().program("relay");
    let programs = relay.binary().parent();
    [
        // The camera is none, and `./dev images` takes what is built.
        ("CAMERA", PathBuf::from("/dev/null")),
        (
            "FANLIGHT_BIN_DIR",
            programs.map(Path::to_owned).unwrap_or_default(),
        ),
        ("CONTAINERS_CONF", folder().join("containers.conf")),
        ("CONTAINERS_STORAGE_CONF", folder().join("storage.conf")),
        ("BUILDAH_ISOLATION", PathBuf::from("chroot")),
    ]
}

/// Sets the engine up and makes the base image, once, on this machine's network, where its packages come from.
fn prepare() {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let folder = folder();
        fs::create_dir_all(&folder).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"/run/containers\"\n",
            folder.join("storage").display()
        );
        fs::write(folder.join("storage.conf"), storage).unwrap();
        fs::write(folder.join("containers.conf"), CONTAINERS_CONF).unwrap();

        let base = format!("{MOUNTS}; podman image prune --force; exec deploy/container/base");
        run(Command::new("unshare")
            .args(["--mount", "sh", "-ec", &base])
            .current_dir(REPOSITORY)
            .envs(variables()));
    });
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}{errors}",
        output.status
    );
    said
}
