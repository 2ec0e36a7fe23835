//! What a viewer says within its session, what it is told, and what is looked after while it lasts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::message::{FrameId, KeepAlive, Pulse, Repair};
use fanlight_proto::parity::level_count;

use super::isolation::IsolationChange;
use super::multicast::Multicast;
use super::packetize::{self, FrameTransmit};
use super::source_clocks::SourceClocks;
use super::streams::Stream;
use super::viewers::Viewer;
use super::{Engine, Output, Retransmit, Route, key_rotation};

impl Engine {
    /// Opens a sealed message. What does not open may be forged, and is answered by nothing.
    pub(super) fn on_sealed(&mut self, now: Time, from: Route, session: u64, sealed: (u64, &[u8])) {
        let Some(viewer) = self.viewers.session(from.remote, session) else {
            return self.reset(now, from, session);
        };
        let opened = viewer.secure.as_mut().and_then(|secure| {
            let opened = secure.channel.open(sealed.0, sealed.1)?;
            secure.accept = None;
            Some(opened)
        });
        let Some(plaintext) = opened else {
            return self.on_unauthentic(now, from);
        };
        match ToRelay::parse_inner(session, &plaintext) {
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
        let (ToRelay::KeepAlive(session, _)
        | ToRelay::Repair(session, _)
        | ToRelay::Detections(session, _)
        | ToRelay::Goodbye(session, _)) = message
        else {
            return;
        };
        let Some(viewer) = self.viewers.session(from.remote, session) else {
            // Who says goodbye wants no answer.
            if !matches!(message, ToRelay::Goodbye(..)) {
                self.reset(now, from, session);
            }
            return;
        };
        if viewer.secure.is_some() != sealed {
            return self.on_unauthentic(now, from);
        }
        viewer.heard = now;
        match message {
            ToRelay::KeepAlive(_, body) => self.on_keep_alive(now, from, &body),
            ToRelay::Repair(_, body) => self.on_repair(now, from, &body),
            ToRelay::Detections(_, body) => self.on_detections(now, from, body),
            _ => self.leave(now, from, "said goodbye"),
        }
    }

    fn on_keep_alive(&mut self, now: Time, from: Route, body: &KeepAlive) {
        let Some(viewer) = self.viewers.at_mut(from.remote) else {
            return;
        };
        viewer.key_generation = viewer.key_generation.max(body.key_generation);
        let resumes = viewer.paused && !body.paused;
        if body.paused != viewer.paused {
            viewer.paused = body.paused;
            viewer.congestion.resume(now);
        }
        let misses = viewer.on_group_status(now, self.config.multicast.as_ref(), body);
        viewer.congestion.on_keep_alive(now, body.newest_sequence);
        if let Some(report) = &body.report {
            viewer.on_report(now, body.newest_sequence, report);
        }
        let leaves = viewer.check_group(now);
        let stream = self.streams.by_alias(viewer.alias);
        let context = PulseContext {
            now,
            clocks: &self.clocks,
            multicast: self.config.multicast.as_ref(),
        };
        let pulse = Pulse {
            echo_us: body.sent_us,
            ..context.pulse(stream, viewer)
        };
        let datagram = viewer.datagram(&ToViewer::Pulse(viewer.session, pulse));
        self.outputs.push_back(Output::Send { to: from, datagram });
        if leaves {
            self.note_leaver(now, from);
        }
        if resumes || misses {
            self.catch_up(now, from.remote);
        }
    }

    fn on_repair(&mut self, now: Time, from: Route, body: &Repair) {
        let Some(viewer) = self.viewers.at_mut(from.remote) else {
            return;
        };
        let id = FrameId {
            epoch: body.epoch,
            number: body.number,
        };
        let stream = self
            .streams
            .by_alias(viewer.alias)
            .filter(|stream| u32::from(stream.alias) == body.alias);
        let asked = body.ranges.chunks_exact(2).map(|pair| u64::from(pair[1]));
        self.counts.repairs_asked += asked.sum::<u64>();
        let Some(packets) = stream.and_then(|stream| stream.retransmit_buffer().find(id)) else {
            return;
        };
        // Repairs of a narrow way are traffic on it too.
        let left = (f64::from(viewer.repairs.left(now)) * viewer.congestion.share()) as u32;
        let ranges = packetize::repair_ranges(&body.ranges, packets.shards(), left);
        let count = ranges
            .iter()
            .map(|range| u32::from(range.end - range.start))
            .sum();
        if count > 0 {
            viewer.repairs.spend(count);
            self.counts.repairs_sent += u64::from(count);
            let way = match self.config.multicast.filter(|_| viewer.membership.hears()) {
                Some(multicast) => stream.map_or(from, |stream| multicast.route(stream.slot)),
                None => from,
            };
            self.outputs.push_back(Output::Retransmit(Retransmit {
                to: from,
                way,
                packets: packets.clone(),
                ranges,
            }));
        }
    }

    fn note_leaver(&mut self, now: Time, from: Route) {
        self.counts.left_groups += 1;
        let Some(viewer) = self.viewers.at(from.remote) else {
            return;
        };
        if let Some(count) = self.log_limits.left_groups.note(now) {
            tracing::info!(count, viewer = %from.remote, name = ?viewer.name, "viewers that multicast serves badly get unicast");
        }
    }

    fn on_unauthentic(&mut self, now: Time, from: Route) {
        self.counts.unauthentic += 1;
        if let Some(count) = self.log_limits.unauthentic.note(now) {
            tracing::info!(count, from = %from.remote, "messages dropped that the viewer of a sealed session has not sealed");
        }
    }

    /// Sends the newest frame to a viewer that has just come or begins anew, as part of what it may be sent besides the
    /// stream's frames.
    pub(super) fn catch_up(&mut self, now: Time, address: SocketAddr) {
        let Some(viewer) = self.viewers.at_mut(address).filter(|viewer| !viewer.paused) else {
            return;
        };
        let Some(stream) = self.streams.by_alias_mut(viewer.alias) else {
            return;
        };
        let affordable = stream
            .shards()
            .is_some_and(|shards| u32::from(shards) <= viewer.repairs.left(now));
        if !affordable || self.catch_ups.left(now) == 0 {
            return;
        }
        let Some((packets, interval)) = stream.catch_up(now) else {
            return;
        };
        self.catch_ups.spend(1);
        viewer.repairs.spend(u32::from(packets.shards()));
        viewer.congestion.on_catch_up(now, packets.sequence());
        let targets = Arc::new(vec![viewer.target(packets.shards(), interval)]);
        self.outputs.push_back(Output::Transmit(FrameTransmit {
            alias: stream.alias,
            packets,
            targets,
            first: 0,
            interval,
            catch_up: true,
        }));
    }

    /// Tells all viewers of a stream what there is to tell.
    pub(super) fn pulse_all(&mut self, now: Time, alias: u16) {
        let Self {
            config,
            streams,
            clocks,
            viewers,
            outputs,
            ..
        } = self;
        let Some(stream) = streams.by_alias(alias) else {
            return;
        };
        let context = PulseContext {
            now,
            clocks,
            multicast: config.multicast.as_ref(),
        };
        for address in stream.members() {
            let Some(viewer) = viewers.at_mut(*address) else {
                continue;
            };
            let pulse = context.pulse(Some(stream), viewer);
            let datagram = viewer.datagram(&ToViewer::Pulse(viewer.session, pulse));
            outputs.push_back(Output::Send {
                to: viewer.route,
                datagram,
            });
        }
    }

    /// Moves viewers that have fallen behind to a socket of their own, and back.
    pub(super) fn update_isolation(&mut self, now: Time) {
        for viewer in self.viewers.iter_mut() {
            let behind = viewer.congestion.is_behind(now);
            match viewer.isolation.check(now, behind, self.dedicated_sockets) {
                None => continue,
                Some(IsolationChange::Out) => {
                    self.dedicated_sockets += 1;
                    self.counts.isolated += 1;
                    self.outputs.push_back(Output::Isolate(viewer.route));
                    viewer.leave_group(now);
                }
                Some(IsolationChange::Back) => {
                    self.dedicated_sockets -= 1;
                    self.outputs.push_back(Output::Rejoin(viewer.route));
                    continue;
                }
            }
            if let Some(count) = self.log_limits.isolated.note(now) {
                tracing::info!(count, viewer = %viewer.route.remote, name = ?viewer.name, "viewers fell behind");
            }
        }
    }

    /// Lets keys follow each other.
    pub(super) fn update_keys(&mut self, now: Time) {
        let rotation = self.config.key_rotation;
        let due = |stream: &&Stream| {
            stream
                .keys
                .as_ref()
                .is_some_and(|keys| keys.due(now, rotation))
        };
        while let Some(alias) = { self.streams.iter().find(due).map(|stream| stream.alias) } {
            self.announce_key(now, alias, key_rotation::KEY_SWITCH_TIMEOUT);
        }
        let Self {
            streams,
            viewers,
            counts,
            ..
        } = self;
        for stream in streams.iter_mut() {
            let newest = stream
                .keys
                .as_ref()
                .map_or(0, key_rotation::KeyRotation::newest);
            let has_it = |address| {
                viewers
                    .at(address)
                    .is_none_or(|viewer| viewer.key_generation >= newest)
            };
            let all = stream.members().iter().all(|address| has_it(*address));
            if let Some(keys) = &mut stream.keys {
                counts.keys_rotated += u64::from(keys.follow(now, all));
            }
        }
    }

    /// Makes the next key of a stream and tells it to all who are to have it.
    pub(super) fn announce_key(&mut self, now: Time, alias: u16, patience: Duration) {
        let secret = self.secrets.bytes();
        let Some(keys) = self
            .streams
            .by_alias_mut(alias)
            .and_then(|stream| stream.keys.as_mut())
        else {
            return;
        };
        keys.announce(now, secret, patience);
        self.pulse_all(now, alias);
    }
}

/// What all viewers are told.
struct PulseContext<'a> {
    now: Time,
    clocks: &'a SourceClocks,
    multicast: Option<&'a Multicast>,
}

impl PulseContext<'_> {
    /// What a viewer is told: the stream's status, what was left out for it, the keys that it does not have, and its group.
    fn pulse(&self, stream: Option<&Stream>, viewer: &Viewer) -> Pulse {
        let keys = stream.and_then(|stream| stream.keys.as_ref());
        let keys =
            keys.filter(|keys| viewer.secure.is_some() && viewer.key_generation < keys.newest());
        let multicast = self
            .multicast
            .filter(|multicast| viewer.may_join(self.now, multicast));
        Pulse {
            relay_us: self.now.as_micros(),
            status: stream.map(|stream| stream.status().clone()),
            keys: keys
                .map(key_rotation::KeyRotation::messages)
                .unwrap_or_default(),
            frames_skipped: viewer.congestion.skipped(),
            frames_aborted: viewer.aborted,
            source_clock: stream.and_then(|stream| self.clocks.at(self.now, stream.origin)),
            parity_percent: parity_percent(stream, viewer),
            pause_us: pause_us(stream, viewer),
            echo_us: 0,
            verdict: viewer.detections.verdict(self.now),
            group: multicast
                .zip(stream)
                .map(|(multicast, stream)| multicast.group(stream.slot).into()),
        }
    }
}

/// The longest pause between two datagrams of a frame.
fn pause_us(stream: Option<&Stream>, viewer: &Viewer) -> u32 {
    let Some((stream, shards)) = stream.and_then(|stream| Some((stream, stream.shards()?))) else {
        return 0;
    };
    u32::try_from(
        viewer
            .target(shards, stream.interval())
            .pause(shards)
            .as_micros(),
    )
    .unwrap_or(u32::MAX)
}

fn parity_percent(stream: Option<&Stream>, viewer: &Viewer) -> u32 {
    let Some(shards) = stream.and_then(Stream::shards) else {
        return 0;
    };
    let alone = level_count(shards, viewer.parity_level());
    let parity = stream
        .map(Stream::group_parity)
        .filter(|_| viewer.membership.hears())
        .unwrap_or(alone);
    u32::from(parity) * 100 / u32::from(shards)
}
