//! The relay's address and the socket connected to it. The socket moves when the relay's name resolves to another address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::{Context, Poll};
use std::time::Duration;

use fanlight_proto::clock::Time;

use super::Route;
use super::resolver::{FoundOnPath, Resolver};
use super::socket::Socket;

/// A viewer that finds its relay by itself stays with the one that answered for so long after its last word: a relay that is
/// started again is no reason to ask a stranger.
const STAY: Duration = Duration::from_secs(10);

/// How often to look up a relay that does not answer: it may have another address now.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    resolver: Resolver,
    receive_buffer: usize,
    /// See [`Route::own`](super::Route::own).
    own: Option<Ipv4Addr>,
    pub(super) socket: Option<Socket>,
    /// Receives the relay's multicast, once it has a group for this viewer.
    pub(super) group: Option<Socket>,
    /// When to look for the relay at another address, unless something comes from it before.
    pub(super) reconnect_due: Time,
    pub(super) received: bool,
    /// When something had last come from a relay to stay with.
    heard: Option<Time>,
}

impl Connection {
    /// To relay number `path` of `route`.
    pub(super) fn new(route: &Route, path: usize) -> Self {
        let found = FoundOnPath {
            relays: route.found.clone(),
            path,
            paths: route.relays.len(),
            access: route.accesses[path].clone(),
        };

        Self {
            resolver: Resolver::new(&route.relays[path], found),
            receive_buffer: route.receive_buffer,
            own: route.own,
            socket: None,
            group: None,
            reconnect_due: Time::default(),
            received: false,
            heard: None,
        }
    }

    /// Keeps the socket connected to where the relay is, or may be. Of those that were found, one that only answers is not
    /// enough: it must have opened a session, for which it needs the key, or be this host's.
    ///
    /// # Errors
    /// The address that no socket can be connected to, and why.
    pub(super) fn reconnect(
        &mut self,
        now: Time,
        has_session: bool,
    ) -> Result<(), (SocketAddr, io::Error)> {
        if now < self.reconnect_due {
            return Ok(());
        }

        self.reconnect_due = now + RECONNECT_INTERVAL;
        let received = std::mem::take(&mut self.received);
        if received && (!self.resolver.looks() || has_session || self.asks_own_host()) {
            self.heard = Some(now);
            return Ok(());
        }

        if self.stays(now) {
            return Ok(());
        }

        let Some(address) = self.resolver.next() else {
            return Ok(());
        };

        if self
            .socket
            .as_ref()
            .is_none_or(|socket| socket.address() != address)
        {
            self.group = None;
            let own = self.own.filter(|_| address.ip().is_loopback());
            let connected = Socket::connect(address, self.receive_buffer, own);
            self.socket = Some(connected.map_err(|error| (address, error))?);
        }

        Ok(())
    }

    /// Receives what the relay sends to `group`, and to no other group.
    ///
    /// # Errors
    /// When there is no such socket to be had.
    pub(super) fn join(&mut self, group: SocketAddrV4) -> io::Result<()> {
        self.group = None;
        let Some(socket) = &self.socket else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.group = Some(socket.join(group, self.receive_buffer)?);
        Ok(())
    }

    /// Why there is no address to send to, when the relay's name cannot be resolved.
    pub(super) fn problem(&self) -> Option<&str> {
        self.resolver.problem()
    }

    /// Whether this looks for relays, and finds none beyond this host.
    pub(super) fn finds_none(&self) -> bool {
        self.resolver.finds_none()
    }

    fn stays(&self, now: Time) -> bool {
        self.resolver.looks() && self.heard.is_some_and(|heard| now < heard + STAY)
    }

    fn asks_own_host(&self) -> bool {
        let socket = self.socket.as_ref();
        socket.is_some_and(|socket| socket.address().ip().is_loopback())
    }

    /// Datagrams do not get there: try the next address, if the relay has others.
    pub(super) fn try_next_address(&mut self, now: Time) {
        if self.resolver.has_others() && !self.stays(now) {
            self.received = false;
            self.reconnect_due = now;
        }
    }

    /// Ready when a socket can be read, or the relay's name stands for other addresses than before.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut readable = Poll::Pending;
        for socket in self.socket.iter().chain(&self.group) {
            if socket.poll_readable(context).is_ready() {
                readable = Poll::Ready(());
            }
        }

        let moved = self.resolver.poll_changed(context);
        if moved.is_ready() {
            self.reconnect_due = Time::default();
        }

        if readable.is_ready() { readable } else { moved }
    }
}
