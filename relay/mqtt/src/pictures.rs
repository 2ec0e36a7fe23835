//! Pictures for Home Assistant's cameras: now and then the newest of each stream, as it came from the source.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fanlight_live::StreamTable;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};

/// Larger pictures are not published, in bytes: they are for a small card of a page.
const MAX_PICTURE: usize = 1 << 20;

/// When pictures are due.
#[derive(Debug)]
pub(crate) struct Pictures {
    interval: Duration,
    /// As many as there are streams.
    published: BTreeMap<StreamName, (Time, FrameId)>,
}

impl Pictures {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            published: BTreeMap::new(),
        }
    }

    /// A picture that is due, if there is one: newer than the last one, and not old. The source is not asked for it, so one
    /// that nobody watches may sleep.
    pub(crate) fn next(&mut self, table: &StreamTable, now: Time) -> Option<(StreamName, Bytes)> {
        let status = table.status();
        let is_listed = |name: &StreamName| status.streams.iter().any(|entry| entry.name == *name);
        self.published.retain(|name, _| is_listed(name));

        for entry in &status.streams {
            let last = self.published.get(&entry.name);
            if last.is_some_and(|(at, _)| now.saturating_since(*at) < self.interval) {
                continue;
            }

            let Some(frame) = table.newest(&entry.name) else {
                continue;
            };
            let is_new = last.is_none_or(|(_, id)| *id != frame.id);
            let is_fresh = now.saturating_since(frame.received) < self.interval;
            if is_new && is_fresh && frame.jpeg.len() <= MAX_PICTURE {
                self.published.insert(entry.name.clone(), (now, frame.id));
                return Some((entry.name.clone(), frame.jpeg.clone()));
            }
        }

        None
    }
}
