//! The sockets and the clock around an [`Engine`]: an event loop that waits for datagrams, connections, deadlines, shutdown.
//!
//! The viewer runs it on its socket thread, the canary on another; the load tester runs many on one.

mod connection;
mod resolver;
mod socket;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::task::{self, Poll};

use fanlight_daemon::capture::{Capture, Direction, Requests, Role};
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::handshake::ViewerAccess;

use crate::engine::{Carrier, Engine, Output};
use crate::found_relays::{AUTO, FoundRelays, LOCAL};
use crate::relay_keys::RelayKeys;
use crate::tcp::{self, RelayUrl};
use connection::Connection;
pub use socket::{GroBatches, Socket};

/// Most that one turn receives before outputs and deadlines are handled: about 2 ms of work.
const BATCHES_A_TURN: usize = 8;

/// What is done with the engine's outputs.
pub trait Sink {
    /// Takes an output other than [`Output::Send`], [`Output::Credit`] and those of groups; a break ends [`drive`].
    fn take(&mut self, now: Time, output: Output) -> ControlFlow<()>;

    /// Called at the end of each turn, when all outputs are taken. Returns when the next turn is due at the latest.
    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time>;
}

/// How to reach the relays.
#[derive(Clone, Debug)]
pub struct Route {
    /// host:port of each, `auto` for what is found, or ws://host:port for a connection; in the order of the engine's paths.
    pub relays: Vec<String>,
    /// What is found.
    pub found: FoundRelays,
    /// What proves access to them, and is read again when it changes.
    pub keys: RelayKeys,
    /// The proof of access for each; connections need none.
    pub accesses: Vec<ViewerAccess>,
    /// What connections show, and whom they believe.
    pub tcp: tcp::Options,
    /// For each connection that replaces another path while that fails: its number, and that of the path.
    pub replaces: Vec<(usize, usize)>,
    /// Bytes to ask the kernel to keep for each socket.
    pub receive_buffer: usize,
    /// Whether to join the groups that relays offer.
    pub multicast: bool,
    /// The folder for captures of the datagrams; none: no captures.
    pub capture: Option<PathBuf>,
    /// The local address towards relays in 127.0.0.0/8; none: the system's choice.
    pub own: Option<Ipv4Addr>,
}

impl Route {
    /// How many datagrams a socket holds with the buffer that the kernel grants. Warns once when that is less than asked.
    ///
    /// # Errors
    /// When no socket can be made.
    pub fn receive_capacity(&self) -> io::Result<u32> {
        socket::receive_capacity(self.receive_buffer)
    }

    /// How the engine's paths reach their relays.
    #[must_use]
    pub fn carriers(&self) -> Vec<Carrier> {
        let instead_of = |at: usize| {
            let mut pairs = self.replaces.iter();
            pairs.find(|(tcp, _)| *tcp == at).map(|(_, udp)| *udp)
        };

        let carrier = |(at, relay): (usize, &String)| {
            if tcp::is_web_address(relay) {
                Carrier::Tcp {
                    instead_of: instead_of(at),
                }
            } else {
                let access = self.accesses.get(at).cloned();
                Carrier::Udp(access.unwrap_or(ViewerAccess::Open))
            }
        };
        self.relays.iter().enumerate().map(carrier).collect()
    }

    /// The relays, as text for people.
    #[must_use]
    pub fn name(&self) -> String {
        if self.relays.first().is_some_and(|relay| relay == AUTO) {
            return format!("{LOCAL} or on the network");
        }
        self.relays.join(", ")
    }
}

/// Runs `engine` until `shutdown` or until the sink breaks; then ends the sessions. Nothing that a relay or the network
/// does ends it.
///
/// # Errors
/// When the runtime cannot be made.
pub fn drive(
    route: &Route,
    engine: &mut Engine,
    sink: &mut dyn Sink,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let buffers = ReceiveBuffers::default();
    runtime.block_on(async {
        drive_shared(route, engine, sink, shutdown, &buffers, Requests::listen()).await;
    });
    // A look-up under way may take long: it is left behind.
    runtime.shutdown_background();
    Ok(())
}

/// As [`drive`], but on the runtime of the calling thread, beside other sessions that receive into the same buffers.
/// A capture is written when `requests` asks for it.
pub async fn drive_shared(
    route: &Route,
    engine: &mut Engine,
    sink: &mut dyn Sink,
    shutdown: &Shutdown,
    buffers: &ReceiveBuffers,
    requests: Requests,
) {
    let link = |(path, relay): (usize, &String)| match relay.parse::<RelayUrl>() {
        Ok(url) => Link::Tcp(tcp::Connection::new(url, route.tcp.clone()).into()),
        Err(_) => Link::Udp(Connection::new(route, path).into()),
    };
    let links = route.relays.iter().enumerate().map(link).collect();

    let capture = Capture::new(
        "fanlight-viewer",
        Role::Viewer,
        COUNTS,
        route.capture.as_deref(),
    );

    let failures = LogLimiter::new();
    let group_changes = LogLimiter::new();
    let mut driver = Driver {
        links,
        route,
        key_watch: route.keys.watch(),
        failures,
        group_changes,
        capture,
        engine,
        sink,
    };

    driver.run(shutdown, buffers, requests).await;
}

/// The memory that receiving calls write to. Sessions on one thread share it.
#[derive(Debug, Default)]
pub struct ReceiveBuffers(RefCell<GroBatches>);

/// What a path of the engine goes by.
enum Link {
    Udp(Box<Connection>),
    Tcp(Box<tcp::Connection>),
}

impl Link {
    fn udp(&mut self) -> Option<&mut Connection> {
        match self {
            Self::Udp(connection) => Some(connection),
            Self::Tcp(_) => None,
        }
    }
}

struct Driver<'a> {
    links: Vec<Link>,
    route: &'a Route,
    key_watch: FileWatch,
    failures: LogLimiter,
    group_changes: LogLimiter,
    capture: Capture,
    engine: &'a mut Engine,
    sink: &'a mut dyn Sink,
}

impl Driver<'_> {
    async fn run(&mut self, shutdown: &Shutdown, buffers: &ReceiveBuffers, mut requests: Requests) {
        while !shutdown.requested() {
            self.reconnect(clock::now());
            let now = clock::now();
            let keys = || self.route.keys.read(&self.route.relays);
            if let Some(accesses) = self.key_watch.due(now, keys) {
                self.engine.set_accesses(now, accesses);
            }
            self.engine.on_tick(now);

            if self.drain_outputs(now).is_break() {
                break;
            }

            self.capture.turn(now, || counts(now, self.engine));
            let reconnect = self.reconnect_due();
            let turn = self.sink.turn(now, self.engine);
            let due = [
                self.engine.next_deadline(),
                turn,
                reconnect,
                self.key_watch.next(),
            ];
            let due = due.into_iter().flatten().min().unwrap_or(now);

            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(due.saturating_since(clock::now())) => {}
                () = requests.next() => {
                    let now = clock::now();
                    self.capture.on_request(now, || counts(now, self.engine));
                }
                () = poll_fn(|context| poll_any(&mut self.links, context)) => {}
            }

            for at in 0..self.links.len() {
                self.receive(at, &mut buffers.0.borrow_mut());
                self.receive_group(at, &mut buffers.0.borrow_mut());
            }
        }

        let now = clock::now();
        self.engine.leave();
        // After the end only the GOODBYE datagrams matter.
        let _ = self.drain_outputs(now);
        self.sink.turn(now, self.engine);
    }

    /// Keeps each socket connected to an address of its relay.
    fn reconnect(&mut self, now: Time) {
        for at in 0..self.links.len() {
            let has_session = self.engine.has_session(at);
            let Some(connection) = self.links[at].udp() else {
                self.turn_connection(now, at);
                continue;
            };

            let connected = connection.reconnect(now, has_session);
            if let Some(problem) = connection.problem() {
                self.engine.on_unreachable(now, at, problem.to_owned());
            }

            if let Err((address, error)) = connected {
                self.warn(now, &format!("cannot send to {address}: {error}"));
            }
        }
    }

    /// When [`Driver::reconnect`] has something to do.
    fn reconnect_due(&self) -> Option<Time> {
        let due = |(at, link): (usize, &Link)| match link {
            Link::Udp(connection) => Some(connection.reconnect_due),
            Link::Tcp(connection) => connection
                .deadline()
                .filter(|_| self.engine.wants_connection(at)),
        };
        self.links.iter().enumerate().filter_map(due).min()
    }

    /// Opens or closes the connection of path `at`, and takes what has come by it.
    fn turn_connection(&mut self, now: Time, at: usize) {
        let Link::Tcp(connection) = &mut self.links[at] else {
            return;
        };

        let wanted = self.engine.wants_connection(at);
        let engine = &mut *self.engine;
        let mut problem = None;
        connection.turn(now, wanted, &mut |event| match event {
            tcp::Event::Connected => engine.on_connected(now, at),
            tcp::Event::Message(message) => engine.on_message_of(now, at, &message),
            tcp::Event::Part => engine.on_part(now, at),
            tcp::Event::Disconnected => engine.on_disconnected(now, at),
            tcp::Event::Failed(failure) => problem = Some(failure),
        });

        match problem {
            Some(tcp::Failure::Unreachable(why)) => self.engine.on_unreachable(now, at, why),
            Some(tcp::Failure::Rejected(why)) => self.engine.on_rejected(now, at, why),
            None => {}
        }
    }

    fn receive(&mut self, at: usize, batches: &mut GroBatches) {
        for _ in 0..BATCHES_A_TURN {
            let Some(connection) = self.links[at].udp() else {
                return self.turn_connection(clock::now(), at);
            };
            let Some(socket) = &connection.socket else {
                return;
            };

            match socket.receive(batches) {
                Ok(count) => {
                    let now = clock::now();
                    connection.received = true;
                    for datagram in batches.datagrams(count) {
                        self.capture
                            .note(now, Direction::In, socket.address(), datagram);
                        self.engine.on_datagram(now, at, datagram);
                    }
                    // A frame that is whole, or the relay that waits to send on, does not wait until all is read.
                    if self.engine.has_output() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.failed(at, &error);
                    break;
                }
            }
        }
    }

    /// Receives what came by multicast.
    fn receive_group(&mut self, at: usize, batches: &mut GroBatches) {
        for _ in 0..BATCHES_A_TURN {
            let connection = self.links[at].udp();
            let Some(group) = connection.and_then(|connection| connection.group.as_ref()) else {
                return;
            };

            match group.receive(batches) {
                Ok(count) => {
                    let now = clock::now();
                    for datagram in batches.datagrams(count) {
                        self.capture
                            .note(now, Direction::In, group.address(), datagram);
                        self.engine.on_group_datagram(now, at, datagram);
                    }
                }
                // The relay sends by unicast instead.
                Err(_) => return,
            }
        }
    }

    fn join(&mut self, now: Time, at: usize, group: SocketAddrV4) {
        if !self.route.multicast {
            return;
        }

        let Some(connection) = self.links[at].udp() else {
            return;
        };

        match connection.join(group) {
            Ok(()) => {
                if let Some(changes) = self.group_changes.note(now) {
                    tracing::info!(changes, %group, "joined the relay's multicast group");
                }
                self.engine.on_group_joined(now, at, group);
            }
            Err(error) => self.warn(
                now,
                &format!("cannot join {group}, so media comes by unicast: {error}"),
            ),
        }
    }

    fn leave(&mut self, now: Time, at: usize) {
        let connection = self.links[at].udp();
        let group = connection.and_then(|connection| connection.group.take());
        if group.is_some()
            && let Some(changes) = self.group_changes.note(now)
        {
            tracing::info!(changes, "left the relay's multicast group");
        }
    }

    fn drain_outputs(&mut self, now: Time) -> ControlFlow<()> {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send(at, datagram) => self.send(now, at, datagram),
                Output::Credit(at, subscription, count) => {
                    if let Some(Link::Tcp(connection)) = self.links.get_mut(at) {
                        connection.give_credit(subscription, count);
                    }
                }
                Output::JoinGroup(at, group) => self.join(now, at, group),
                Output::LeaveGroup(at) => self.leave(now, at),
                output => self.sink.take(now, output)?,
            }
        }

        ControlFlow::Continue(())
    }

    fn send(&mut self, now: Time, at: usize, datagram: Vec<u8>) {
        let socket = match &mut self.links[at] {
            Link::Tcp(connection) => return connection.send(datagram),
            Link::Udp(connection) => &connection.socket,
        };

        // A full send buffer loses the datagram, as a network does.
        let Some(socket) = socket else { return };
        self.capture
            .note(now, Direction::Out, socket.address(), &datagram);
        if let Err(error) = socket.send(&datagram) {
            self.failed(at, &error);
        }
    }

    /// The kernel or the relay's host says that datagrams cannot be delivered.
    fn failed(&mut self, at: usize, error: &io::Error) {
        let now = clock::now();
        let Some(connection) = self.links[at].udp() else {
            return;
        };

        let address = connection.socket.as_ref().map(Socket::address);
        let address = address.map_or_else(String::new, |address| address.to_string());
        let why = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return,
            io::ErrorKind::ConnectionRefused if connection.finds_none() => {
                format!("nobody listens at {address}, and no relay is found on the network")
            }
            io::ErrorKind::ConnectionRefused => format!("nobody listens at {address}"),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => format!("no way to {address}"),
            _ => {
                self.warn(now, &format!("the socket fails: {error}"));
                error.to_string()
            }
        };

        self.engine.on_unreachable(now, at, why);
        self.engine.on_refused(now, at);
        if let Some(connection) = self.links[at].udp() {
            connection.try_next_address(now);
        }
    }

    fn warn(&mut self, now: Time, what: &str) {
        if let Some(count) = self.failures.note(now) {
            tracing::warn!(count, "{what}");
        }
    }
}

/// What a capture counts, as [`counts`] gives it.
const COUNTS: &[&str] = &[
    "lost_on_the_way",
    "whole",
    "lost",
    "repairs_asked",
    "repairs_received",
    "joins",
];

fn counts(now: Time, engine: &Engine) -> Vec<u64> {
    let summary = engine.summary(now);
    let losses = summary.losses;
    let counts = summary.counts;
    vec![
        losses.link + losses.incomplete,
        counts.whole,
        losses.total(),
        counts.repairs_asked,
        counts.repairs_received,
        summary.joins,
    ]
}

/// Ready when a socket can be read, a connection has changed or a relay has moved, which is noted.
fn poll_any(links: &mut [Link], context: &mut task::Context<'_>) -> Poll<()> {
    let mut ready = Poll::Pending;
    for link in links {
        let polled = match link {
            Link::Udp(connection) => connection.poll(context),
            Link::Tcp(connection) => connection.poll(context),
        };
        if polled.is_ready() {
            ready = Poll::Ready(());
        }
    }
    ready
}
