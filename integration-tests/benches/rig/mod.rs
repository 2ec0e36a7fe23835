//! Where datagrams go: most are read by nobody.

mod reader;
mod tally;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

use quinn_udp::UdpSocketState;
use reader::Reader;
use rustix::process::geteuid;
pub(crate) use tally::Tally;

/// The device that eats what it is given, as a network card does.
const EATER: &str = "ifb0";

/// The port of viewers that are only addresses.
const PORT: u16 = 40_000;

/// A rig by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rig {
    /// Sockets on 127.1.x.y, bound and never read: the kernel carries each datagram all the way to its receiver.
    Loopback,
    /// The same with sockets that take trains whole, as those of our viewers do.
    LoopbackTrains,
    /// The same, read by a thread of its own as viewers read.
    LoopbackRead,
    /// A device that takes whole trains and segments them itself.
    IfbUso,
    /// A device that does not: the kernel segments, as late as it can.
    IfbGso,
}

impl Rig {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Loopback,
        Self::LoopbackTrains,
        Self::LoopbackRead,
        Self::IfbUso,
        Self::IfbGso,
    ];

    /// As it stands on the command line and in what is printed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LoopbackTrains => "loopback-gro",
            Self::LoopbackRead => "loopback-read",
            Self::IfbUso => "ifb-uso",
            Self::IfbGso => "ifb-gso",
        }
    }

    /// The rig called `name`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rig| rig.name() == name)
    }

    /// What it is, for people, in few words.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LoopbackTrains => "loopback, receivers with GRO",
            Self::LoopbackRead => "loopback, receivers that read",
            Self::IfbUso => "device that segments (USO)",
            Self::IfbGso => "device that does not (GSO)",
        }
    }

    /// Whether it is built in a network namespace.
    pub(crate) const fn needs_namespace(self) -> bool {
        matches!(self, Self::IfbUso | Self::IfbGso)
    }

    const fn device(self) -> &'static str {
        if self.needs_namespace() { EATER } else { "lo" }
    }
}

/// A rig that stands.
pub(crate) struct Built {
    rig: Rig,
    viewers: Vec<SocketAddr>,
    /// Holds the addresses of the viewers open.
    _receivers: Vec<UdpSocket>,
    _reader: Option<Reader>,
}

impl Built {
    /// `rig` with room for so many viewers. One that needs a namespace must be built within its own.
    ///
    /// # Errors
    /// Why it cannot be built here.
    pub(crate) fn new(rig: Rig, viewers: usize) -> Result<Self, String> {
        if rig.needs_namespace() {
            lay_out(rig)?;
            return Ok(Self {
                rig,
                viewers: (0..viewers).map(eaten).collect(),
                _receivers: Vec::new(),
                _reader: None,
            });
        }

        let receivers = (0..viewers)
            .map(|n| receiver(rig, n))
            .collect::<io::Result<Vec<_>>>();
        let receivers = receivers.map_err(|error| error.to_string())?;
        let viewers = receivers
            .iter()
            .map(|receiver| receiver.local_addr().expect("it is bound"))
            .collect();

        let reads = rig == Rig::LoopbackRead;
        let reader = reads.then(|| Reader::start(&receivers)).transpose();
        Ok(Self {
            rig,
            viewers,
            _receivers: receivers,
            _reader: reader.map_err(|error| error.to_string())?,
        })
    }

    /// The addresses of the first `count` viewers.
    pub(crate) fn viewers(&self, count: usize) -> &[SocketAddr] {
        &self.viewers[..count]
    }

    /// Where a relay binds its socket.
    pub(crate) fn source(&self) -> SocketAddr {
        let address = if self.rig.needs_namespace() {
            [10, 98, 255, 1]
        } else {
            [127, 0, 0, 1]
        };

        (address, 0).into()
    }

    /// What has come through and what has not, so far.
    pub(crate) fn tally(&self) -> Tally {
        Tally::of(self.rig.device(), self.rig.needs_namespace())
    }
}

/// The socket of a viewer on loopback.
fn receiver(rig: Rig, viewer: usize) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(numbered([127, 1], viewer), 0))?;
    if rig != Rig::Loopback {
        // It asks the kernel for trains.
        UdpSocketState::new((&socket).into())?;
    }

    Ok(socket)
}

/// Runs this program again with `arguments`, in a network namespace of its own: what it prints.
///
/// # Errors
/// Why there is no such namespace, or what went wrong in it.
pub(crate) fn in_namespace(arguments: &[String]) -> Result<String, String> {
    // Who is not root may have a namespace by being root in a namespace of users.
    let flags = if geteuid().is_root() { "-n" } else { "-rn" };
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new("unshare");
    command
        .arg(flags)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null());

    let output = command
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }

    let words = String::from_utf8_lossy(&output.stderr);
    Err(words
        .lines()
        .last()
        .unwrap_or("it failed and said nothing")
        .trim()
        .to_owned())
}

/// Puts the device into the present namespace, which is new.
fn lay_out(rig: Rig) -> Result<(), String> {
    run("ip link set lo up")?;
    run(&format!("ip link add {EATER} type ifb"))?;
    run(&format!("ip address add 10.98.255.1/16 dev {EATER}"))?;
    run(&format!("ip link set {EATER} up"))?;
    let segments = if rig == Rig::IfbUso { "on" } else { "off" };
    run(&format!(
        "ethtool -K {EATER} tx-udp-segmentation {segments}"
    ))?;
    Ok(())
}

/// An address behind the device.
fn eaten(viewer: usize) -> SocketAddr {
    SocketAddr::new(numbered([10, 98], viewer), PORT)
}

/// The address of a viewer in a network.
fn numbered([a, b]: [u8; 2], viewer: usize) -> IpAddr {
    let net = viewer / 250;
    let host = viewer % 250 + 1;
    Ipv4Addr::new(
        a,
        b,
        u8::try_from(net).expect("there are at most 64 000 viewers"),
        host as u8,
    )
    .into()
}

/// Runs `words`, split at spaces: what they print.
fn run(words: &str) -> Result<String, String> {
    let mut parts = words.split(' ');
    let program = parts.next().unwrap_or_default();
    let output = Command::new(program)
        .args(parts)
        .stdin(Stdio::null())
        .output();

    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }

    Err(format!(
        "{words}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    ))
}
