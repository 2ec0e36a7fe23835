//! A router that hides a network behind its own address.

use super::{Host, Namespace, SEGMENTATION_OFF};

/// A host at the switch that masquerades for one host behind it, with a port of its own choice for each flow.
#[derive(Debug)]
pub struct Nat {
    inner: Namespace,
    outer: Host,
}

impl Nat {
    pub(super) fn new(outer: Host) -> Self {
        let router = outer.namespace();
        let inner = Namespace::new(format!("{}-inner", router.name()));
        router.ip(&format!(
            "link add inner type veth peer name eth0 netns {}",
            inner.name()
        ));

        inner.run(&format!("ethtool -K eth0 {SEGMENTATION_OFF}"));
        router.ip("addr add 10.78.0.1/24 dev inner");
        inner.ip("addr add 10.78.0.2/24 dev eth0");
        router.ip("link set inner up");
        inner.ip("link set eth0 up");
        inner.ip("route add default via 10.78.0.1");
        router.run("sysctl -qw net.ipv4.ip_forward=1");
        router.nft("add table ip nat");
        router.nft("add chain ip nat post { type nat hook postrouting priority 100; }");
        router.nft("add rule ip nat post oifname eth0 masquerade fully-random");
        Self { inner, outer }
    }

    /// The words in front of a command line that is to run on the host behind.
    #[must_use]
    pub fn enter(&self) -> [&str; 4] {
        self.inner.enter()
    }

    /// The router as a host at the switch.
    #[must_use]
    pub const fn outer(&self) -> &Host {
        &self.outer
    }

    /// Forgets every flow, as a router does that is restarted: what comes from inside next gets another port, and what
    /// comes from outside finds nobody.
    pub fn forget(&self) {
        self.outer.run("conntrack -F");
    }
}
