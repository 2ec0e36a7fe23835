//! A small virtual machine whose kernel has cameras. It boots in seconds and obeys shell commands. The tests of a process use
//! one after the other; it ends with the process.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_tests::{jpeg, wait};

/// Set by `camera-rig/test` to the folder of the guest's kernel and files.
const RIG: &str = "FANLIGHT_CAMERA_RIG";

/// Where the source publishes in the guest.
pub(crate) const SOURCE: &str = "--stream cam --publish tcp://0.0.0.0:5600 --allow-remote";

/// The sizes for which the webcam has pictures, as in fakecam's `descriptors.rs`.
const SIZES: [(u32, u32); 3] = [(640, 360), (1280, 720), (1920, 1080)];

/// Pictures of each size: told apart by their numbers.
pub(crate) const PICTURES: u64 = 3;

/// Booting takes 3 s in software emulation, and that of a Debian 20 s; a busy machine may need much longer.
const BOOT_LIMIT: Duration = Duration::from_secs(120);

/// Longest that a command in the guest may take; to install packages takes 10 s.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The folder that a machine has as /host; None, with the reason said, where there is no rig.
pub(crate) fn share() -> Option<PathBuf> {
    let share = std::env::var_os(RIG).map(|rig| PathBuf::from(rig).join("share"));
    if share.is_none() {
        // With the programs of the whole workspace alone this test cannot run; `./dev test-camera` is part of CI.
        eprintln!("skipped: the camera's virtual machine is started by ./dev test-camera");
    }
    share
}

/// Ends the machine when standard input does: with its guard, or with the process however that ends.
const UNTIL_LET_GO: &str =
    r#"exec 3<&0; "$@" 3<&- & machine=$!; { read -r _ <&3; kill $machine; } & wait $machine"#;

/// The machine that is there for the next test.
static IDLE: Mutex<Option<Machine>> = Mutex::new(None);

/// A machine that is used by one test, as if it had just been booted.
pub(crate) struct Guest {
    // None only while it is given back.
    machine: Option<Machine>,
    _others_wait: MutexGuard<'static, ()>,
}

/// A machine that runs.
pub(crate) struct Machine {
    process: Child,
    commands: BufReader<UnixStream>,
    console: PathBuf,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Guest {
    /// Boots a machine, or takes that of the test before; None, with the reason said, where there is no rig.
    pub(crate) fn boot() -> Option<Self> {
        static USED: Mutex<()> = Mutex::new(());

        let share = share()?;
        let others_wait = USED.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).take();
        let machine = idle.map_or_else(|| Machine::boot(&share), Machine::clean);
        Some(Self {
            machine: Some(machine),
            _others_wait: others_wait,
        })
    }
}

impl Deref for Guest {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        self.machine.as_ref().expect("the test still uses it")
    }
}

impl DerefMut for Guest {
    fn deref_mut(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("the test still uses it")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // What a failed test leaves is not for the next one.
        if !std::thread::panicking() {
            *IDLE.lock().unwrap_or_else(PoisonError::into_inner) = self.machine.take();
        }
    }
}

impl Machine {
    /// Boots one that has `share`, a folder within the rig, as /host. With a file debian.tar in it, it is that Debian.
    pub(crate) fn boot(share: &Path) -> Self {
        let rig = share.parent().expect("it is within the rig");
        write_pictures(&share.join("pictures"));
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut process = start_machine(rig, share, dir.path(), port);
        let console = dir.path().join("console");
        let socket = wait::until("the machine takes commands", BOOT_LIMIT, || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!(
                    "QEMU: {status}: {}",
                    std::fs::read_to_string(dir.path().join("qemu.log")).unwrap()
                );
            }

            UnixStream::connect(dir.path().join("commands")).ok()
        });

        socket.set_read_timeout(Some(BOOT_LIMIT)).unwrap();
        let mut machine = Self {
            process,
            commands: BufReader::new(socket),
            console,
            port,
            _dir: dir,
        };

        assert_eq!(machine.answer().1, "ready");
        machine
            .commands
            .get_ref()
            .set_read_timeout(Some(COMMAND_LIMIT))
            .unwrap();

        machine
    }

    /// Without what the test before has started.
    fn clean(mut self) -> Self {
        self.run("clean");
        self
    }

    /// Runs a line of shell in the guest and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        writeln!(self.commands.get_mut(), "{line}").unwrap();
        let (printed, status) = self.answer();
        assert_eq!(status, "0", "{line}: {printed}");
        printed
    }

    /// Plugs the webcam in and waits until the kernel has made a device of it.
    pub(crate) fn plug(&mut self) {
        self.run("plug");
        self.run(
            "for i in $(seq 200); do [ -e /dev/video0 ] && break; sleep 0.05; done; ls /dev/video0",
        );
    }

    /// Tells the webcam something.
    pub(crate) fn webcam(&mut self, command: &str) {
        self.run(&format!("echo {command} >&9"));
    }

    /// Starts the source in place of one that runs.
    pub(crate) fn source(&mut self, flags: &str) {
        self.run(&format!("source_start {SOURCE} --input camera {flags}"));
    }

    /// Where the host reaches the source.
    pub(crate) fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Waits for the answer to a command: what it printed, and its status.
    fn answer(&mut self) -> (String, String) {
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            let length = self
                .commands
                .read_line(&mut line)
                .unwrap_or_else(|error| panic!("no answer: {error}"));

            assert!(length > 0, "the machine ended");
            match line.trim_end().strip_prefix("= ") {
                Some(status) => return (printed, status.to_owned()),
                None => printed += line.strip_prefix("  ").unwrap_or(&line),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        if std::thread::panicking() {
            let console = std::fs::read(&self.console).unwrap_or_default();
            eprintln!("--- console ---\n{}", String::from_utf8_lossy(&console));
        }
    }
}

fn start_machine(rig: &Path, share: &Path, dir: &Path, port: u16) -> Child {
    let path = |name: &str| dir.join(name).display().to_string();
    let share = share.display().to_string();
    Command::new("sh")
        .args(["-c", UNTIL_LET_GO, "sh", "qemu-system-x86_64"])
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "1536",
        ])
        .args([
            "-M",
            "pc",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(rig.join("vmlinux"))
        .arg("-initrd")
        .arg(rig.join("initramfs.gz"))
        .args([
            "-append",
            "console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable",
        ])
        .args(["-serial", &format!("file:{}", path("console"))])
        .args([
            "-chardev",
            &format!(
                "socket,id=commands,path={},server=on,wait=off",
                path("commands")
            ),
        ])
        .args(["-serial", "chardev:commands"])
        .args([
            "-virtfs",
            &format!("local,path={share},mount_tag=host,security_model=none,readonly=on"),
        ])
        .args([
            "-netdev",
            &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:5600"),
        ])
        .args(["-device", "virtio-net-pci,netdev=net,romfile="])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(File::create(dir.join("qemu.log")).unwrap())
        .spawn()
        .unwrap()
}

/// A port that was free a moment ago: QEMU opens its side by itself.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn write_pictures(dir: &Path) {
    if dir.exists() {
        return;
    }

    std::fs::create_dir_all(dir).unwrap();
    for (width, height) in SIZES {
        for number in 0..PICTURES {
            let name = format!("{width}x{height}-{number}.jpg");
            std::fs::write(dir.join(name), jpeg::numbered(number, width, height)).unwrap();
        }
    }
}
