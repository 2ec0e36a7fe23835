//! The links of the comparison: two hosts at a switch that loses or limits, a cable with delay, or loopback for who may
//! have no network namespaces.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::lab::{Host, Lab, Traffic};

/// A link by name.
#[derive(Clone, Copy, Debug)]
pub struct LinkKind {
    /// In tables and JSON.
    pub name: &'static str,
    /// Of each packet to the screen, in nft's words.
    loses: Option<&'static str>,
    /// Mbit/s of the switch's port to the screen.
    limit: Option<u32>,
    /// From host to host.
    each_way: Duration,
}

/// A link without anything.
const CLEAN: LinkKind = LinkKind {
    name: "clean",
    loses: None,
    limit: None,
    each_way: Duration::ZERO,
};

const DISTANT: Duration = Duration::from_millis(10);

/// In the order of the table.
pub const LINKS: [LinkKind; 9] = [
    CLEAN,
    LinkKind {
        name: "0.1 % lost",
        loses: Some("numgen random mod 1000 < 1"),
        ..CLEAN
    },
    LinkKind {
        name: "1 % lost",
        loses: Some("numgen random mod 1000 < 10"),
        ..CLEAN
    },
    LinkKind {
        name: "5 % lost",
        loses: Some("numgen random mod 1000 < 50"),
        ..CLEAN
    },
    LinkKind {
        name: "1 % lost in bursts of 10",
        loses: Some("numgen inc mod 1000 >= 990"),
        ..CLEAN
    },
    LinkKind {
        name: "25 Mbit/s",
        limit: Some(25),
        ..CLEAN
    },
    LinkKind {
        name: "12 Mbit/s",
        limit: Some(12),
        ..CLEAN
    },
    LinkKind {
        name: "20 ms there and back",
        each_way: DISTANT,
        ..CLEAN
    },
    LinkKind {
        name: "20 ms, 1 % lost",
        loses: Some("numgen random mod 1000 < 10"),
        each_way: DISTANT,
        ..CLEAN
    },
];

/// A link that stands.
#[derive(Debug)]
pub struct Link {
    /// Sender and screen; none on loopback.
    hosts: Option<(Lab, Host, Host)>,
}

impl Link {
    /// None, and a word about it, where that link takes what is not there.
    #[must_use]
    pub fn open(kind: &LinkKind) -> Option<Self> {
        let Some(lab) = Lab::open() else {
            return (kind.name == CLEAN.name).then_some(Self { hosts: None });
        };

        let sender = lab.host("sender");
        let screen = lab.distant_host("screen", kind.each_way);
        if let Some(loses) = kind.loses {
            lab.rule(&format!("ip daddr {} {loses} drop", screen.address()));
        }

        if let Some(megabits) = kind.limit {
            screen.limit(megabits);
        }

        Some(Self {
            hosts: Some((lab, sender, screen)),
        })
    }

    /// Where a sender listens at `port`.
    pub(super) fn address(&self, loopback: IpAddr, port: u16) -> SocketAddr {
        let host = self.hosts.as_ref().map(|hosts| hosts.1.address());
        SocketAddr::new(host.map_or(loopback, IpAddr::V4), port)
    }

    /// Words in front of the sender's command line.
    pub(super) fn sender(&self) -> Vec<&str> {
        let hosts = self.hosts.as_ref();
        hosts.map_or_else(Vec::new, |hosts| hosts.1.enter().to_vec())
    }

    /// Words in front of the screen's.
    pub(super) fn screen(&self) -> Vec<&str> {
        let hosts = self.hosts.as_ref();
        hosts.map_or_else(Vec::new, |hosts| hosts.2.enter().to_vec())
    }

    /// Calls `act` on the screen's host.
    pub(super) fn at_screen<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        match &self.hosts {
            Some(hosts) => hosts.2.within(act),
            None => act(),
        }
    }

    /// What the sender has put on the wire.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        self.hosts.as_ref().map(|hosts| hosts.1.traffic_from())
    }

    /// Whether it is one of the laboratory, and not loopback.
    #[must_use]
    pub const fn is_real(&self) -> bool {
        self.hosts.is_some()
    }
}
