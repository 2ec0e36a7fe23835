//! A host of Debian 12 with nothing but the base system and the libraries that the packages depend on, whose PID 1 is its own
//! systemd, in namespaces of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use fanlight_tests::wait::{SOON, until};

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/packages/boot");

/// What a machine with cameras has, what the packages depend on, what the documents use beside them, and sessions of users.
const INCLUDED: &str = "--include=systemd,systemd-sysv,udev,dbus,libssl3,libvpx7,nginx-light,openssl,curl,libpam-systemd";

/// The base system as an archive, fetched once for all runs.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let archive = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bookworm-with-udev.tar");
        if !archive.exists() {
            let half = archive.with_extension("half.tar");
            run(Command::new("mmdebstrap")
                .args(["--variant=minbase", INCLUDED])
                .arg("bookworm")
                .arg(&half)
                .arg("http://deb.debian.org/debian"));
            fs::rename(&half, &archive).unwrap();
        }
        archive
    })
}

/// Runs a command, which must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// A host that has booted.
pub(crate) struct Debian {
    root: tempfile::TempDir,
    cgroup: PathBuf,
    namespaces: Child,
    init: u32,
}

impl Debian {
    /// On a network of its own.
    pub(crate) fn boot() -> Self {
        Self::boot_with("debian", &["unshare", "--net"])
    }

    /// By the name `name`, on the network that the words `enter` lead to.
    pub(crate) fn boot_with(name: &str, enter: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        run(Command::new("tar")
            .args(["--exclude=./dev/*", "-xf"])
            .arg(base())
            .arg("-C")
            .arg(root.path()));

        fs::write(root.path().join("etc/hostname"), format!("{name}\n")).unwrap();
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let cgroups = mounts
            .lines()
            .find_map(|line| line.strip_prefix("cgroup2 ")?.split(' ').next())
            .expect("a machine with systemd units has control groups");

        let folder = root.path().file_name().unwrap();
        let cgroup = Path::new(cgroups).join(folder);
        fs::create_dir(&cgroup).unwrap();
        let namespaces = Command::new("sh")
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(cgroup.join("cgroup.procs"))
            .args(enter)
            .args(["unshare", "--mount", "--pid", "--uts", "--ipc"])
            .args(["--cgroup", "--fork", "--kill-child", BOOT])
            .arg(root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();

        let id = namespaces.id();
        let init = until("the namespaces have a first process", SOON, || {
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
            children.split(' ').next()?.parse().ok()
        });

        let debian = Self {
            root,
            cgroup,
            namespaces,
            init,
        };

        until("systemd is up", SOON, || {
            let said = debian.command("systemctl is-system-running").output();
            (said.ok()?.stdout == b"running\n").then_some(())
        });

        debian
    }

    /// The host's files as this machine sees them.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }

    /// A shell command on the host.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--all", "--target", &self.init.to_string()])
            .args([
                "env",
                "-i",
                "PATH=/root/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL=C",
            ])
            .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-ec", line]);
        command
    }

    /// Runs a shell command on the host, which must succeed; what it says.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> String {
        run(&mut self.command(line))
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
        // The kernel ends what is in the namespaces by and by.
        until("the control groups are empty", SOON, || {
            let _ = Command::new("find")
                .arg(&self.cgroup)
                .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
                .stderr(Stdio::null())
                .status();
            (!self.cgroup.exists()).then_some(())
        });
    }
}
