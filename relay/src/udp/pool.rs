//! The senders of a relay: one in the event loop, and on request further ones with a thread each, which send to their
//! share of the viewers by the same socket.

use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use tokio::sync::Notify;

use super::sender::{Aborted, Counts, NextRun, Sender, Share};
use super::shared::SharedSocket;
use super::wire::{GsoBatch, Refused, Wire};
use crate::config::Gso;
use crate::engine::{FrameTransmit, Retransmit, Route};

/// Orders that wait for a thread, at most; of frames only one a stream waits and a few for those who come. A repair that
/// finds no place is lost like a datagram that finds no room: who waits for it asks again.
const MAX_ORDERS: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct SenderPool {
    own: Sender,
    workers: Vec<SenderWorker>,
    /// One of the threads has something to tell.
    told: Arc<Notify>,
}

/// A sender with a thread of its own.
#[derive(Debug)]
struct SenderWorker {
    share: Share,
    queue: Arc<WorkQueue>,
    thread: Option<JoinHandle<()>>,
}

/// Where the event loop and a thread leave things for each other.
#[derive(Debug, Default)]
struct WorkQueue {
    state: Mutex<QueueState>,
    /// There are orders, or it is over.
    ordered: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    orders: VecDeque<Order>,
    over: bool,
    /// Streams that have a frame on its way or waiting for the thread.
    busy: Vec<u16>,
    aborted: VecDeque<Aborted>,
    counts: Counts,
    /// Repairs that found no place among the orders.
    lost_repairs: u64,
}

impl QueueState {
    /// What happened, on either side of the queue.
    fn counts(&self) -> Counts {
        Counts {
            buffer_full: self.counts.buffer_full + self.lost_repairs,
            ..self.counts
        }
    }
}

#[derive(Debug)]
enum Order {
    Transmit(Time, FrameTransmit),
    Retransmit(Retransmit),
}

impl WorkQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: Order) {
        let mut state = self.state();
        if let Order::Transmit(_, transmit) = &order
            && !transmit.catch_up
        {
            state.busy.push(transmit.alias);
        }
        if matches!(order, Order::Retransmit(_)) && state.orders.len() >= MAX_ORDERS {
            state.lost_repairs += 1;
            return;
        }
        state.orders.push_back(order);
        self.ordered.notify_one();
    }
}

impl SenderPool {
    /// `threads` senders, this thread's included, which send by `socket` and by descriptors of the same. `segments` is how
    /// many datagrams the kernel takes as a batch.
    ///
    /// # Errors
    /// When the system denies a thread or a descriptor.
    pub fn new(
        gso: Gso,
        segments: usize,
        threads: usize,
        socket: &super::Socket,
    ) -> io::Result<Self> {
        let told = Arc::new(Notify::new());
        let share = |number| Share {
            number,
            of: threads.max(1),
        };
        let own = Sender::for_share(gso, segments, share(0));
        let mut pool = Self {
            own,
            workers: Vec::new(),
            told,
        };
        for number in 1..threads {
            let sender = Sender::for_share(gso, segments, share(number));
            pool.workers.push(SenderWorker::start(
                sender,
                share(number),
                socket.another()?,
                Arc::clone(&pool.told),
            )?);
        }
        Ok(pool)
    }

    /// As [`Sender::start`].
    pub fn start(&mut self, now: Time, transmit: FrameTransmit) {
        for worker in &self.workers {
            if transmit
                .targets
                .iter()
                .any(|target| worker.share.takes(target))
            {
                worker.queue.order(Order::Transmit(now, transmit.clone()));
            }
        }
        self.own.start(now, transmit);
    }

    /// As [`Sender::send`]: in this thread, whoever the viewer is.
    pub fn send(&mut self, wire: &impl Wire, to: Route, datagram: &[u8]) {
        self.own.send(wire, to, datagram);
    }

    /// As [`Sender::retransmit`].
    pub fn retransmit(&mut self, wire: &impl Wire, retransmit: Retransmit) {
        let shared = !wire.has_dedicated_socket(retransmit.to.remote);
        match self
            .workers
            .iter()
            .find(|worker| shared && worker.share.has(retransmit.way.remote))
        {
            Some(worker) => worker.queue.order(Order::Retransmit(retransmit)),
            None => self.own.retransmit(wire, &retransmit),
        }
    }

    /// As [`Sender::run`]: what this thread sends.
    pub fn run(&mut self, now: Time, wire: &impl Wire) -> NextRun {
        self.own.run(now, wire)
    }

    /// Waits until one of the threads has something to tell: that a stream is free, or a frame given up.
    pub async fn told(&self) {
        self.told.notified().await;
    }

    /// As [`Sender::busy`].
    #[must_use]
    pub fn busy(&self, alias: u16) -> bool {
        self.own.busy(alias)
            || self
                .workers
                .iter()
                .any(|worker| worker.queue.state().busy.contains(&alias))
    }

    /// As [`Sender::in_flight`]: in this thread.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.own.in_flight()
    }

    /// As [`Sender::take_aborted`].
    pub fn take_aborted(&mut self) -> Option<Aborted> {
        self.own.take_aborted().or_else(|| {
            self.workers
                .iter()
                .find_map(|worker| worker.queue.state().aborted.pop_front())
        })
    }

    /// Whether a thread has ended before its time: then its viewers get nothing more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.thread.as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// As [`Sender::uses_gso`].
    #[must_use]
    pub const fn uses_gso(&self) -> bool {
        self.own.uses_gso()
    }

    /// What happened so far, in all threads.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.workers.iter().fold(*self.own.counts(), |sum, worker| {
            sum + worker.queue.state().counts()
        })
    }
}

impl SenderWorker {
    fn start(
        sender: Sender,
        share: Share,
        socket: UdpSocket,
        told: Arc<Notify>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let queue = Arc::new(WorkQueue::default());
        let (theirs, name) = (Arc::clone(&queue), format!("send-{}", share.number));
        let run = move || {
            runtime.block_on(async {
                match socket
                    .local_addr()
                    .and_then(|address| SharedSocket::new(socket, address))
                {
                    Ok(shared) => work(sender, &SharedOnly(shared), &theirs, &told).await,
                    Err(error) => tracing::error!("a send thread has no socket: {error}"),
                }
            });
        };
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(Self {
            share,
            queue,
            thread: Some(thread),
        })
    }
}

impl Drop for SenderWorker {
    fn drop(&mut self) {
        self.queue.state().over = true;
        self.queue.ordered.notify_one();
        // One that has panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The socket that all share, without the viewers' own.
struct SharedOnly(SharedSocket);

impl Wire for SharedOnly {
    fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused> {
        self.0.send(batch)
    }

    #[cfg(target_os = "linux")]
    fn send_many(&self, batches: &[GsoBatch<'_>]) -> (usize, Result<(), Refused>) {
        self.0.send_many(batches)
    }

    fn has_dedicated_socket(&self, _to: std::net::SocketAddr) -> bool {
        false
    }
}

/// What a thread does until it is over.
async fn work(mut sender: Sender, wire: &SharedOnly, queue: &WorkQueue, told: &Notify) {
    let mut orders = VecDeque::new();
    loop {
        {
            let mut state = queue.state();
            if state.over {
                return;
            }
            std::mem::swap(&mut orders, &mut state.orders);
        }
        for order in orders.drain(..) {
            match order {
                Order::Transmit(since, transmit) => sender.start(since, transmit),
                Order::Retransmit(retransmit) => sender.retransmit(wire, &retransmit),
            }
        }
        let now = clock::now();
        let turn = sender.run(now, wire);
        if tell(&mut sender, queue) {
            told.notify_one();
        }
        if turn == NextRun::Again {
            continue;
        }
        let pause = turn.time().map(|time| time.saturating_since(now));
        tokio::select! {
            () = queue.ordered.notified() => {}
            () = wire.0.writable(), if matches!(turn, NextRun::Blocked(_)) => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// Leaves word of what the sender has done; whether there is something that the event loop waits for.
fn tell(sender: &mut Sender, queue: &WorkQueue) -> bool {
    let mut state = queue.state();
    let before = state.busy.len();
    state.busy.clear();
    state.busy.extend(sender.busy_streams());
    let QueueState {
        orders,
        busy,
        aborted,
        counts,
        ..
    } = &mut *state;
    busy.extend(orders.iter().filter_map(|order| match order {
        Order::Transmit(_, transmit) if !transmit.catch_up => Some(transmit.alias),
        Order::Transmit(..) | Order::Retransmit(_) => None,
    }));
    *counts = *sender.counts();
    let told = aborted.len();
    while let Some(given) = sender.take_aborted() {
        aborted.push_back(given);
    }
    busy.len() < before || aborted.len() > told
}

#[cfg(test)]
mod tests;
