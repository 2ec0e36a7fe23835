//! The WebRTC thread: the port, all peers, and an encoder for each stream that one of them watches.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanlight_daemon::clock;
use fanlight_live::StreamTable;
use fanlight_live::access::{Grant, Role, unix_seconds};
use fanlight_live::ledger::{Charge, Resource, client_network};
use fanlight_live::whep::{WhepAnswer, WhepCommand, WhepError, WhepRequest};
use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;
use str0m::net::{Protocol, Transmit};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::encoder::{EncodedFrame, Encoder, KeyRequest};
use crate::picture::covers_card;
use crate::rung::Rung;
use crate::session::{Session, Watcher};
use crate::tcp::{TcpConnection, TcpPacket};
use crate::{MAX_DATAGRAM, MAX_PEERS, MAX_PEERS_PER_NETWORK, WEBRTC, WebRtc};

/// What a peer holds at most: str0m keeps 2000 packets of 1150 bytes to repeat them, and 1000 that wait to be sent.
const PEER_BYTES: usize = 4 << 20;

/// Encoded frames that wait for this thread.
const MAX_FRAMES: usize = 8;

/// Datagrams that are taken in a row before other work.
const RECEIVES_PER_RUN: usize = 64;

/// Bitrates are looked at, and encoders without peers ended, this often.
const TICK: Duration = Duration::from_millis(500);

/// All that the thread holds.
pub(crate) struct Server {
    table: Arc<StreamTable>,
    /// Where packets come, by protocol.
    ports: Vec<(Protocol, u16)>,
    /// What to say to clients that reach us otherwise than they think.
    addresses: Vec<IpAddr>,
    sessions: BTreeMap<String, Session>,
    encoders: BTreeMap<(StreamName, Rung), Encoder>,
    /// Connections by which peers have come, at most as many as [`tcp`](crate::tcp) admits in a tick.
    connections: BTreeMap<SocketAddr, TcpConnection>,
    frames: (
        mpsc::Sender<EncodedFrame>,
        Option<mpsc::Receiver<EncodedFrame>>,
    ),
    /// str0m counts by std's clock, and we by ours: the same moment by both.
    origin: (Instant, Time),
}

/// By what packets and requests come.
pub(crate) struct Ways {
    pub(crate) socket: std::net::UdpSocket,
    /// Where there is TCP.
    pub(crate) packets: Option<mpsc::Receiver<TcpPacket>>,
    pub(crate) requests: mpsc::Receiver<WhepRequest>,
}

impl Server {
    pub(crate) fn new(output: &WebRtc, table: Arc<StreamTable>) -> io::Result<Self> {
        str0m::crypto::from_feature_flags().install_process_default();
        let (sender, receiver) = mpsc::channel(MAX_FRAMES);
        let tcp = output.tcp.iter();
        let tcp = tcp.map(|(_, address)| (Protocol::Tcp, address.port()));
        let ports = [(Protocol::Udp, output.address.port())]
            .into_iter()
            .chain(tcp);

        Ok(Self {
            table,
            ports: ports.collect(),
            addresses: output.addresses.clone(),
            sessions: BTreeMap::new(),
            encoders: BTreeMap::new(),
            connections: BTreeMap::new(),
            frames: (sender, Some(receiver)),
            origin: (tokio::time::Instant::now().into_std(), clock::now()),
        })
    }

    /// Serves until `stop`, which is told to all peers.
    ///
    /// # Errors
    /// When the port is of no use.
    pub(crate) async fn run(
        mut self,
        ways: Ways,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut stop = pin!(stop);
        let Ways {
            socket,
            packets,
            mut requests,
        } = ways;
        let socket = UdpSocket::from_std(socket)?;
        // Without TCP it is closed, and nothing comes.
        let mut packets = packets.unwrap_or_else(|| mpsc::channel(1).1);
        let mut frames = self.frames.1.take().expect("a server runs once");
        let mut tick = tokio::time::interval(TICK);
        let mut datagram = [0; MAX_DATAGRAM];

        loop {
            let due = self.due();

            tokio::select! {
                () = &mut stop => {
                    self.sessions.values_mut().for_each(Session::end);
                    self.run_sessions(&socket);
                    return Ok(());
                }
                Some(request) = requests.recv() => {
                    // Who asked may have gone.
                    let _ = request.reply.send(self.answer(request.command));
                }
                Some(frame) = frames.recv() => self.write(&frame),
                Some(packet) = packets.recv() => self.receive_by_tcp(&socket, packet),
                readable = socket.readable() => {
                    readable?;
                    self.receive(&socket, &mut datagram);
                }
                _ = tick.tick() => {
                    self.end_expired();
                    self.connections.retain(|_, connection| connection.is_open());
                    self.tend_encoders();
                    self.change_rungs();
                }
                () = tokio::time::sleep_until(due.into()) => {}
            }

            self.run_sessions(&socket);
        }
    }

    fn now(&self) -> Instant {
        self.at(clock::now())
    }

    /// A moment of our clock by str0m's.
    fn at(&self, time: Time) -> Instant {
        self.origin.0 + time.saturating_since(self.origin.1)
    }

    /// When a session must be run next.
    fn due(&self) -> Instant {
        let sessions = || self.sessions.values();
        let trackers = sessions().filter_map(Session::tracker_due);
        let due = trackers.map(|due| self.at(due));
        let due = due.chain(sessions().map(Session::due)).min();
        due.unwrap_or_else(|| self.now() + TICK)
    }

    fn answer(&mut self, command: WhepCommand) -> Result<WhepAnswer, WhepError> {
        match command {
            WhepCommand::Offer {
                stream,
                sdp,
                name,
                client,
                grant,
                local,
            } => self.admit(
                Watcher {
                    stream,
                    client,
                    name,
                    grant,
                    charge: self.charge(client),
                },
                Some(&sdp),
                local,
            ),
            WhepCommand::Invite { client, local } => {
                let stream = self.table.first(clock::now()).ok_or(WhepError::NoStream)?;
                let watcher = Watcher {
                    stream,
                    client,
                    name: String::new(),
                    // There is no signalling where a token is wanted.
                    grant: Grant::unlimited(Role::View),
                    charge: self.charge(client),
                };
                self.admit(watcher, None, local)
            }
            WhepCommand::Answer { session, sdp } => {
                let invited = self.sessions.get_mut(&session);
                let invited = invited.ok_or(WhepError::NoSession)?;
                let answered = contain(invited, |session| session.answer(&sdp));
                let answered = answered.unwrap_or(Err(WhepError::BadOffer));
                if answered.is_err() {
                    invited.end();
                }
                answered.map(|()| WhepAnswer::Done)
            }
            WhepCommand::Patch {
                session,
                tag,
                fragment,
            } => {
                let session = self.sessions.get_mut(&session);
                let session = session.ok_or(WhepError::NoSession)?;
                let patch = |session: &mut Session| session.patch(tag.as_deref(), &fragment);
                let patched = contain(session, patch).unwrap_or(Err(WhepError::BadOffer))?;
                Ok(patched.map_or(WhepAnswer::Done, WhepAnswer::Restarted))
            }
            WhepCommand::End(session) => {
                let ended = self.sessions.get_mut(&session);
                ended.ok_or(WhepError::NoSession)?.end();
                Ok(WhepAnswer::Done)
            }
        }
    }

    /// Makes a session: one that answers `offer`, or one that offers.
    fn admit(
        &mut self,
        watcher: Watcher,
        offer: Option<&str>,
        local: IpAddr,
    ) -> Result<WhepAnswer, WhepError> {
        let network = client_network(watcher.client.ip());
        let of_network =
            |session: &&Session| client_network(session.watcher.client.ip()) == network;
        let crowded = self.sessions.values().filter(of_network).count() >= MAX_PEERS_PER_NETWORK;
        if crowded || self.sessions.len() >= MAX_PEERS {
            self.table.refusals().note(Resource::Connections, 1);
            return Err(WhepError::Busy);
        }
        if !watcher.charge.covers(PEER_BYTES) {
            return Err(self.no_memory());
        }

        let addresses = if self.addresses.is_empty() {
            vec![local.to_canonical()]
        } else {
            self.addresses.clone()
        };
        let candidates = addresses
            .into_iter()
            .flat_map(|address| {
                let ports = self.ports.iter();
                ports.map(move |(protocol, port)| (*protocol, SocketAddr::new(address, *port)))
            })
            .collect();

        let (now, time) = (self.now(), clock::now());
        let (stream, client) = (watcher.stream.clone(), watcher.client);
        let handle = self.table.clients().add(time, WEBRTC, client, &stream);
        let made = catch_unwind(AssertUnwindSafe(|| match offer {
            Some(offer) => Session::accept(now, offer, candidates, watcher, handle),
            None => Session::offer(now, candidates, watcher, handle),
        }));
        let (session, sdp) = made.unwrap_or(Err(WhepError::BadOffer))?;
        self.start_encoder(&stream, Rung::Full, client)?;

        let name = format!("{:032x}", u128::from_le_bytes(clock::random_bytes()));
        self.sessions.insert(name.clone(), session);
        Ok(WhepAnswer::Created { session: name, sdp })
    }

    /// What a client holds, which is nothing yet.
    fn charge(&self, client: SocketAddr) -> Charge {
        self.table.client_memory().open(client.ip(), 1)
    }

    fn no_memory(&self) -> WhepError {
        self.table.refusals().note(Resource::Memory, 1);
        WhepError::Busy
    }

    /// Starts an encoder, unless there is one: then it is false. Its memory is charged to the client that is the first.
    fn start_encoder(
        &mut self,
        stream: &StreamName,
        rung: Rung,
        client: SocketAddr,
    ) -> Result<bool, WhepError> {
        let key = (stream.clone(), rung);
        if self.encoders.contains_key(&key) {
            return Ok(false);
        }

        let charge = self.charge(client);
        if !covers_card(&charge) {
            return Err(self.no_memory());
        }

        let encoder = Encoder::start(&self.table, stream, rung, self.frames.0.clone(), charge)
            .map_err(|_| WhepError::Busy)?
            .ok_or(WhepError::NoStream)?;
        self.encoders.insert(key, encoder);
        Ok(true)
    }

    fn write(&mut self, frame: &EncodedFrame) {
        let now = (self.now(), clock::now());
        for session in self.sessions.values_mut() {
            if session.watcher.stream == frame.stream {
                contain(session, |session| session.write(now, frame));
            }
        }
    }

    fn receive(&mut self, socket: &UdpSocket, buffer: &mut [u8]) {
        for _ in 0..RECEIVES_PER_RUN {
            // Errors are those of earlier sends, of which str0m learns by silence.
            let Ok((length, source)) = socket.try_recv_from(buffer) else {
                return;
            };

            let source = SocketAddr::new(source.ip().to_canonical(), source.port());
            self.take(socket, Protocol::Udp, source, &buffer[..length]);
        }
    }

    /// Takes a packet of a connection, which ends when it is for nobody.
    fn receive_by_tcp(&mut self, socket: &UdpSocket, packet: TcpPacket) {
        let TcpPacket {
            source,
            data,
            connection,
        } = packet;
        self.connections.insert(source, connection.clone());
        if !self.take(socket, Protocol::Tcp, source, &data) {
            self.connections.remove(&source);
            connection.end();
        }
    }

    /// Gives a packet to the peer that it is from; whether there is one.
    fn take(
        &mut self,
        socket: &UdpSocket,
        protocol: Protocol,
        source: SocketAddr,
        packet: &[u8],
    ) -> bool {
        let now = self.now();
        let mut send = send_by(socket, &self.connections);
        self.sessions.values_mut().any(|session| {
            let receive = |session: &mut Session| session.receive(now, protocol, source, packet);
            let taken = contain(session, receive) == Some(true);
            if taken {
                contain(session, |session| session.run(now, &mut send));
            }
            taken
        })
    }

    /// Runs all peers, and forgets those that have ended.
    fn run_sessions(&mut self, socket: &UdpSocket) {
        let now = self.now();
        let mut send = send_by(socket, &self.connections);
        for session in self.sessions.values_mut() {
            contain(session, |session| session.run(now, &mut send));

            if let Some(request) = session.take_key_request()
                && let Some(encoder) = self
                    .encoders
                    .get(&(session.watcher.stream.clone(), session.rungs().1))
            {
                encoder.want_key(request);
            }

            if let Some(found) = session.take_detections(clock::now()) {
                self.table.put_detections(found);
            }
        }

        self.sessions.retain(|_, session| session.is_alive());
    }

    /// Ends the peers whose cookie has expired or was signed out.
    fn end_expired(&mut self) {
        let now = unix_seconds();
        let sessions = self.sessions.values_mut();
        sessions
            .filter(|session| session.watcher.grant.is_over(now))
            .for_each(Session::end);
    }

    /// Ends the encoders that nobody watches, and tells the others what the slowest acceptable peer can take.
    fn tend_encoders(&mut self) {
        let sessions = &self.sessions;
        self.encoders.retain(|(stream, rung), encoder| {
            let of_stream = sessions
                .values()
                .filter(|session| session.watcher.stream == *stream);
            let (mut is_watched, mut slowest) = (false, None);
            for session in of_stream {
                let (now, next) = session.rungs();
                is_watched |= now == *rung || next == *rung;
                let kbps = session.kbps().filter(|kbps| rung.bounds().start() <= kbps);
                if next == *rung && kbps.is_some() {
                    slowest = slowest.into_iter().chain(kbps).min();
                }
            }

            if let Some(kbps) = slowest {
                encoder.set_kbps(kbps);
            }
            is_watched && encoder.is_running()
        });
    }

    /// Gives each peer the encoding that its network carries, also when the stream was gone and has come again.
    fn change_rungs(&mut self) {
        let (mut wanted, moment) = (Vec::new(), self.now());
        for session in self.sessions.values_mut() {
            session.choose_rung();
            let takes_key = !session.is_behind(moment);
            let (stream, client) = (&session.watcher.stream, session.watcher.client);
            let (now, next) = session.rungs();
            wanted.push((stream.clone(), client, now, false));
            if next != now {
                wanted.push((stream.clone(), client, next, takes_key));
            }
        }

        for (stream, client, rung, needs_key) in wanted {
            // Without a stream, a thread or memory it is tried again at the next tick.
            let Ok(started) = self.start_encoder(&stream, rung, client) else {
                continue;
            };
            if (started || needs_key)
                && let Some(encoder) = self.encoders.get(&(stream, rung))
            {
                encoder.want_key(KeyRequest::Joined);
            }
        }
    }
}

/// Sends; a packet that finds no room is lost, and asked for again.
fn send_by(
    socket: &UdpSocket,
    connections: &BTreeMap<SocketAddr, TcpConnection>,
) -> impl FnMut(&Transmit) {
    |packet| match packet.proto {
        Protocol::Udp => {
            let _ = socket.try_send_to(&packet.contents, packet.destination);
        }
        _ => {
            if let Some(connection) = connections.get(&packet.destination) {
                connection.send(&packet.contents);
            }
        }
    }
}

/// A bug that one peer can reach ends that peer only.
fn contain<T>(session: &mut Session, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| work(session))).ok();
    if done.is_none() {
        session.abandon();
    }
    done
}
