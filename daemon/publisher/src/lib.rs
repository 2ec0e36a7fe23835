//! Publishing over ZeroMQ: an XPUB endpoint of our own, because no library bounds what a subscriber may cost.
//!
//! A source binds it, and a relay that publishes for other relays; the threads that make frames call `publish`, and write straight to a few idle subscribers. A thread of
//! its own accepts connections, reads what subscribers say and writes what could not be written at once. Everything that a
//! peer can make it hold has a cap: connections, time of the handshake, subscriptions, bytes of a frame, messages that
//! wait. A peer that reads too slowly loses frames, and one that does not read at all loses its connection; the others
//! notice neither.

#![forbid(unsafe_code)]

mod answers;
mod feedback_sink;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod listener;
mod newest;
mod places;
mod send_queue;
mod subscriber;
#[cfg(test)]
mod tests;
mod upstream_limiter;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_daemon::stream_socket::StreamSocket;
use fanlight_proto::message::State;
use fanlight_proto::zmtp::AcceptedSecurity;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use answers::Answerer;
pub use fanlight_daemon::endpoint::Endpoint;
pub use feedback_sink::{ControlHandler, ControlReply, FeedbackSink, NullSink};
use listener::Listener;
use newest::{Content, Newest};
use places::{Place, Places};
use subscriber::{DisconnectReason, Message, Subscriber};

/// Connections that the publishing thread writes to itself. With more of them it would be late for its next picture.
const WRITTEN_AT_ONCE: usize = 4;

/// Pause after an accept that failed; out of descriptors, the next one would fail as well.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a publisher cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody answers at a socket's path.
    #[error(
        "another source is publishing at {endpoint}: stop it, or publish elsewhere (--publish)"
    )]
    InUse {
        /// The address that is taken.
        endpoint: Endpoint,
    },
    /// The path is taken by something that was never a publisher.
    #[error(
        "cannot publish at {endpoint}: there is a file that is no socket; move it away or publish elsewhere (--publish)"
    )]
    NotASocket {
        /// The address that is taken.
        endpoint: Endpoint,
    },
    /// The system refuses.
    #[error("cannot publish at {endpoint}: {source}")]
    Bind {
        /// The address that was tried.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// There is no thread or runtime to be had.
    #[error("cannot start the publisher's thread: {0}")]
    Thread(io::Error),
}

/// What a publisher has done since it was bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Peers with at least one subscription, now.
    pub subscribers: usize,
    /// Connections, now; those still shaking hands included.
    pub connections: usize,
    /// Messages handed in.
    pub published: u64,
    /// Messages that a subscriber did not get because newer ones overtook them, summed over all subscribers.
    pub dropped: u64,
    /// Bytes of bodies written to subscribers' sockets.
    pub sent_bytes: u64,
    /// Peers that were turned away or cut off: no room, no handshake, a rule broken, reading stopped.
    pub refused: u64,
    /// Reports and probes of relays that were taken.
    pub feedback: u64,
    /// Messages of relays that were dropped: too many, or malformed.
    pub feedback_dropped: u64,
}

/// A bound PUB endpoint. Dropping it closes all connections and removes its socket files.
#[derive(Debug)]
pub struct Publisher {
    hub: Arc<Hub>,
    endpoints: Vec<Endpoint>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Binds every endpoint and serves them on a thread of its own. When this returns, subscribers can connect, secured
    /// as `security` says. What they say goes to `sink`.
    ///
    /// # Errors
    /// The first endpoint that cannot be bound, and why; nothing stays bound then.
    pub fn bind(
        endpoints: &[Endpoint],
        security: AcceptedSecurity,
        sink: Arc<dyn FeedbackSink>,
    ) -> Result<Self, PublishError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PublishError::Thread)?;

        let entered = runtime.enter();
        let listeners: Vec<_> = endpoints
            .iter()
            .map(Listener::bind)
            .collect::<Result<_, _>>()?;

        let local = listeners
            .iter()
            .map(Listener::local)
            .collect::<Result<_, _>>()
            .map_err(PublishError::Thread)?;

        if let Some(keys) = &security.keys {
            tracing::info!(public = %keys.own.public(), "relays must list this source's key");
        }

        let hub = Arc::new(Hub::new(Answerer::new(sink), security));
        for listener in listeners {
            tokio::spawn(accept(listener, Arc::clone(&hub)));
        }

        drop(entered);
        let (stop, mut stopped) = watch::channel(false);
        // An error means that the sender is gone, which is as good a reason to stop. With the runtime all tasks end.
        let serve = move || drop(runtime.block_on(stopped.wait_for(|stop| *stop)));
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(serve)
            .map_err(PublishError::Thread)?;

        Ok(Self {
            hub,
            endpoints: local,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it is bound, with the ports that the system chose.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Hands a frame to everyone whose subscription `topic` begins with. Callable from any thread; waits for no peer. Who
    /// subscribes within the next half second gets it too, unless a newer one has come under this topic.
    pub fn publish(&self, topic: Bytes, body: Bytes) {
        self.hand_out(Content::Frame, &Message { topic, body });
    }

    /// Does the same with what is published between frames and tells this state. Who subscribes gets it behind the frame, and
    /// alone when the stream is not live: then the frame is of the past.
    pub fn publish_heartbeat(&self, topic: Bytes, body: Bytes, state: State) {
        let is_live = state == State::Live;
        self.hand_out(Content::Heartbeat { is_live }, &Message { topic, body });
    }

    fn hand_out(&self, content: Content, message: &Message) {
        let counters = &self.hub.counters;

        // Both under one lock, so that who subscribes meanwhile gets each message once and in order.
        let subscribers = self.hub.subscribers();
        let mut newest = self.hub.newest.lock();
        let replaced = newest.put(clock::now(), content, message.clone());
        drop(newest);

        for (at, subscriber) in subscribers.iter().enumerate() {
            let offered = subscriber.offer(message, at < WRITTEN_AT_ONCE);
            counters.sent_bytes.fetch_add(offered.sent as u64, Relaxed);
            counters.dropped.fetch_add(offered.dropped.into(), Relaxed);
        }

        counters.published.fetch_add(1, Relaxed);
        // The memory of an older frame is given back while nobody waits for the lock.
        drop(subscribers);
        drop(replaced);
    }

    /// Says to each relay that this one lives, and what it knows of its sources' clocks. A relay that publishes does so every
    /// [`HEARTBEAT_INTERVAL`](fanlight_proto::limits::HEARTBEAT_INTERVAL): when no stream has a source, nothing else would come.
    pub fn keep_alive(&self) {
        self.hub.newest.lock().forget_old(clock::now());
        let body = self.hub.answerer.keep_alive();
        for subscriber in self.hub.subscribers().iter() {
            if subscriber.is_relay() {
                subscriber.answer(body.clone());
            }
        }
    }

    /// Changes how subscribers secure their connections. Relays whose keys are not accepted any more are cut off.
    pub fn set_security(&self, security: AcceptedSecurity) {
        self.hub.security.send_replace(Arc::new(security));
    }

    /// Relays may ask for the camera's controls from now on.
    pub fn serve_controls(&self, controls: Arc<dyn ControlHandler>) {
        // There is one camera for as long as the publisher lasts.
        let _ = self.hub.controls.set(controls);
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.hub.counters;
        Stats {
            subscribers: self
                .hub
                .subscribers()
                .iter()
                .filter(|subscriber| subscriber.is_subscribed())
                .count(),
            connections: self.hub.places.count(),
            published: counters.published.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            sent_bytes: counters.sent_bytes.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            feedback: counters.feedback.load(Relaxed),
            feedback_dropped: counters.feedback_dropped.load(Relaxed),
        }
    }

    /// Closes all connections and removes the socket files; returns when that is done.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the publisher's thread panicked");
        }
    }
}

/// What the publishing side and the connections share.
#[derive(Debug)]
struct Hub {
    security: watch::Sender<Arc<AcceptedSecurity>>,
    places: Arc<Places>,
    subscribers: Mutex<Vec<Arc<Subscriber>>>,
    /// Taken while `subscribers` is held.
    newest: Mutex<Newest>,
    answerer: Answerer,
    controls: OnceLock<Arc<dyn ControlHandler>>,
    counters: Counters,
    refusals: Mutex<LogLimiter>,
    drops: Mutex<LogLimiter>,
    /// Numbers the peers, from 1.
    peers: AtomicU64,
}

#[derive(Debug, Default)]
struct Counters {
    published: AtomicU64,
    dropped: AtomicU64,
    sent_bytes: AtomicU64,
    refused: AtomicU64,
    feedback: AtomicU64,
    feedback_dropped: AtomicU64,
}

impl Hub {
    fn new(answerer: Answerer, security: AcceptedSecurity) -> Self {
        Self {
            security: watch::Sender::new(Arc::new(security)),
            places: Arc::default(),
            subscribers: Mutex::default(),
            newest: Mutex::default(),
            answerer,
            controls: OnceLock::new(),
            counters: Counters::default(),
            refusals: Mutex::default(),
            drops: Mutex::default(),
            peers: AtomicU64::default(),
        }
    }

    fn sink(&self) -> &dyn FeedbackSink {
        self.answerer.sink()
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.subscribers.lock()
    }

    fn refuse(&self, peer: &str, reason: &dyn std::fmt::Display) {
        self.counters.refused.fetch_add(1, Relaxed);
        let due = self.refusals.lock().note(clock::now());
        if let Some(count) = due {
            tracing::warn!(peer, %reason, count, "subscriber refused");
        }
    }

    fn drop_feedback(&self, peer: &str, reason: &dyn std::fmt::Display) {
        self.counters.feedback_dropped.fetch_add(1, Relaxed);
        let due = self.drops.lock().note(clock::now());
        if let Some(count) = due {
            tracing::warn!(peer, %reason, count, "feedback of a relay dropped");
        }
    }
}

/// A subscriber's place in the hub for as long as its connection lasts.
struct Registration<'a> {
    hub: &'a Hub,
    subscriber: Arc<Subscriber>,
    /// No other peer of this publisher has it, not even later.
    number: u64,
}

impl<'a> Registration<'a> {
    fn new(hub: &'a Hub, subscriber: Subscriber) -> Self {
        let subscriber = Arc::new(subscriber);
        hub.subscribers().push(Arc::clone(&subscriber));
        Self {
            hub,
            subscriber,
            number: hub.peers.fetch_add(1, Relaxed) + 1,
        }
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.hub
            .subscribers()
            .retain(|held| !Arc::ptr_eq(held, &self.subscriber));
        self.hub.sink().on_gone(clock::now(), self.number);
    }
}

async fn accept(listener: Listener, hub: Arc<Hub>) {
    loop {
        match listener.accept().await {
            Ok((connection, peer)) => {
                let place = hub.places.enter(peer.address);
                tokio::spawn(attend(connection, peer.name, place, Arc::clone(&hub)));
            }
            Err(error) => {
                hub.refuse("unknown", &error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn attend(connection: StreamSocket, peer: String, place: Place, hub: Arc<Hub>) {
    let reason = tokio::select! {
        reason = subscriber::serve(connection, &peer, &place, &hub) => reason,
        () = place.displaced() => DisconnectReason::Displaced,
    };

    if reason.is_offence() {
        hub.refuse(&peer, &reason);
    } else {
        tracing::debug!(peer, %reason, "subscriber left");
    }
}
