//! What the kernel says of a device and of the sockets of a namespace.

use std::fs;

use super::run;

/// Counts that never fall.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Bytes that went out by the device.
    bytes: u64,
    /// What was lost before it: in a queue, or for want of room in a socket's send buffer.
    lost: u64,
}

impl Tally {
    pub(super) fn of(device: &str, has_queue: bool) -> Self {
        let queued = if has_queue {
            dropped_by_queues(device)
        } else {
            0
        };

        Self {
            bytes: bytes_out(device),
            lost: queued + send_buffer_errors(),
        }
    }

    /// Whether since `before` at least `bytes` went out and nothing was lost.
    pub(crate) fn carried(&self, before: &Self, bytes: u64) -> bool {
        self.lost == before.lost && self.bytes - before.bytes >= bytes
    }
}

/// What the device says that it took, headers with it. One that eats its packets counts them as received: by its own
/// light they have come in.
fn bytes_out(device: &str) -> u64 {
    let column = if device == "lo" { 8 } else { 0 };
    let lines = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let figures = lines
        .lines()
        .find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    figures
        .and_then(|figures| figures.split_whitespace().nth(column)?.parse().ok())
        .unwrap_or_default()
}

/// SndbufErrors of UDP, from a line of names and one of figures.
fn send_buffer_errors() -> u64 {
    let lines = fs::read_to_string("/proc/self/net/snmp").unwrap_or_default();
    let mut udp = lines
        .lines()
        .filter(|line| line.starts_with("Udp:"))
        .map(str::split_whitespace);

    let (Some(names), Some(figures)) = (udp.next(), udp.next()) else {
        return 0;
    };

    let found = names.zip(figures).find(|(name, _)| *name == "SndbufErrors");
    found
        .and_then(|(_, figure)| figure.parse().ok())
        .unwrap_or_default()
}

/// The sum of what `tc` calls dropped.
fn dropped_by_queues(device: &str) -> u64 {
    let told = run(&format!("tc -s qdisc show dev {device}")).unwrap_or_default();
    let figures = told.split("dropped ").skip(1);
    figures
        .filter_map(|rest| rest.split([',', ' ']).next()?.parse::<u64>().ok())
        .sum()
}
