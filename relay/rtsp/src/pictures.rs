//! The newest picture of each stream as RTP/JPEG: read once for all sessions.

use std::collections::HashMap;
use std::sync::Arc;

use fanlight_live::LiveFrame;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{FrameId, StreamName};
use parking_lot::Mutex;

use crate::jpeg::Picture;
use crate::unsuitable::Unsuitable;

type Parsed = Result<Arc<Picture>, Unsuitable>;

/// At most [`MAX_STREAMS`] pictures.
#[derive(Debug, Default)]
pub(crate) struct Pictures(Mutex<HashMap<StreamName, (FrameId, Parsed)>>);

impl Pictures {
    /// The picture of `frame`.
    pub(crate) fn of(&self, frame: &LiveFrame) -> Parsed {
        let mut pictures = self.0.lock();
        if let Some((id, picture)) = pictures.get(&frame.stream)
            && *id == frame.id
        {
            return picture.clone();
        }

        let picture = Picture::parse(&frame.jpeg).map(Arc::new);
        if pictures.len() >= MAX_STREAMS && !pictures.contains_key(&frame.stream) {
            pictures.clear();
        }
        pictures.insert(frame.stream.clone(), (frame.id, picture.clone()));
        picture
    }
}
