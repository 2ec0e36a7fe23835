//! The messages of a session: what a viewer says, and what it is told.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use fanlight_live::ledger::Resource;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::message::{FrameId, KeepAlive, Progress, Pulse, Repair};

use super::Engine;
use super::client_screens::ScreenKey;
use super::log_limits::LogLine;
use super::output::{FrameTransmit, Output, ReadProgress, Retransmit, Route};
use super::packetize::repair_ranges;
use super::pulse::PulseContext;

impl Engine {
    /// Opens a sealed message. One that does not open may be forged, and is not answered.
    pub(super) fn on_sealed(&mut self, now: Time, from: Route, id: u64, sealed: (u64, &[u8])) {
        let Some(session) = self.sessions.by_id(from.remote, id) else {
            return self.reset(now, from, id);
        };

        let Some(plaintext) = session.auth.open(sealed.0, sealed.1) else {
            return self.on_unauthentic(now, from);
        };

        match ToRelay::parse_inner(id, &plaintext) {
            Ok(message) => self.on_message(now, from, message, true),
            Err(error) => self.on_malformed(now, from, error),
        }
    }

    /// Takes a message of a session, which is `sealed` if and only if the session is.
    pub(super) fn on_message(
        &mut self,
        now: Time,
        from: Route,
        message: ToRelay<'_>,
        sealed: bool,
    ) {
        let (ToRelay::KeepAlive(id, _)
        | ToRelay::Repair(id, _)
        | ToRelay::Progress(id, _)
        | ToRelay::Detections(id, _)
        | ToRelay::ScreenReport(id, _)
        | ToRelay::Goodbye(id, _)) = message
        else {
            return;
        };

        let Some(session) = self.sessions.by_id(from.remote, id) else {
            // A GOODBYE wants no answer.
            if !matches!(message, ToRelay::Goodbye(..)) {
                self.reset(now, from, id);
            }
            return;
        };

        if session.auth.is_sealed() != sealed {
            return self.on_unauthentic(now, from);
        }

        // Whoever claims to have seen what was never sent does not see what is sent.
        if let ToRelay::KeepAlive(_, body) = &message
            && let Some(stream) = self.streams.by_alias(session.alias)
            && body.newest_sequence > stream.newest_sequence()
        {
            return self.on_unsent_sequence(now, from);
        }

        session.heard = now;
        let alias = session.alias;
        match message {
            ToRelay::KeepAlive(_, body) => self.on_keep_alive(now, from, &body),
            ToRelay::Repair(_, body) => self.on_repair(now, from, &body),
            ToRelay::Progress(_, body) => self.on_progress(from, alias, body),
            ToRelay::Detections(_, body) => self.on_detections(now, from, body),
            ToRelay::ScreenReport(_, body) => {
                self.on_screen_report(now, ScreenKey::Viewer(from.remote), body);
            }
            _ => self.leave(now, from, "said goodbye"),
        }
    }

    /// Counts a frame that did not go out whole to the viewer, or the group, at `to`; `begun`: a part
    /// of it did.
    pub fn on_aborted(&mut self, to: SocketAddr, begun: bool) {
        self.counts.aborted += u64::from(begun);
        let multicast = self.config.multicast;
        let slot = multicast.and_then(|multicast| multicast.slot(to));

        let Some(stream) = self.streams.iter().find(|stream| Some(stream.slot) == slot) else {
            if let Some(session) = self.sessions.get_mut(to) {
                session.delivery.on_aborted(begun);
            }
            return;
        };

        for address in stream.members() {
            if let Some(session) = self.sessions.get_mut(*address)
                && session.delivery.is_by_multicast()
            {
                session.delivery.on_aborted(begun);
            }
        }
    }

    /// Sends the newest frame to a viewer that lacks it, as part of what it may be sent besides the
    /// stream's frames.
    pub(super) fn catch_up(&mut self, now: Time, address: SocketAddr) {
        let Some(session) = self.sessions.get_mut(address) else {
            return;
        };

        let Some(stream) = self.streams.by_alias_mut(session.alias) else {
            return;
        };

        let may_catch_up = |shards| session.delivery.may_catch_up(now, shards);
        if !stream.shards().is_some_and(may_catch_up) || !self.ledger.has_catch_up(now) {
            return;
        }

        let Some((packets, interval)) = stream.catch_up(now) else {
            return;
        };

        self.ledger.take_catch_up(now);
        session
            .delivery
            .on_catch_up(now, packets.sequence(), packets.shards());
        let targets = Arc::new(vec![session.target(packets.shards(), interval)]);
        self.outputs.push_back(Output::Transmit(FrameTransmit {
            alias: stream.alias,
            packets,
            targets,
            first: 0,
            interval,
            catch_up: true,
        }));
    }

    /// Sends PULSE to all viewers of a stream.
    pub(super) fn pulse_all(&mut self, now: Time, alias: u16) {
        let Some(stream) = self.streams.by_alias(alias) else {
            return;
        };

        let context = PulseContext {
            now,
            token_key: &self.token_key,
            clocks: &self.clocks,
            multicast: self.config.multicast.as_ref(),
        };

        for address in stream.members() {
            let Some(session) = self.sessions.get_mut(*address) else {
                continue;
            };

            let pulse = context.pulse(Some(stream), session);
            let datagram = session.encode(&ToViewer::Pulse(session.id, pulse));
            self.outputs.push_back(Output::Send {
                to: session.route,
                datagram,
            });
        }
    }

    fn on_keep_alive(&mut self, now: Time, from: Route, body: &KeepAlive) {
        let Some(session) = self.sessions.get_mut(from.remote) else {
            return;
        };

        session.auth.on_key_generation(body.key_generation);
        let consent = self
            .token_key
            .consent_until(now, session.id, body.consent)
            .is_some_and(|until| session.delivery.on_consent(now, until));
        let multicast = self.config.multicast.as_ref();
        let outcome = session
            .delivery
            .on_keep_alive(now, session.route, multicast, body);

        let context = PulseContext {
            now,
            token_key: &self.token_key,
            clocks: &self.clocks,
            multicast,
        };

        let pulse = Pulse {
            echo_us: body.sent_us,
            ..context.pulse(self.streams.by_alias(session.alias), session)
        };

        let datagram = session.encode(&ToViewer::Pulse(session.id, pulse));
        self.outputs.push_back(Output::Send { to: from, datagram });

        if outcome.left_group {
            self.counts.left_groups += 1;
            if let Some(count) = self.log_limits.note(LogLine::LeftGroups, now) {
                let what = "viewers that multicast serves badly get unicast";
                session
                    .span
                    .in_scope(|| tracing::info!(count, name = %session.label, "{what}"));
            }
        }

        if outcome.needs_catch_up || consent {
            self.catch_up(now, from.remote);
        }
    }

    fn on_progress(&mut self, from: Route, alias: u16, body: Progress) {
        self.outputs.push_back(Output::Progress(ReadProgress {
            from: from.remote,
            alias,
            sequence: body.sequence,
            reach: u16::try_from(body.reach).unwrap_or(u16::MAX),
        }));
    }

    fn on_repair(&mut self, now: Time, from: Route, body: &Repair) {
        let Some(session) = self.sessions.get_mut(from.remote) else {
            return;
        };

        let id = FrameId {
            epoch: body.epoch,
            number: body.number,
        };

        let stream = self
            .streams
            .by_alias(session.alias)
            .filter(|stream| u32::from(stream.alias) == body.alias);

        let Some((stream, packets)) =
            stream.and_then(|stream| Some((stream, stream.retransmit_buffer().find(id)?)))
        else {
            return;
        };

        // Shards that exist, each once: whatever else is claimed is not believed.
        let asked = shards_of(&repair_ranges(&body.ranges, packets.shards(), u32::MAX));
        let budget = session.delivery.repair_budget(now);
        let ranges = repair_ranges(&body.ranges, packets.shards(), budget);
        let count = shards_of(&ranges);
        self.counts.repairs_asked += u64::from(asked);
        self.ledger
            .refusals
            .note(Resource::Repairs, u64::from(asked - count));
        if count == 0 {
            return;
        }

        session.delivery.on_repair(now, count);
        self.counts.repairs_sent += u64::from(count);
        let by_multicast = session.delivery.is_by_multicast();
        let first_sent_to = match self.config.multicast.filter(|_| by_multicast) {
            Some(multicast) => multicast.route(stream.slot),
            None => from,
        };

        self.outputs.push_back(Output::Retransmit(Retransmit {
            to: from,
            first_sent_to,
            packets: packets.clone(),
            ranges,
        }));
    }

    fn on_unsent_sequence(&mut self, now: Time, from: Route) {
        self.counts.unsent_sequences += 1;
        if let Some(count) = self.log_limits.note(LogLine::UnsentSequences, now) {
            let what = "keep-alives dropped that claim media which was never sent";
            tracing::info!(count, from = %from.remote, "{what}");
        }
    }

    fn on_unauthentic(&mut self, now: Time, from: Route) {
        self.counts.unauthentic += 1;
        if let Some(count) = self.log_limits.note(LogLine::Unauthentic, now) {
            let what = "messages dropped that the viewer of a sealed session has not sealed";
            tracing::info!(count, from = %from.remote, "{what}");
        }
    }
}

fn shards_of(ranges: &[Range<u16>]) -> u32 {
    ranges
        .iter()
        .map(|range| u32::from(range.end - range.start))
        .sum()
}
