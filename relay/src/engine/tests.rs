//! Every behaviour of the engine on virtual time.

mod admission;
mod client_screens;
mod directions;
mod feedback;
mod hostile;
mod media;
mod multicast;
mod parity_control;
mod sealed;
mod source_clocks;

use std::net::SocketAddr;

use fanlight_live::LiveFrame;
use fanlight_proto::datagram::VERSION;
use fanlight_proto::limits::{MAX_FRAME_BYTES, SESSION_IDLE};
use fanlight_proto::message::{
    Accept, Direct, FeedbackReport, Format, FrameBuffer, FrameHeader, FrameId, Join, KeepAlive,
    Pulse, Refuse, Repair, State, Status, parse_frame,
};

use super::stream::Stream;
use super::upkeep::SWEEP_INTERVAL;
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FRAME_TIME: Duration = Duration::from_millis(33);

/// An engine with a clock that stands still unless told otherwise.
struct Rig {
    engine: Engine,
    now: Time,
}

/// What a viewer reads.
#[derive(Debug, PartialEq)]
enum Said {
    Challenge(Vec<u8>),
    Accept(Accept),
    Refuse(Refuse),
    Pulse(u64, Pulse),
    Direct(u64, Direct),
    Reset(u64),
    Goodbye(u64),
}

impl Rig {
    fn new() -> Self {
        Self::with(EngineConfig::default())
    }

    fn with(config: EngineConfig) -> Self {
        Self::guarded(config, RelayAccess::Open)
    }

    fn guarded(config: EngineConfig, access: RelayAccess) -> Self {
        Self {
            engine: Engine::new(config, access, [5; 32]),
            now: Time::from_nanos(1_000_000_000_000),
        }
    }

    /// One with a stream `cam` that is live.
    fn live() -> Self {
        let mut rig = Self::new();
        rig.frame("cam", 1, 100, 0);
        rig.outputs();
        rig
    }

    /// Lets time pass, doing what it asks for on the way.
    fn pass(&mut self, length: Duration) {
        let until = self.now + length;
        while let Some(deadline) = self
            .engine
            .next_deadline()
            .filter(|deadline| *deadline <= until)
        {
            self.now = self.now.max(deadline);
            self.engine.on_tick(self.now);
        }

        self.now = until;
    }

    fn arrive(&mut self, origin: usize, header: FrameHeader, jpeg: &[u8], superseded: u64) {
        let arrival = self.arrival(origin, header, jpeg, superseded);
        self.engine.on_arrival(self.now, &arrival);
    }

    fn arrival(&self, origin: usize, header: FrameHeader, jpeg: &[u8], superseded: u64) -> Arrival {
        let topic = format!("{}/", header.stream);
        let body = FrameBuffer::copy_of(jpeg).finish(header);
        let frame = parse_frame(topic.as_bytes(), body.clone(), MAX_FRAME_BYTES).unwrap();
        Arrival {
            superseded,
            ..Arrival::first(LiveFrame::new(origin, frame, body, self.now))
        }
    }

    fn frame(&mut self, stream: &str, epoch: u64, number: u64, superseded: u64) {
        let mut jpeg = vec![7; 100_000];
        jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
        jpeg[99_998..].copy_from_slice(&[0xff, 0xd9]);
        self.arrive(
            0,
            header(stream, epoch, number, State::Live),
            &jpeg,
            superseded,
        );
    }

    fn heartbeat(&mut self, stream: &str, epoch: u64, number: u64, state: State) {
        self.arrive(0, header(stream, epoch, number, state), &[], 0);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.engine.poll_output()).collect()
    }

    /// The frames that are fanned out; catch_ups are none.
    fn fans(&mut self) -> Vec<FrameTransmit> {
        self.all_fans()
            .into_iter()
            .filter(|transmit| !transmit.catch_up)
            .collect()
    }

    fn all_fans(&mut self) -> Vec<FrameTransmit> {
        let transmit = |output| {
            if let Output::Transmit(transmit) = output {
                Some(transmit)
            } else {
                None
            }
        };

        self.outputs().into_iter().filter_map(transmit).collect()
    }

    /// What the relay says to each viewer.
    fn said(&mut self) -> Vec<(SocketAddr, Said)> {
        let sent = |output| match output {
            Output::Send { to, datagram } => Some((to.remote, read(&datagram))),
            Output::Transmit(_)
            | Output::Retransmit(_)
            | Output::Progress(_)
            | Output::Isolate(_)
            | Output::Rejoin(_)
            | Output::Feedback { .. } => None,
        };

        self.outputs().into_iter().filter_map(sent).collect()
    }

    /// The answers to `message`; what waited to be sent before is gone.
    fn say(&mut self, from: SocketAddr, message: &ToRelay<'_>) -> Vec<(SocketAddr, Said)> {
        self.outputs();
        let mut datagram = Vec::new();
        self.read(message).encode(&mut datagram);
        self.engine.on_datagram(
            self.now,
            Route {
                remote: from,
                local: None,
            },
            &datagram,
        );

        self.said()
    }

    /// The answers to `message` as it stands.
    fn tell(&mut self, from: SocketAddr, message: &ToRelay<'_>) -> Vec<Said> {
        self.outputs();
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        let route = Route {
            remote: from,
            local: None,
        };
        self.engine.on_datagram(self.now, route, &datagram);
        let control = |output| match output {
            Output::Send { datagram, .. } => Some(read(&datagram)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(control).collect()
    }

    /// `message` as one says it that has read the last PULSE.
    fn read<'a>(&self, message: &ToRelay<'a>) -> ToRelay<'a> {
        match message {
            ToRelay::KeepAlive(session, body) => {
                let consent = self.engine.token_key.consent(self.now, *session);
                ToRelay::KeepAlive(*session, KeepAlive { consent, ..*body })
            }
            other => other.clone(),
        }
    }

    fn newest_sequence(&self) -> u64 {
        let streams = self.engine.streams.iter();
        streams.map(Stream::newest_sequence).max().unwrap_or(0)
    }

    /// The answer to `join`, after the challenge has been met.
    fn ask(&mut self, from: SocketAddr, join: Join) -> Said {
        let Said::Challenge(token) = only(self.say(from, &ToRelay::Join(join.clone()))) else {
            panic!("a JOIN without a token is challenged");
        };

        let join = Join {
            token: token.into(),
            ..join
        };

        // Somebody else may have had to go.
        let mut said = self.say(from, &ToRelay::Join(join));
        said.retain(|(to, _)| *to == from);
        only(said)
    }

    fn join(&mut self, from: SocketAddr, nonce: u64) -> Accept {
        match self.ask(from, join(nonce)) {
            Said::Accept(accept) => accept,
            other => panic!("{other:?}"),
        }
    }

    fn keep_alive(&mut self, from: SocketAddr, session: u64) -> Said {
        only(self.say(
            from,
            &ToRelay::KeepAlive(
                session,
                KeepAlive {
                    sent_us: 77,
                    ..KeepAlive::default()
                },
            ),
        ))
    }
}

fn header(stream: &str, epoch: u64, number: u64, state: State) -> FrameHeader {
    FrameHeader {
        stream: stream.into(),
        epoch,
        number,
        width: 640,
        height: 480,
        format: Format::Jpeg as i32,
        state: state as i32,
        rate_millihertz: 30_000,
        ..FrameHeader::default()
    }
}

fn join(nonce: u64) -> Join {
    Join {
        version: VERSION,
        nonce,
        name: "hall".into(),
        ..Join::default()
    }
}

fn viewer(n: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 4000 + n))
}

fn read(datagram: &[u8]) -> Said {
    match ToViewer::parse(datagram).unwrap() {
        ToViewer::Challenge(body) => Said::Challenge(body.token.to_vec()),
        ToViewer::Accept(body) => Said::Accept(body),
        ToViewer::Refuse(body) => Said::Refuse(body),
        ToViewer::Pulse(session, body) => Said::Pulse(session, body),
        ToViewer::Direct(session, body) => Said::Direct(session, body),
        ToViewer::Reset(session) => Said::Reset(session),
        ToViewer::Goodbye(session, _) => Said::Goodbye(session),
        ToViewer::Sealed(..) | ToViewer::Data(..) => {
            panic!("neither is sent as a plain control datagram")
        }
    }
}

fn only(mut said: Vec<(SocketAddr, Said)>) -> Said {
    assert_eq!(said.len(), 1, "{said:?}");
    said.remove(0).1
}

fn status(said: &Said) -> &Status {
    match said {
        Said::Pulse(_, pulse) => pulse.status.as_ref().unwrap(),
        other => panic!("{other:?}"),
    }
}
