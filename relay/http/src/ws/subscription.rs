//! One stream as the client of a WebSocket wants it. The relay may not have it yet.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanlight_live::ledger::Charge;
use fanlight_live::{ClientHandle, FrameSubscription, MAX_CREDIT, Output, Subscribe};
use fanlight_proto::clock::Time;
use fanlight_proto::frame_message::Content;
use fanlight_proto::message::StreamName;
use tokio::sync::Notify;

use super::message;
use super::viewer::Viewer;
use crate::{TCP, WS};

/// Frames that a client gets before it gives credit.
const FIRST_CREDIT: u32 = 1;

/// See the module.
pub(crate) struct Subscription {
    /// The client's number for it.
    pub(super) id: u32,
    pub(super) stream: StreamName,
    /// The viewer that it is for, if it is not for a page or a program.
    pub(super) viewer: Option<Viewer>,
    fps: Option<f64>,
    /// Of the first frames, should the relay not have the stream yet.
    credit: u32,
    frames: Option<FrameSubscription>,
}

impl Subscription {
    pub(super) const fn new(id: u32, stream: StreamName, fps: Option<f64>) -> Self {
        Self {
            id,
            stream,
            viewer: None,
            fps,
            credit: FIRST_CREDIT,
            frames: None,
        }
    }

    pub(super) fn for_viewer(id: u32, stream: StreamName, viewer: Viewer) -> Self {
        Self {
            viewer: Some(viewer),
            ..Self::new(id, stream, None)
        }
    }

    /// Subscribes, if the relay has the stream and this is not done.
    pub(super) fn attach(
        &mut self,
        output: &Output,
        address: SocketAddr,
        charge: &Arc<Charge>,
        wake: &Arc<Notify>,
    ) {
        let paused = self.viewer.as_ref().is_some_and(|viewer| viewer.paused);
        if paused {
            self.frames = None;
            self.credit = FIRST_CREDIT;
            return;
        }

        self.frames.take_if(|frames| frames.is_closed());
        if self.frames.is_some() {
            return;
        }

        let kind = if self.viewer.is_some() { TCP } else { WS };
        let options = Subscribe {
            client: Some((kind, address)),
            fps: self.fps,
            credit: Some(self.credit),
            charge: Some(Arc::clone(charge)),
            wake: Arc::clone(wake),
        };

        self.frames = output.subscribe(&self.stream, options);
        if let (Some(viewer), Some(client)) = (&self.viewer, self.client()) {
            client.set_name(&viewer.name);
        }
    }

    /// The client as the registry has it, while the relay has the stream.
    pub(super) fn client(&self) -> Option<&ClientHandle> {
        self.frames.as_ref()?.client()
    }

    pub(super) fn add_credit(&mut self) {
        match &mut self.frames {
            Some(frames) => frames.add_credit(),
            None => self.credit = (self.credit + 1).min(MAX_CREDIT),
        }
    }

    pub(super) fn set_rate(&mut self, fps: Option<f64>) {
        self.fps = fps;
        self.frames
            .iter_mut()
            .for_each(|frames| frames.set_rate(fps));
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.frames
            .as_ref()
            .is_some_and(|frames| frames.is_due(now))
    }

    pub(super) fn awaits_credit(&self) -> bool {
        self.frames
            .as_ref()
            .is_some_and(FrameSubscription::awaits_credit)
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.frames.as_ref()?.deadline()
    }

    /// The message of the frame that is due.
    pub(super) fn take(&mut self, now: Time) -> Option<Bytes> {
        let arrival = self.frames.as_mut()?.try_next(now)?;
        let content = match &mut self.viewer {
            Some(viewer) => {
                viewer.skipped += arrival.superseded.min(arrival.skipped);
                Content::Frame
            }
            None => Content::Jpeg,
        };

        Some(message::frame(now, self.id, content, &arrival))
    }
}
