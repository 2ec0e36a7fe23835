//! Handling of what relays send: shards of frames, control messages, and the end of sessions.
//!
//! The engine calls it for each datagram, on the thread of its socket.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToViewer};
use fanlight_proto::message::{Accept, Pulse, Refuse};
use fanlight_proto::reassembly::CompleteFrame;

use super::path::Path;
use super::session::{Session, Withheld};
use super::{Engine, LinkState, Output, ReceivedFrame, Request};

/// A viewer that may show any stream stays with the one it got until that is unknown for so long.
const STREAM_STICKINESS: Duration = Duration::from_secs(3);

impl Engine {
    /// Takes media that was sent to path `at` alone; none when it is not of this conversation.
    pub(super) fn on_unicast(
        &mut self,
        now: Time,
        at: usize,
        header: &DataHeader,
        datagram: &mut [u8],
    ) -> Option<()> {
        self.on_data(now, at, header, datagram)?;
        let progress = self.paths[at].session.as_mut()?.progress(header);
        let told = progress.map(|datagram| Output::Send(at, datagram));
        self.shared.outputs.extend(told);
        Some(())
    }

    /// None when it is not of this conversation.
    pub(super) fn on_data(
        &mut self,
        now: Time,
        at: usize,
        header: &DataHeader,
        datagram: &mut [u8],
    ) -> Option<()> {
        let path = &mut self.paths[at];
        let session = path
            .session
            .as_mut()
            .filter(|session| session.alias == header.alias)?;

        let shard = session.shard(header, datagram)?;
        if session.is_newest(header) {
            self.reassembly.on_newest(now, header.id, session.epoch);
        }

        session.on_media(now, header);
        path.note_media(now, header);
        path.note_received(now);

        if let Some(whole) = self.reassembly.on_shard(now, header, shard) {
            self.on_whole(now, at, whole);
        }

        Some(())
    }

    pub(super) fn on_whole(&mut self, now: Time, at: usize, whole: CompleteFrame) {
        let path = &mut self.paths[at];
        let Some(session) = &path.session else { return };
        let topic = session.topic.clone();
        let relayed = path.received_at(now, whole.received_us);
        path.link.frame = Some(now);

        if let Some(standby) = &mut self.standby {
            standby.on_frame(now);
        }

        self.display.on_frame(now, self.frame_timeout());
        self.assess(now);
        self.shared.outputs.push_back(Output::Frame(ReceivedFrame {
            topic,
            whole,
            relayed,
            arrived: now,
        }));
    }

    /// Whether it is of this conversation.
    pub(super) fn on_message(&mut self, now: Time, at: usize, message: ToViewer<'_>) -> bool {
        let path = &mut self.paths[at];
        let shared = &mut self.shared;

        match message {
            ToViewer::Challenge(challenge) => {
                path.on_challenge(now, shared, challenge, self.reassembly.counts().whole)
            }
            ToViewer::Accept(accept) => self.on_accept(now, at, accept),
            ToViewer::Refuse(refuse) => self.on_refuse(now, at, &refuse),
            ToViewer::Reset(session) => self.on_reset(now, at, session),
            ToViewer::Sealed(session, counter, ciphertext) => {
                self.on_sealed(now, at, session, counter, ciphertext)
            }
            ToViewer::Pulse(session, _)
            | ToViewer::Direct(session, _)
            | ToViewer::Goodbye(session, _)
                if path
                    .session_named(session)
                    .is_some_and(|session| session.is_sealed()) =>
            {
                false
            }
            message => self.on_session_message(now, at, &message),
        }
    }

    fn on_sealed(
        &mut self,
        now: Time,
        at: usize,
        id: u64,
        counter: u64,
        ciphertext: &[u8],
    ) -> bool {
        let session = self.paths[at].session_named(id);
        let Some(plaintext) = session.and_then(|session| session.open(counter, ciphertext)) else {
            return false;
        };
        ToViewer::parse_inner(id, &plaintext)
            .is_ok_and(|message| self.on_session_message(now, at, &message))
    }

    /// A message that only the relay of the session can have sent.
    fn on_session_message(&mut self, now: Time, at: usize, message: &ToViewer<'_>) -> bool {
        match message {
            ToViewer::Pulse(session, pulse) => self.on_pulse(now, at, *session, pulse),
            ToViewer::Direct(session, direct) => self.on_direct(now, at, *session, direct),
            ToViewer::Goodbye(session, _) => self.on_end(now, at, *session),
            _ => false,
        }
    }

    /// A relay that does not know a session cannot prove that it is the relay: a sealed one goes on until there is
    /// another.
    fn on_reset(&mut self, now: Time, at: usize, id: u64) -> bool {
        let Some(session) = self.paths[at].session_named(id) else {
            return false;
        };

        if !session.is_sealed() {
            return self.on_end(now, at, id);
        }

        self.paths[at].start_joining(now, &mut self.shared);
        true
    }

    fn on_pulse(&mut self, now: Time, at: usize, id: u64, pulse: &Pulse) -> bool {
        let total = self.total_report(now);
        self.paths[at].on_group_offer(now, &mut self.shared, id, pulse);
        let Some(session) = self.paths[at].on_pulse(now, id, pulse) else {
            return false;
        };

        let withheld = Withheld {
            skipped: pulse.frames_skipped,
            aborted: pulse.frames_aborted,
        };

        session.on_withheld(withheld, &total);
        session.learn(&pulse.keys);
        session.on_consent(pulse.consent);
        self.detection_sender.on_verdict(now, at, pulse.verdict);
        session.pause = Duration::from_micros(pulse.pause_us.into());
        let pause = self
            .paths
            .iter()
            .filter_map(|path| path.session.as_ref())
            .map(|session| session.pause)
            .max();

        self.reassembly.set_pause(pause.unwrap_or_default());
        if let Some(round_trip) = self
            .paths
            .iter()
            .filter_map(|path| path.smoothed_round_trip)
            .min()
        {
            self.reassembly.set_round_trip(round_trip);
        }
        self.assess(now);
        true
    }

    fn on_accept(&mut self, now: Time, at: usize, accept: Accept) -> bool {
        // Also a repeated answer to an attempt that has succeeded: the relay keeps the session it named last.
        if accept.nonce != self.paths[at].nonce {
            return false;
        }

        let Some((accept, seal)) = self.paths[at].opened(now, &mut self.shared, accept) else {
            return false;
        };

        if self.shared.config.request == Request::List {
            self.paths[at].joining = None;
            self.shared
                .outputs
                .push_back(Output::List(accept.streams, accept.total_streams));
            return true;
        }

        if self.paths[at].session_named(accept.session).is_none() {
            self.retire_session(at);
        }

        let total = self.total_report(now);
        let (good, opened) = self.paths[at].on_accept(now, &mut self.shared, &accept, seal, total);
        if opened {
            self.on_session(now, at);
        }

        good
    }

    /// A session has opened on path `at`.
    fn on_session(&mut self, now: Time, at: usize) {
        let others = self
            .paths
            .iter()
            .enumerate()
            .any(|(other, path)| other != at && path.is_active());

        if !others {
            self.reassembly.on_away();
        }

        if let Some(session) = &self.paths[at].session {
            self.shared.sticky_stream = Some((session.name.clone(), None));
            self.stream = Some(session.name.clone());
        }

        // A connection brings what its relay sends, and nothing else.
        let is_authentic =
            |path: &Path| path.is_tcp || path.session.as_ref().is_none_or(Session::is_sealed);
        self.reassembly
            .set_authentic(self.paths.iter().all(is_authentic));
        self.assess(now);
    }

    fn on_refuse(&mut self, now: Time, at: usize, refuse: &Refuse) -> bool {
        if self.paths[at].has_nothing_to_list(&self.shared, refuse) {
            self.paths[at].joining = None;
            self.shared.outputs.push_back(Output::List(Vec::new(), 0));
            return true;
        }

        if self.paths[at].on_stream_available(now, &mut self.shared, refuse) {
            return true;
        }

        let Some(link_state) = self.paths[at].on_refuse(now, &mut self.shared, refuse) else {
            return false;
        };

        if matches!(link_state, LinkState::NoSuchStream { .. })
            && self.paths.iter().all(|path| path.session.is_none())
        {
            self.release_sticky_stream(now);
        }
        self.assess(now);
        true
    }

    /// RESET or GOODBYE.
    fn on_end(&mut self, now: Time, at: usize, id: u64) -> bool {
        if self.paths[at].session_named(id).is_none() {
            return false;
        }

        self.retire_session(at);
        self.paths[at].on_end(now, &mut self.shared, id);
        if !self.paths.iter().any(Path::is_active) {
            self.reassembly.on_away();
        }

        true
    }

    /// Keeps what the session of path `at` withheld: it is about to end.
    pub(super) fn retire_session(&mut self, at: usize) {
        if let Some(session) = &mut self.paths[at].session {
            let withheld = std::mem::take(&mut session.withheld);
            self.withheld_before.skipped += withheld.skipped;
            self.withheld_before.aborted += withheld.aborted;
        }
    }

    /// No relay knows the stream; who may show any one asks for any after a while.
    fn release_sticky_stream(&mut self, now: Time) {
        if let Some((_, unknown)) = &mut self.shared.sticky_stream
            && now.saturating_since(*unknown.get_or_insert(now)) >= STREAM_STICKINESS
        {
            self.shared.sticky_stream = None;
        }
    }
}
