//! Paths over TCP: connections that come and go, frames that come whole, and the credit for more. Control messages are
//! those of UDP.
//!
//! The engine's caller calls it on the thread of its sockets.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::frame_message::{Content, FrameMessage};

use super::path::Path;
use super::{Engine, LinkState, Output};

/// Why no session can be opened is told until the next attempt to connect has had its time.
const NEXT_ATTEMPT: Duration = Duration::from_secs(2);

impl Engine {
    /// Whether path `at` needs its connection at present.
    ///
    /// # Panics
    /// When there is no such path.
    #[must_use]
    pub fn wants_connection(&self, at: usize) -> bool {
        let mut fallbacks = self.fallbacks.iter();
        self.paths[at].is_tcp && fallbacks.all(|fallback| fallback.wants_connection(at))
    }

    /// Path `at` is connected.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_connected(&mut self, now: Time, at: usize) {
        self.paths[at].start_joining(now, &mut self.shared);
    }

    /// The connection of path `at` is gone.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_disconnected(&mut self, now: Time, at: usize) {
        self.retire_session(at);
        self.paths[at].on_disconnected();
        if !self.paths.iter().any(Path::is_active) {
            self.reassembly.on_away();
        }

        self.assess(now);
    }

    /// What answers path `at` is no relay that lets this viewer in, and why, for people.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_rejected(&mut self, now: Time, at: usize, why: String) {
        let rejected = LinkState::Rejected(why);
        self.paths[at].link.on_refusal(rejected, now + NEXT_ATTEMPT);
        self.assess(now);
    }

    /// Takes a binary message that came by the connection of path `at`: a frame, or a control datagram.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_message_of(&mut self, now: Time, at: usize, message: &[u8]) {
        if !FrameMessage::begins(message) {
            return self.on_datagram(now, at, &mut message.to_vec());
        }

        let summary = &mut self.paths[at].summary;
        summary.datagrams += 1;
        summary.bytes += message.len() as u64;
        if self.take_frame(now, at, message).is_none() {
            self.foreign += 1;
        }
    }

    /// A part of a message came by the connection of path `at`: it is alive, however long a frame takes.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_part(&mut self, now: Time, at: usize) {
        let path = &mut self.paths[at];
        if path.session.is_some() && path.joining.is_none() {
            path.note_received(now);
        }
    }

    /// None when it is not of this conversation.
    fn take_frame(&mut self, now: Time, at: usize, message: &[u8]) -> Option<()> {
        let (said, body) = FrameMessage::parse(message)?;
        let path = &mut self.paths[at];
        let (trip, interval) = (path.shortest_round_trip, path.link.interval());
        let session = path.session.as_mut().filter(|session| {
            session.id == u64::from(said.subscription) && said.content == Content::Frame
        })?;

        self.reassembly.on_newest(now, said.id, session.epoch);
        let credit = session.on_frame(now, &said, trip, interval);
        path.note_frame(now);
        path.note_received(now);
        let credit = Output::Credit(at, said.subscription, credit);
        self.shared.outputs.push_back(credit);

        let lost_upstream = u64::from(said.skipped.saturating_sub(said.superseded));
        if let Some(whole) = self.reassembly.on_frame(now, said.id, body, lost_upstream) {
            self.on_whole(now, at, whole);
        }

        Some(())
    }
}
