//! The setting of segmentation offload: one system call hands the kernel many datagrams.

use clap::ValueEnum;

/// Whether the kernel cuts a batch into datagrams (UDP_SEGMENT, udp(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Gso {
    /// When the kernel and the device can.
    Auto,
    /// Always; what cannot be sent so is lost.
    On,
    /// Never.
    Off,
}

fanlight_daemon::display_choice!(Gso);
