//! Where senders and receivers are.

use std::net::{IpAddr, Ipv4Addr};

use fanlight_tests::lab::Cable;

/// A rig.
#[derive(Debug)]
pub(crate) enum Place {
    /// All on loopback.
    Loopback,
    /// Sender and receivers on hosts of their own, with a cable between that the kernel makes: big packets stay whole.
    Veth(Cable),
    /// The same with a sender's device that segments nothing itself: the kernel does it in software, of TCP and of UDP.
    Segmented(Cable),
}

impl Place {
    pub(crate) const NAMES: [&str; 3] = ["loopback", "veth", "veth-segmented"];

    /// None where it cannot be had.
    pub(crate) fn open(name: &str) -> Option<Self> {
        match name {
            "loopback" => Some(Self::Loopback),
            "veth" => Cable::open().map(Self::Veth),
            _ => {
                let cable = Cable::open()?;
                cable
                    .near()
                    .run("ethtool -K eth0 tso off tx-udp-segmentation off");
                Some(Self::Segmented(cable))
            }
        }
    }

    /// The sender's address.
    pub(crate) const fn sender(&self) -> IpAddr {
        match self {
            Self::Loopback => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Veth(cable) | Self::Segmented(cable) => IpAddr::V4(cable.near().address()),
        }
    }

    /// The receivers' address.
    pub(crate) const fn receivers(&self) -> IpAddr {
        match self {
            Self::Loopback => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::Veth(cable) | Self::Segmented(cable) => IpAddr::V4(cable.far().address()),
        }
    }

    /// The words in front of a sender's command line.
    pub(crate) fn enter(&self) -> Vec<&str> {
        match self {
            Self::Loopback => Vec::new(),
            Self::Veth(cable) | Self::Segmented(cable) => cable.near().enter().to_vec(),
        }
    }

    /// Makes sockets where the sender is.
    pub(crate) fn at_sender<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Loopback => act(),
            Self::Veth(cable) | Self::Segmented(cable) => cable.near().within(act),
        }
    }

    /// Makes sockets where the receivers are.
    pub(crate) fn at_receivers<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Loopback => act(),
            Self::Veth(cable) | Self::Segmented(cable) => cable.far().within(act),
        }
    }
}
