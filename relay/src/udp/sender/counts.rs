//! What happened to datagrams on their way out.

/// What happened. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams handed to the kernel.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the datagrams, those of parity.
    pub parity: u64,
    /// Frames given up part-way for one viewer because there was no room in time.
    pub aborted: u64,
    /// Frames not begun for one viewer, because the one before was still on its way or there was no room in time.
    pub skipped: u64,
    /// Frames given up for one viewer, and other datagrams, because sending failed.
    pub failed: u64,
    /// Other datagrams that found no room.
    pub buffer_full: u64,
}
