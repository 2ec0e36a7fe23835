//! The socket and the clock around an [`Engine`]: one thread that waits for datagrams, deadlines and the end.

mod peer;
mod socket;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use fanlight_daemon::capture::{Capture, Direction, Requests, Role};
use fanlight_daemon::{Shutdown, clock, logline};
use fanlight_proto::clock::Time;

use crate::engine::{Engine, Output};
use peer::Peer;
use socket::{Socket, Trains};

/// A relay that does not answer may have moved: look for it anew this often.
const SEEK_INTERVAL: Duration = Duration::from_secs(1);

/// What one turn may take in before outputs and deadlines get their due: about 2 ms of work.
const BATCHES_A_TURN: usize = 8;

/// What is done with the engine's outputs.
pub trait Sink {
    /// Takes an output other than [`Output::Send`]; breaking ends the conversation.
    fn take(&mut self, now: Time, output: Output) -> ControlFlow<()>;

    /// Called at the end of each turn, when all outputs are taken. Returns when the next turn is due at the latest.
    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time>;
}

/// How to reach the relay.
#[derive(Clone, Debug)]
pub struct Route {
    /// host:port.
    pub relay: String,
    /// Bytes to ask the kernel to keep for the socket.
    pub receive_buffer: usize,
    /// Where captures of the datagrams are written; none: they are not kept.
    pub capture: Option<PathBuf>,
}

impl Route {
    /// How many datagrams the socket will hold: what the kernel grants. Says once when it is less than asked.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn receive_capacity(&self) -> io::Result<u32> {
        socket::receive_capacity(self.receive_buffer)
    }
}

/// Converses with the relay until `shutdown` or a break of the sink; then takes leave. Nothing that the relay or the
/// network does ends it.
///
/// # Errors
/// When the runtime cannot be made.
pub fn converse(route: &Route, engine: &mut Engine, sink: &mut dyn Sink, shutdown: &Shutdown) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut conversation = Conversation {
        peer: Peer::new(&route.relay),
        receive_buffer: route.receive_buffer,
        socket: None,
        seek_due: Time::default(),
        heard: false,
        failures: logline::Limited::new(),
        capture: Capture::new("fanlight-viewer", Role::Viewer, COUNTS, route.capture.as_deref()),
        engine,
        sink,
    };
    runtime.block_on(conversation.run(shutdown));
    // A look-up under way may take long; nobody waits for it.
    runtime.shutdown_background();
    Ok(())
}

struct Conversation<'a> {
    peer: Peer,
    receive_buffer: usize,
    socket: Option<Socket>,
    /// When to look for the relay at another address, unless it is heard before.
    seek_due: Time,
    heard: bool,
    failures: logline::Limited,
    capture: Capture,
    engine: &'a mut Engine,
    sink: &'a mut dyn Sink,
}

impl Conversation<'_> {
    async fn run(&mut self, shutdown: &Shutdown) {
        let mut trains = Trains::new();
        let mut requests = Requests::listen();
        while !shutdown.requested() {
            self.seek(clock::now());
            let now = clock::now();
            self.engine.on_tick(now);
            if self.hand_out(now).is_break() {
                break;
            }
            self.capture.turn(now, || counts(self.engine));
            let due = [self.engine.next_deadline(), self.sink.turn(now, self.engine), Some(self.seek_due)];
            let due = due.into_iter().flatten().min().unwrap_or(now);
            tokio::select! {
                () = shutdown.wait() => break,
                () = tokio::time::sleep(due.saturating_since(clock::now())) => {}
                () = requests.next() => self.capture.on_request(clock::now(), || counts(self.engine)),
                () = self.peer.changed() => self.seek_due = Time::default(),
                () = readable(self.socket.as_ref()) => self.receive(&mut trains),
            }
        }
        let now = clock::now();
        self.engine.leave();
        // What it still gives out besides the farewell is of no more use.
        let _ = self.hand_out(now);
        self.sink.turn(now, self.engine);
    }

    /// Keeps the socket connected to where the relay is, or may be.
    fn seek(&mut self, now: Time) {
        if now < self.seek_due {
            return;
        }
        self.seek_due = now + SEEK_INTERVAL;
        if std::mem::take(&mut self.heard) {
            return;
        }
        let Some(address) = self.peer.next() else { return };
        if self.socket.as_ref().is_some_and(|socket| socket.address() == address) {
            return;
        }
        match Socket::connect(address, self.receive_buffer) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.complain(now, &format!("cannot send to {address}: {error}")),
        }
    }

    fn receive(&mut self, trains: &mut Trains) {
        let Some(socket) = &self.socket else { return };
        for _ in 0..BATCHES_A_TURN {
            match socket.receive(trains) {
                Ok(count) => {
                    let now = clock::now();
                    self.heard = true;
                    for datagram in trains.datagrams(count) {
                        self.capture.note(now, Direction::In, socket.address(), datagram);
                        self.engine.on_datagram(now, datagram);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.failed(&error);
                    break;
                }
            }
        }
    }

    fn hand_out(&mut self, now: Time) -> ControlFlow<()> {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send(datagram) => {
                    if let Some(socket) = &self.socket {
                        self.capture.note(now, Direction::Out, socket.address(), &datagram);
                    }
                    // A datagram that finds no room is lost like any other.
                    if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(&datagram)) {
                        self.failed(&error);
                    }
                }
                output => self.sink.take(now, output)?,
            }
        }
        ControlFlow::Continue(())
    }

    /// The kernel or the relay's host says that datagrams do not get there.
    fn failed(&mut self, error: &io::Error) {
        let now = clock::now();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return,
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => {}
            _ => self.complain(now, &format!("the socket fails: {error}")),
        }
        self.engine.on_refused(now);
        if self.peer.has_others() {
            (self.heard, self.seek_due) = (false, now);
        }
    }

    fn complain(&mut self, now: Time, what: &str) {
        if let Some(count) = self.failures.note(now) {
            tracing::warn!(count, "{what}");
        }
    }
}

/// What a capture counts, as [`counts`] gives it.
const COUNTS: &[&str] = &["lost_on_the_way", "whole", "lost", "repairs_asked", "repairs_received", "joins"];

fn counts(engine: &Engine) -> Vec<u64> {
    let summary = engine.summary();
    let (losses, counts) = (summary.losses, summary.counts);
    let on_the_way = losses.link + losses.incomplete;
    vec![on_the_way, counts.whole, losses.total(), counts.repairs_asked, counts.repairs_received, summary.joins]
}

async fn readable(socket: Option<&Socket>) {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}
