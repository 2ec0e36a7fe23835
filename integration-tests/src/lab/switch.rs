//! The switch: a bridge, with rules in nft's bridge family.

use serde_json::Value;

use super::Namespace;

/// Packets and their bytes, IP headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Traffic {
    /// What came after `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets - earlier.packets,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// The bridge in a namespace of its own. Packets pass the chain `in`, which only counts, and then `pass`, which judges.
#[derive(Debug)]
pub(super) struct Switch {
    prefix: String,
    namespace: Namespace,
}

impl Switch {
    pub(super) fn new(prefix: &str) -> Self {
        let namespace = Namespace::new(format!("{prefix}-switch"));
        // Without a forwarding delay, so that a port that is plugged in again works at once.
        namespace.ip("link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0");
        namespace.ip("link set br0 up");
        namespace.nft("add table bridge lab");
        namespace.nft("add chain bridge lab in { type filter hook prerouting priority 0; }");
        namespace.nft("add chain bridge lab pass { type filter hook forward priority 0; }");
        Self {
            prefix: prefix.to_owned(),
            namespace,
        }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn add_counter(&self, name: &str) {
        self.namespace
            .nft(&format!("add counter bridge lab {name}"));
    }

    /// Counts what matches on its way into the switch, before anything is lost.
    pub(super) fn count(&self, name: &str, matching: &str) {
        self.add_counter(name);
        self.namespace.nft(&format!(
            "add rule bridge lab in {matching} counter name {name}"
        ));
    }

    pub(super) fn counted(&self, name: &str) -> Traffic {
        let said = self
            .namespace
            .run(&format!("nft -j list counter bridge lab {name}"));
        let said: Value = serde_json::from_str(&said).expect("nft -j speaks JSON");
        let objects = said["nftables"].as_array().into_iter().flatten();
        let counter = objects
            .map(|object| &object["counter"])
            .find(|counter| counter["name"] == *name);
        let counter = counter.unwrap_or_else(|| panic!("no counter {name}"));
        let field = |name: &str| counter[name].as_u64().expect("a counter has both");
        Traffic {
            packets: field("packets"),
            bytes: field("bytes"),
        }
    }

    pub(super) fn rule(&self, rule: &str) {
        self.namespace
            .nft(&format!("add rule bridge lab pass {rule}"));
    }

    pub(super) fn forget_rules(&self) {
        self.namespace.nft("flush chain bridge lab pass");
    }
}
