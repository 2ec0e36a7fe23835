//! A network laboratory: hosts are Linux network namespaces at a switch that loses, limits and counts packets on command.
//! Everything is removed with its [`Lab`].
//!
//! ```no_run
//! use fanlight_tests::TestEnv;
//! use fanlight_tests::lab::Lab;
//!
//! let Some(lab) = Lab::open() else { return };
//! let (env, host, screen) = (TestEnv::new(), lab.host("relay"), lab.host("screen"));
//! let relay = env.program("relay").flag("listen", format!("{}:5004", host.address())).flags("--access open");
//! let relay = relay.under(&host.enter()).ready();
//! let viewer = env.viewer((host.address(), 5004).into(), "cam").under(&screen.enter()).start();
//! screen.lose(5.0);
//! screen.unplug();
//! ```
//!
//! The switch is a bridge in its own namespace. nft (bridge family) and tc on its ports act on the traffic, outside of the
//! programs under test and of the hosts. The kernels of test machines lack netem: a cable with delay is a program of its own
//! ([`Lab::distant_host`]), and there is no jitter or reordering.

mod cable;
mod delay;
mod host;
mod namespace;
mod nat;
mod switch;

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

pub use cable::{Cable, End};
pub use host::Host;
pub use nat::Nat;
pub use switch::Traffic;

use namespace::Namespace;
use switch::Switch;

/// What the laboratory is made with; Debian packages iproute2, nftables, conntrack, ethtool and procps.
const TOOLS: [&str; 6] = ["ip", "tc", "nft", "conntrack", "ethtool", "sysctl"];

/// Splits a GSO batch before it is on the wire; else one lost packet is a lost batch.
const SEGMENTATION_OFF: &str = "tso off gso off gro off tx-udp-segmentation off";

/// Milliseconds until the kernel repeats an ARP request. With the default of 1000 a host that is plugged in just after a
/// request would wait for the kernel, which would hide how fast the programs are.
const ASK_AGAIN: &str = "net.ipv4.neigh.eth0.retrans_time_ms=50";

/// Mounts a file system that only the mounting process sees.
pub const MOUNT: [&str; 7] = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"];

/// Hosts of one laboratory: their numbers are the last byte of their addresses.
const MAX_HOSTS: u8 = 250;

/// A switch with hosts.
#[derive(Debug)]
pub struct Lab {
    switch: Rc<Switch>,
    hosts: Cell<u8>,
}

impl Lab {
    /// An empty one. None, and a word about it, where a laboratory cannot be built.
    ///
    /// # Panics
    /// When it is not possible though every test must run.
    #[must_use]
    pub fn open() -> Option<Self> {
        if let Some(missing) = missing() {
            crate::skip(&missing);
            return None;
        }

        namespace::sweep();
        Some(Self {
            switch: Rc::new(Switch::new(&namespace::unique())),
            hosts: Cell::new(0),
        })
    }

    /// A further host at the switch, with an address in 10.77.0.0/24.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        self.distant_host(name, Duration::ZERO)
    }

    /// A further host whose cable takes so long each way, in user space: good for some thousand packets a second.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn distant_host(&self, name: &str, each_way: Duration) -> Host {
        let number = self.hosts.get() + 1;
        assert!(
            number <= MAX_HOSTS,
            "a laboratory has at most {MAX_HOSTS} hosts"
        );
        self.hosts.set(number);
        Host::new(&self.switch, name, number, each_way)
    }

    /// A further host at the switch that hides a network of one host behind its own address.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn nat(&self, name: &str) -> Nat {
        Nat::new(self.host(name))
    }

    /// Adds rules to the switch, in the words of nft(8): the statements of a rule in the chain that bridged packets pass.
    ///
    /// # Panics
    /// When nft refuses them.
    pub fn rule(&self, rule: &str) {
        self.switch.rule(rule);
    }

    /// Takes back all that was added by [`rule`](Self::rule), [`Host::lose`] and its like.
    ///
    /// # Panics
    /// When nft cannot.
    pub fn forget_rules(&self) {
        self.switch.forget_rules();
    }

    /// Gives the rules a counter called `name`, to be used as `counter name NAME`.
    ///
    /// # Panics
    /// When nft cannot.
    pub fn counter(&self, name: &str) {
        self.switch.add_counter(name);
    }

    /// What a counter has counted: whole IP packets.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn counted(&self, name: &str) -> Traffic {
        self.switch.counted(name)
    }
}

/// What keeps this process from building a laboratory, found out by trying: root may lack the capabilities in a container,
/// and `ip netns` needs `/` to be a mount point.
fn missing() -> Option<String> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    MISSING.get_or_init(find_missing).clone()
}

fn find_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces take root".to_owned());
    }

    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !installed(tool)).collect();
    if !missing.is_empty() {
        return Some(format!("not installed: {}", missing.join(", ")));
    }

    let tried = namespace::try_out();
    tried
        .err()
        .map(|error| format!("no network namespaces here: {error}"))
}

/// Runs `words` to their end: whether this process may do that here. None, and a word about it, where not.
///
/// # Panics
/// When it may not, though every test must run.
#[must_use]
pub fn permitted(words: &[&str]) -> Option<()> {
    let tried = try_run(words);
    tried.map_err(|error| crate::skip(&error)).ok().map(drop)
}

/// Whether a tool of the system is there.
#[must_use]
pub fn installed(tool: &str) -> bool {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(tool).is_file())
}

/// Runs `words` to their end and gives back what they say.
///
/// # Panics
/// When they cannot be run or fail.
#[track_caller]
fn run(words: &[&str]) -> String {
    try_run(words).unwrap_or_else(|error| panic!("{error}"))
}

fn try_run(words: &[&str]) -> Result<String, String> {
    let output = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output();

    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }

    Err(format!(
        "{}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
