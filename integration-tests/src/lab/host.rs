//! A host at the switch, and what can be done to its cable.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use super::delay::Delay;
use super::{ASK_AGAIN, Namespace, SEGMENTATION_OFF, Switch, Traffic};

/// Longest that a packet waits at a limited port; as much as a switch's buffer holds.
const LIMIT_LATENCY: &str = "50ms";

/// A network namespace with one device, `eth0`, whose other end is a port of the switch.
#[derive(Debug)]
pub struct Host {
    name: String,
    number: u8,
    namespace: Namespace,
    switch: Rc<Switch>,
    /// What its cable is made of, when that takes time.
    _delay: Option<Delay>,
}

impl Host {
    pub(super) fn new(switch: &Rc<Switch>, name: &str, number: u8, each_way: Duration) -> Self {
        let namespace = Namespace::new(format!("{}-{name}", switch.prefix()));
        let port = port(number);
        let delay = if each_way.is_zero() {
            namespace.ip(&format!(
                "link add eth0 type veth peer name {port} netns {}",
                switch.namespace().name()
            ));
            None
        } else {
            let far = format!("far{number}");
            let delay = Delay::between(switch.namespace(), &port, &far, each_way);
            let to = namespace.name();
            switch
                .namespace()
                .ip(&format!("link set {far} netns {to} name eth0"));
            Some(delay)
        };

        let host = Self {
            name: name.to_owned(),
            number,
            namespace,
            switch: Rc::clone(switch),
            _delay: delay,
        };

        let address = host.address();
        // An address of IPv6 would come a second later, and a browser gives up what it loads when its addresses change.
        host.namespace.ip("link set eth0 addrgenmode none");
        host.namespace
            .run(&format!("ethtool -K eth0 {SEGMENTATION_OFF}"));
        host.namespace.run(&format!("sysctl -qw {ASK_AGAIN}"));
        host.namespace
            .ip(&format!("addr add {address}/24 dev eth0"));
        host.namespace.ip("link set eth0 up");
        switch
            .namespace()
            .ip(&format!("link set {port} master br0 up"));
        host.namespace.wait_up("eth0");
        switch.count(&format!("to{number}"), &format!("ip daddr {address}"));
        switch.count(&format!("from{number}"), &format!("ip saddr {address}"));
        host
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// The words in front of a command line that is to run on this host, for `Launch::under`.
    #[must_use]
    pub fn enter(&self) -> [&str; 4] {
        self.namespace.enter()
    }

    /// Calls `act` on a thread that is on this host. Sockets made by it stay there, whoever uses them.
    ///
    /// # Panics
    /// When `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(act)
    }

    /// Runs a command on this host, its words split at spaces.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(&self, words: &str) -> String {
        self.namespace.run(words)
    }

    /// Pulls its cable out of the switch: the host sees no carrier, its addresses and routes stay.
    pub fn unplug(&self) {
        self.switch
            .namespace()
            .ip(&format!("link set {} down", self.port()));
    }

    /// Plugs it in again.
    pub fn plug(&self) {
        self.switch
            .namespace()
            .ip(&format!("link set {} up", self.port()));
    }

    /// From now on the switch loses so many of a hundred UDP datagrams to this host, each on its own.
    pub fn lose(&self, percent: f64) {
        let of_thousand = (percent * 10.0).round();
        self.lose_when(&format!("numgen random mod 1000 < {of_thousand}"));
    }

    /// From now on the switch loses so many of a hundred IP packets of any kind to this host, each on its own.
    pub fn lose_any(&self, percent: f64) {
        let of_thousand = (percent * 10.0).round();
        self.switch.rule(&format!(
            "ip daddr {} numgen random mod 1000 < {of_thousand} drop",
            self.address()
        ));
    }

    /// From now on the switch loses the last `length` datagrams to this host of every `every`, one behind the other.
    pub fn lose_bursts(&self, length: u32, every: u32) {
        self.lose_when(&format!("numgen inc mod {every} >= {}", every - length));
    }

    /// From now on the switch loses so many of a hundred datagrams that are sent to groups on their way to this host.
    pub fn lose_multicast(&self, percent: f64) {
        let of_thousand = (percent * 10.0).round();
        let port = self.port();
        let when = format!("numgen random mod 1000 >= {}", 1000.0 - of_thousand);
        self.switch.rule(&format!(
            "oifname {port} ip daddr 224.0.0.0/4 meta l4proto udp {when} drop"
        ));
    }

    fn lose_when(&self, when: &str) {
        self.switch.rule(&format!(
            "ip daddr {} meta l4proto udp {when} drop",
            self.address()
        ));
    }

    /// From now on nothing but so much passes the switch's port to this host; the queue before it is a switch's.
    pub fn limit(&self, megabits: u32) {
        self.limit_kilobits(megabits * 1_000);
    }

    /// As [`limit`](Self::limit), for narrow ways.
    pub fn limit_kilobits(&self, kilobits: u32) {
        let limit = format!("tbf rate {kilobits}kbit burst 32k latency {LIMIT_LATENCY}");
        self.switch.namespace().run(&format!(
            "tc qdisc replace dev {} root {limit}",
            self.port()
        ));
    }

    /// Takes the limit back.
    pub fn unlimit(&self) {
        self.switch
            .namespace()
            .run(&format!("tc qdisc del dev {} root", self.port()));
    }

    /// From now on this host itself sends no more than so much to `to`: a class of its own egress with a queue deeper
    /// than any socket's send buffer, against which the datagrams in it count.
    pub fn limit_class(&self, to: &Self, megabits: u32) {
        let tc = |words: &str| self.namespace.run(&format!("tc {words}"));
        tc("qdisc add dev eth0 root handle 1: htb default 20");
        tc(&format!(
            "class add dev eth0 parent 1: classid 1:10 htb rate {megabits}mbit"
        ));
        tc("class add dev eth0 parent 1: classid 1:20 htb rate 10gbit quantum 60000");
        tc("qdisc add dev eth0 parent 1:10 handle 10: pfifo limit 20000");
        let to = to.address();
        tc(&format!(
            "filter add dev eth0 parent 1: protocol ip u32 match ip dst {to}/32 flowid 1:10"
        ));
    }

    /// Takes that limit back.
    pub fn unlimit_classes(&self) {
        self.namespace.run("tc qdisc del dev eth0 root");
    }

    /// All IP packets that others have sent to it, counted where they enter the switch.
    #[must_use]
    pub fn traffic_to(&self) -> Traffic {
        self.switch.counted(&format!("to{}", self.number))
    }

    /// All IP packets that it has sent, counted where they enter the switch.
    #[must_use]
    pub fn traffic_from(&self) -> Traffic {
        self.switch.counted(&format!("from{}", self.number))
    }

    /// Its name in this laboratory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn port(&self) -> String {
        port(self.number)
    }
}

/// The name of the switch's port to host `number`.
fn port(number: u8) -> String {
    format!("p{number}")
}
