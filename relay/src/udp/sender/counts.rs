//! What the sender counts.

/// What the sender did. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams handed to the kernel.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the datagrams, those of parity.
    pub parity: u64,
    /// Frames aborted in the middle for one viewer, because there was no room in time.
    pub aborted: u64,
    /// Frames not started for one viewer, because the one before was still being sent or there was no
    /// room in time.
    pub skipped: u64,
    /// Frames aborted for one viewer, and other datagrams, because sending failed.
    pub failed: u64,
    /// Other datagrams that found no room.
    pub buffer_full: u64,
}
