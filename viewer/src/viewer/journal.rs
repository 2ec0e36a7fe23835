//! The journal of a screen, when its owner wants one: a line of JSON for each frame shown, in a file of bounded length. The thread
//! that shows pictures calls it; a thread of its own writes, so that nothing waits for the disk.

use std::io::Write as _;
use std::path::Path;

use fanlight_daemon::clock;
use fanlight_daemon::logfile::{LogFile, Plan};
use serde_json::json;

use crate::stats::Presented;

/// Bytes of the file in use, and of the one before: 50 minutes each at 30 frames a second.
const FILE_BYTES: u64 = 10_000_000;

/// The file.
#[derive(Debug)]
pub(super) struct Journal(LogFile);

impl Journal {
    /// Goes on with the file, or begins it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn open(file: &Path) -> anyhow::Result<Self> {
        let plan = Plan {
            path: file.to_owned(),
            size: FILE_BYTES,
            files: 2,
        };
        Ok(Self(LogFile::open(plan)?))
    }

    /// Notes a frame that is on the screen now.
    pub(super) fn note(&self, presented: &Presented) {
        let info = &presented.info;
        let hash = info
            .traced
            .map(|traced| format!("{:016x}", traced.jpeg_hash));
        let line = json!({
            "at_ms": clock::unix_millis(),
            "stream": info.stream.as_str(),
            "epoch": format!("{:016x}", info.id.epoch),
            "number": info.id.number,
            "hash": hash,
        });
        // It never fails: what could not be written is counted there.
        let _ = self.0.writer()().write_all(format!("{line}\n").as_bytes());
    }
}
