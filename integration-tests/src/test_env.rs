//! The environment of one test: a directory for the sockets of its programs and a loopback address for their ports. No
//! other test has these, so tests run side by side.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::program::{Launch, Program};
use crate::viewer_process::ViewerCommand;

/// First UDP port of the relays on an environment's own address.
const RELAY_PORTS: u16 = 5004;

/// First TCP port of the sources on an environment's own address.
const SOURCE_PORTS: u16 = 6004;

/// First port of the relays' HTTP on an environment's own address.
const HTTP_PORTS: u16 = 8080;

/// Overrides where the programs are looked for.
const BIN_DIR: &str = "FANLIGHT_BIN_DIR";

/// The environment of one test. Its directory is removed with it.
#[derive(Debug)]
pub struct TestEnv {
    directory: TempDir,
    host: Ipv4Addr,
    launches: AtomicUsize,
}

impl TestEnv {
    /// An empty env.
    ///
    /// # Panics
    /// When there is no temporary directory to be had.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("fanlight-test-").tempdir();
        Self {
            directory: directory.expect("a test may write to the temporary directory"),
            host: own_host(),
            launches: AtomicUsize::new(0),
        }
    }

    /// The directory of this env.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the directory of this env.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The address that relay `number` of this environment listens on, over restarts.
    #[must_use]
    pub fn relay_address(&self, number: u16) -> SocketAddr {
        (self.host, RELAY_PORTS + number).into()
    }

    /// A TCP address for source `number`.
    #[must_use]
    pub fn source_address(&self, number: u16) -> SocketAddr {
        (self.host, SOURCE_PORTS + number).into()
    }

    /// The endpoint on which [`source`](Self::source) publishes `stream`.
    #[must_use]
    pub fn ipc(&self, stream: &str) -> String {
        format!("ipc://{}", self.path(&format!("{stream}.ipc")).display())
    }

    /// The program `fanlight-NAME` without any flags.
    #[must_use]
    pub fn program(&self, name: &str) -> Launch {
        self.launch(name, binary(name))
    }

    /// The program `binary`, called `name`, without any flags.
    #[must_use]
    pub fn launch(&self, name: &str, binary: PathBuf) -> Launch {
        let number = self.launches.fetch_add(1, Ordering::Relaxed);
        let notify = self.path(&format!("notify-{number}"));
        Launch::new(
            &format!("{name} ({number})"),
            binary,
            self.directory(),
            notify,
        )
    }

    /// A source of `stream`, which publishes at [`ipc`](Self::ipc).
    #[must_use]
    pub fn source(&self, stream: &str) -> Launch {
        self.program("source")
            .flag("stream", stream)
            .flag("publish", self.ipc(stream))
    }

    /// Relay `number`, which takes `endpoints` and listens on [`relay_address`](Self::relay_address).
    #[must_use]
    pub fn relay(&self, number: u16, endpoints: &[String]) -> Launch {
        let listen = self.relay_address(number).to_string();
        self.program("relay")
            .flag("sources", endpoints.join(","))
            .flag("listen", listen)
    }

    /// Relay 0 with HTTP and WebRTC on ports of their own, once it has the stream `cam`.
    #[must_use]
    #[track_caller]
    pub fn webrtc_relay(&self, flags: &str) -> Program {
        let relay = self
            .relay(0, &[self.ipc("cam")])
            .flag("http", format!("{}:0", self.host))
            .flag("webrtc", format!("{}:0", self.host))
            .flags(flags)
            .ready();
        relay.wait_for_line("live stream=cam");
        relay
    }

    /// A viewer of `stream` at the relay `relay`, without a window. It runs until it is stopped.
    #[must_use]
    pub fn viewer(&self, relay: SocketAddr, stream: &str) -> ViewerCommand {
        self.viewer_at(&relay.to_string(), stream)
    }

    /// As [`viewer`](Self::viewer), of the relay at an address as the settings have it, such as `ws://host:port`.
    #[must_use]
    pub fn viewer_at(&self, relay: &str, stream: &str) -> ViewerCommand {
        ViewerCommand::new(
            self.program("viewer")
                .flag("relay", relay)
                .flag("stream", stream),
            self,
        )
    }

    /// A TCP address for the HTTP of relay `number`, over restarts.
    #[must_use]
    pub fn http_address(&self, number: u16) -> SocketAddr {
        (self.host, HTTP_PORTS + number).into()
    }
}

/// A loopback address that none of the 249 environments before and after has: 127/8 is all local, and this process's number
/// is in it.
fn own_host() -> Ipv4Addr {
    static ENVIRONMENTS: AtomicUsize = AtomicUsize::new(0);
    let env = ENVIRONMENTS.fetch_add(1, Ordering::Relaxed) % 250;
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high.max(1), low, 1 + env as u8)
}

fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os(BIN_DIR).map_or_else(built, PathBuf::from);
    let file = folder.join(format!("fanlight-{name}"));
    assert!(
        file.is_file(),
        "{} is not there: run `./dev test`, or `cargo build --workspace --bins`",
        file.display()
    );

    file
}

/// Where cargo puts the programs of the profile that this test was built with.
fn built() -> PathBuf {
    ancestor_of_test(2)
}

/// An example of this crate, built in the same profile.
pub(crate) fn built_example(name: &str) -> PathBuf {
    built().join("examples").join(name)
}

/// Cargo's `target/`, where tests keep what they make once.
#[must_use]
pub fn target_directory() -> PathBuf {
    ancestor_of_test(3)
}

/// Keeps other processes of tests from making what `name` stands for below `target/` until it is dropped: the camera's
/// tests run beside the others.
///
/// # Panics
/// When files cannot be written there.
pub(crate) fn lock(name: &str) -> std::fs::File {
    let folder = target_directory().join("tmp");
    std::fs::create_dir_all(&folder).expect("a test may write below target/");
    let file = std::fs::File::create(folder.join(format!("{name}.lock")));
    let file = file.expect("a test may write below target/");
    file.lock().expect("a file below target/ can be locked");
    file
}

fn ancestor_of_test(generations: usize) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let ancestor = test.ancestors().nth(generations);
    ancestor
        .expect("tests are in target/PROFILE/deps")
        .to_owned()
}
