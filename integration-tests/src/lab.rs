//! The network laboratory: hosts that are Linux network namespaces, plugged into a switch that loses, delays nothing,
//! limits, counts and is unplugged on command. Everything in it is gone with its [`Lab`].
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
//! The switch is a bridge in a namespace of its own; what it does to traffic is said to nft in the bridge family and to
//! tc on its ports, outside the programs under test and outside the hosts. The kernel of the test machines has no netem:
//! there is no delay, jitter or reordering here.

mod cable;
mod host;
mod nat;
mod space;
mod switch;

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;

pub use cable::{Cable, End};
pub use host::Host;
pub use nat::Nat;
pub use switch::Traffic;

use space::Space;
use switch::Switch;

/// What the laboratory is made with; Debian packages iproute2, nftables, conntrack, ethtool and procps.
const TOOLS: [&str; 6] = ["ip", "tc", "nft", "conntrack", "ethtool", "sysctl"];

/// What takes a train of datagrams apart before it is on the wire: else one packet lost is a whole train lost.
const TRAINS_OFF: &str = "tso off gso off gro off tx-udp-segmentation off";

/// Milliseconds until the kernel asks once more for the hardware address of a neighbour. It waits for 1000 otherwise, and
/// so would whoever is plugged in again just after it asked: a property of the kernel, which would hide the programs'.
const ASK_AGAIN: &str = "net.ipv4.neigh.eth0.retrans_time_ms=50";

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
    /// When it should be possible and fails; when it is not possible and all tests must run.
    #[must_use]
    pub fn open() -> Option<Self> {
        if let Some(missing) = missing() {
            crate::skip(&missing);
            return None;
        }
        space::sweep();
        Some(Self {
            switch: Rc::new(Switch::new(&space::unique())),
            hosts: Cell::new(0),
        })
    }

    /// A further host at the switch, with an address in 10.77.0.0/24.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        let number = self.hosts.get() + 1;
        assert!(
            number <= MAX_HOSTS,
            "a laboratory has at most {MAX_HOSTS} hosts"
        );
        self.hosts.set(number);
        Host::new(&self.switch, name, number)
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

/// What keeps this process from building a laboratory.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces take root".to_owned());
    }
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !installed(tool)).collect();
    (!missing.is_empty()).then(|| format!("not installed: {}", missing.join(", ")))
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
