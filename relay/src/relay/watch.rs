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
        Self {
            config,
            next: Time::default(),
            seen,
            failed: false,
        }
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
                    tracing::warn!(
                        "the list of viewers' keys has changed and is not used: {error}"
                    );
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
    Some(Mark {
        changed: metadata.modified().ok()?,
        bytes: metadata.len(),
        node: metadata.ino(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanlight_daemon::keys;
    use fanlight_proto::handshake::PrivateKey;

    fn at(millis: u64) -> Time {
        Time::default() + Duration::from_millis(millis)
    }

    #[test]
    fn a_list_that_changes_is_read_again_and_a_damaged_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (own, list) = (folder.path().join("own"), folder.path().join("viewers"));
        keys::write(&own, &PrivateKey::new([1; 32]).to_text()).unwrap();
        let line = |n| format!("{} screen {n}\n", PrivateKey::new([n; 32]).public());
        fs::write(&list, line(2) + &line(3)).unwrap();
        let path = |path: &std::path::Path| Some(path.to_str().unwrap().parse().unwrap());
        let config = Config {
            access: Access::Keys,
            key_file: path(&own),
            viewer_keys: path(&list),
            ..Config::default()
        };

        config.check().unwrap();
        let mut watch = AccessWatch::new(&config);
        assert!(watch.due(at(500)).is_none());
        fs::write(&list, line(3)).unwrap();
        assert!(watch.due(at(600)).is_none());

        let Some(RelayAccess::Keys { viewers, .. }) = watch.due(at(1000)) else {
            panic!("the list has changed")
        };

        assert_eq!(viewers.len(), 1);
        fs::write(&list, "no key at all\n").unwrap();
        assert!(watch.due(at(1500)).is_none());
        fs::write(&list, "").unwrap();
        assert!(
            matches!(watch.due(at(2000)), Some(RelayAccess::Keys { viewers, .. }) if viewers.is_empty())
        );
        assert!(watch.due(at(2500)).is_none());
    }

    #[test]
    fn without_a_list_there_is_nothing_to_watch() {
        assert_eq!(AccessWatch::new(&Config::default()).next(), None);
    }
}
