//! Looks whether the list of viewers' keys has changed.

use std::fs;
use std::time::{Duration, SystemTime};

use fanlight_proto::clock::Time;
use fanlight_proto::handshake::RelayAccess;

use crate::config::{Access, Config};

/// Pause between two looks: with the second that a viewer's key stays in use after it is taken out, less than the 3 s
/// of promise P28.
const INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(super) struct AccessWatch {
    /// None when there is no list.
    config: Option<Config>,
    next: Time,
    seen: Option<Mark>,
    failed: bool,
}

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    changed: SystemTime,
    bytes: u64,
    node: u64,
}

impl AccessWatch {
    /// The list has just been read.
    pub(super) fn new(config: &Config) -> Self {
        let config = (config.access == Access::Keys).then(|| config.clone());
        let seen = config.as_ref().and_then(mark);
        Self { config, next: Time::default(), seen, failed: false }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Option<Time> {
        self.config.is_some().then_some(self.next)
    }

    /// Whom to let in from now on, when that has changed. A list that cannot be read changes nothing, but that is said.
    pub(super) fn due(&mut self, now: Time) -> Option<RelayAccess> {
        let config = self.config.as_ref()?;
        if now < self.next {
            return None;
        }
        self.next = now + INTERVAL;
        let mark = mark(config);
        if mark == self.seen && !self.failed {
            return None;
        }
        self.seen = mark;
        match config.relay_access() {
            Ok(access) => {
                self.failed = false;
                tracing::info!("the list of viewers' keys has changed");
                Some(access)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!("the list of viewers' keys has changed and is not used: {error}");
                }
                None
            }
        }
    }
}

fn mark(config: &Config) -> Option<Mark> {
    use std::os::unix::fs::MetadataExt;
    let path = config.viewer_keys.as_ref()?.resolve().ok()?;
    let metadata = fs::metadata(path).ok()?;
    Some(Mark { changed: metadata.modified().ok()?, bytes: metadata.len(), node: metadata.ino() })
}
