//! The sockets and the clock around an [`Engine`]: an event loop that waits for datagrams, deadlines and the shutdown.
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
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::handshake::ViewerAccess;

use crate::engine::{Engine, Output};
use crate::found_relays::{AUTO, FoundRelays, LOCAL};
use connection::Connection;
pub use socket::{GroBatches, Socket};

/// Most that one turn receives before outputs and deadlines are handled: about 2 ms of work.
const BATCHES_A_TURN: usize = 8;

/// What is done with the engine's outputs.
pub trait Sink {
    /// Takes an output other than [`Output::Send`] and those of groups; a break ends [`drive`].
    fn take(&mut self, now: Time, output: Output) -> ControlFlow<()>;

    /// Called at the end of each turn, when all outputs are taken. Returns when the next turn is due at the latest.
    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time>;
}

/// How to reach the relays.
#[derive(Clone, Debug)]
pub struct Route {
    /// host:port of each, or `auto` for what is found; the paths of the engine in their order.
    pub relays: Vec<String>,
    /// What is found.
    pub found: FoundRelays,
    /// The proof of access for each.
    pub accesses: Vec<ViewerAccess>,
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
    let paths = 0..route.relays.len();
    let connections = paths.map(|path| Connection::new(route, path)).collect();

    let capture = Capture::new(
        "fanlight-viewer",
        Role::Viewer,
        COUNTS,
        route.capture.as_deref(),
    );

    let failures = LogLimiter::new();
    let group_changes = LogLimiter::new();
    let multicast = route.multicast;
    let mut driver = Driver {
        connections,
        multicast,
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

struct Driver<'a> {
    connections: Vec<Connection>,
    multicast: bool,
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
            self.engine.on_tick(now);

            if self.drain_outputs(now).is_break() {
                break;
            }

            self.capture.turn(now, || counts(now, self.engine));
            let reconnect = self
                .connections
                .iter()
                .map(|connection| connection.reconnect_due)
                .min();

            let turn = self.sink.turn(now, self.engine);
            let due = [self.engine.next_deadline(), turn, reconnect];
            let due = due.into_iter().flatten().min().unwrap_or(now);

            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(due.saturating_since(clock::now())) => {}
                () = requests.next() => {
                    let now = clock::now();
                    self.capture.on_request(now, || counts(now, self.engine));
                }
                () = poll_fn(|context| poll_any(&mut self.connections, context)) => {}
            }

            for at in 0..self.connections.len() {
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
        for at in 0..self.connections.len() {
            let has_session = self.engine.has_session(at);
            if let Err((address, error)) = self.connections[at].reconnect(now, has_session) {
                self.warn(now, &format!("cannot send to {address}: {error}"));
            }

            if let Some(problem) = self.connections[at].problem() {
                self.engine.on_unreachable(now, at, problem.to_owned());
            }
        }
    }

    fn receive(&mut self, at: usize, batches: &mut GroBatches) {
        for _ in 0..BATCHES_A_TURN {
            let connection = &mut self.connections[at];
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
            let Some(group) = &self.connections[at].group else {
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
        if !self.multicast {
            return;
        }

        match self.connections[at].join(group) {
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
        if self.connections[at].group.take().is_some()
            && let Some(changes) = self.group_changes.note(now)
        {
            tracing::info!(changes, "left the relay's multicast group");
        }
    }

    fn drain_outputs(&mut self, now: Time) -> ControlFlow<()> {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send(at, datagram) => {
                    // A full send buffer loses the datagram, as a network does.
                    let Some(socket) = self
                        .connections
                        .get(at)
                        .and_then(|connection| connection.socket.as_ref())
                    else {
                        continue;
                    };

                    self.capture
                        .note(now, Direction::Out, socket.address(), &datagram);
                    if let Err(error) = socket.send(&datagram) {
                        self.failed(at, &error);
                    }
                }
                Output::JoinGroup(at, group) => self.join(now, at, group),
                Output::LeaveGroup(at) => self.leave(now, at),
                output => self.sink.take(now, output)?,
            }
        }

        ControlFlow::Continue(())
    }

    /// The kernel or the relay's host says that datagrams cannot be delivered.
    fn failed(&mut self, at: usize, error: &io::Error) {
        let now = clock::now();
        let connection = &self.connections[at];
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
        self.connections[at].try_next_address(now);
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
    let on_the_way = losses.link + losses.incomplete;
    vec![
        on_the_way,
        counts.whole,
        losses.total(),
        counts.repairs_asked,
        counts.repairs_received,
        summary.joins,
    ]
}

/// Ready when a socket can be read or a relay has moved, which is noted.
fn poll_any(connections: &mut [Connection], context: &mut task::Context<'_>) -> Poll<()> {
    let mut ready = Poll::Pending;
    for connection in connections {
        if connection.poll(context).is_ready() {
            ready = Poll::Ready(());
        }
    }
    ready
}
