//! Which frames are not taken: of ways that are too long, and larger than there is memory for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use fanlight_proto::limits::MAX_HOPS;
use fanlight_proto::message::StreamName;

use super::StreamTable;
use crate::frame::LiveFrame;
use crate::slot::{Refused, Slot};

/// Frames that a stream with viewers holds at least: the one that comes in, the newest here, the newest in the engine, and its
/// datagrams (decision 060). A frame is at most this part of its stream's share of the memory.
const FRAMES_HELD: usize = 4;

impl StreamTable {
    /// Refuses a frame that came round, or too far.
    pub(super) const fn check_route(&self, frame: &LiveFrame) -> Result<(), Refused> {
        if frame.route.hops > 0 && frame.route.first == self.relay {
            return Err(Refused::Loop);
        }
        if frame.route.hops > MAX_HOPS {
            return Err(Refused::TooFar);
        }
        Ok(())
    }

    /// Refuses a frame of which a stream could not hold as many as it must.
    pub(super) fn check_size(
        &self,
        streams: &BTreeMap<StreamName, Arc<Slot>>,
        frame: &LiveFrame,
    ) -> Result<(), Refused> {
        let sharing = streams.len() + usize::from(!streams.contains_key(&frame.stream));
        let limit = self.stream_memory.load(Relaxed) / sharing / FRAMES_HELD;
        let bytes = frame.body.len();
        if bytes > limit {
            return Err(Refused::TooLarge { bytes, limit });
        }
        Ok(())
    }
}
