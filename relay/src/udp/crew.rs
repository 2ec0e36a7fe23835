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

use super::sender::{Aborted, Counts, Sender, Share, Turn};
use super::shared::Shared;
use super::wire::{Refused, Train, Wire};
use crate::config::Gso;
use crate::engine::{Fan, Resend, Route};

/// Orders that wait for a thread, at most; of frames only one a stream waits and a few for those who come. A repair that
/// finds no place is lost like a datagram that finds no room: who waits for it asks again.
const MAX_ORDERS: usize = 1024;

/// See the module.
#[derive(Debug)]
pub struct Crew {
    own: Sender,
    mates: Vec<Mate>,
    /// One of the threads has something to tell.
    told: Arc<Notify>,
}

/// A sender with a thread of its own.
#[derive(Debug)]
struct Mate {
    share: Share,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where the event loop and a thread leave things for each other.
#[derive(Debug, Default)]
struct Desk {
    papers: Mutex<Papers>,
    /// There are orders, or it is over.
    ordered: Notify,
}

#[derive(Debug, Default)]
struct Papers {
    orders: VecDeque<Order>,
    over: bool,
    /// Streams that have a frame on its way or waiting for the thread.
    busy: Vec<u16>,
    aborted: VecDeque<Aborted>,
    counts: Counts,
    /// Repairs that found no place among the orders.
    lost_repairs: u64,
}

impl Papers {
    /// What happened, on either side of the desk.
    fn counts(&self) -> Counts {
        Counts {
            crowded_out: self.counts.crowded_out + self.lost_repairs,
            ..self.counts
        }
    }
}

#[derive(Debug)]
enum Order {
    Fan(Time, Fan),
    Resend(Resend),
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: Order) {
        let mut papers = self.papers();
        if let Order::Fan(_, fan) = &order
            && !fan.welcome
        {
            papers.busy.push(fan.alias);
        }
        if matches!(order, Order::Resend(_)) && papers.orders.len() >= MAX_ORDERS {
            papers.lost_repairs += 1;
            return;
        }
        papers.orders.push_back(order);
        self.ordered.notify_one();
    }
}

impl Crew {
    /// `threads` senders, this thread's included, which send by `socket` and by descriptors of the same. `segments` is how
    /// many datagrams the kernel takes as a train.
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
        let mut crew = Self {
            own,
            mates: Vec::new(),
            told,
        };
        for number in 1..threads {
            let sender = Sender::for_share(gso, segments, share(number));
            crew.mates.push(Mate::start(
                sender,
                share(number),
                socket.another()?,
                Arc::clone(&crew.told),
            )?);
        }
        Ok(crew)
    }

    /// As [`Sender::start`].
    pub fn start(&mut self, now: Time, fan: Fan) {
        for mate in &self.mates {
            if fan.targets.iter().any(|target| mate.share.takes(target)) {
                mate.desk.order(Order::Fan(now, fan.clone()));
            }
        }
        self.own.start(now, fan);
    }

    /// As [`Sender::send`]: in this thread, whoever the viewer is.
    pub fn send(&mut self, wire: &impl Wire, to: Route, datagram: &[u8]) {
        self.own.send(wire, to, datagram);
    }

    /// As [`Sender::resend`].
    pub fn resend(&mut self, wire: &impl Wire, resend: Resend) {
        let shared = !wire.has_lane(resend.to.remote);
        match self
            .mates
            .iter()
            .find(|mate| shared && mate.share.has(resend.way.remote))
        {
            Some(mate) => mate.desk.order(Order::Resend(resend)),
            None => self.own.resend(wire, &resend),
        }
    }

    /// As [`Sender::run`]: what this thread sends.
    pub fn run(&mut self, now: Time, wire: &impl Wire) -> Turn {
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
                .mates
                .iter()
                .any(|mate| mate.desk.papers().busy.contains(&alias))
    }

    /// As [`Sender::in_flight`]: in this thread.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.own.in_flight()
    }

    /// As [`Sender::take_aborted`].
    pub fn take_aborted(&mut self) -> Option<Aborted> {
        self.own.take_aborted().or_else(|| {
            self.mates
                .iter()
                .find_map(|mate| mate.desk.papers().aborted.pop_front())
        })
    }

    /// Whether a thread has ended before its time: then its viewers get nothing more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.mates
            .iter()
            .any(|mate| mate.thread.as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// As [`Sender::uses_trains`].
    #[must_use]
    pub const fn uses_trains(&self) -> bool {
        self.own.uses_trains()
    }

    /// What happened so far, in all threads.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.mates.iter().fold(*self.own.counts(), |sum, mate| {
            sum + mate.desk.papers().counts()
        })
    }
}

impl Mate {
    fn start(
        sender: Sender,
        share: Share,
        socket: UdpSocket,
        told: Arc<Notify>,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let desk = Arc::new(Desk::default());
        let (theirs, name) = (Arc::clone(&desk), format!("send-{}", share.number));
        let run = move || {
            runtime.block_on(async {
                match socket
                    .local_addr()
                    .and_then(|address| Shared::new(socket, address))
                {
                    Ok(shared) => work(sender, &SharedOnly(shared), &theirs, &told).await,
                    Err(error) => tracing::error!("a send thread has no socket: {error}"),
                }
            });
        };
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(Self {
            share,
            desk,
            thread: Some(thread),
        })
    }
}

impl Drop for Mate {
    fn drop(&mut self) {
        self.desk.papers().over = true;
        self.desk.ordered.notify_one();
        // One that has panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The socket that all share, without the viewers' own.
struct SharedOnly(Shared);

impl Wire for SharedOnly {
    fn send(&self, train: Train<'_>) -> Result<(), Refused> {
        self.0.send(train)
    }

    #[cfg(target_os = "linux")]
    fn send_many(&self, trains: &[Train<'_>]) -> (usize, Result<(), Refused>) {
        self.0.send_many(trains)
    }

    fn has_lane(&self, _to: std::net::SocketAddr) -> bool {
        false
    }
}

/// What a thread does until it is over.
async fn work(mut sender: Sender, wire: &SharedOnly, desk: &Desk, told: &Notify) {
    let mut orders = VecDeque::new();
    loop {
        {
            let mut papers = desk.papers();
            if papers.over {
                return;
            }
            std::mem::swap(&mut orders, &mut papers.orders);
        }
        for order in orders.drain(..) {
            match order {
                Order::Fan(since, fan) => sender.start(since, fan),
                Order::Resend(resend) => sender.resend(wire, &resend),
            }
        }
        let now = clock::now();
        let turn = sender.run(now, wire);
        if tell(&mut sender, desk) {
            told.notify_one();
        }
        if turn == Turn::Again {
            continue;
        }
        let pause = turn.time().map(|time| time.saturating_since(now));
        tokio::select! {
            () = desk.ordered.notified() => {}
            () = wire.0.writable(), if matches!(turn, Turn::Blocked(_)) => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// Leaves word of what the sender has done; whether there is something that the event loop waits for.
fn tell(sender: &mut Sender, desk: &Desk) -> bool {
    let mut papers = desk.papers();
    let before = papers.busy.len();
    papers.busy.clear();
    papers.busy.extend(sender.busy_streams());
    let Papers {
        orders,
        busy,
        aborted,
        counts,
        ..
    } = &mut *papers;
    busy.extend(orders.iter().filter_map(|order| match order {
        Order::Fan(_, fan) if !fan.welcome => Some(fan.alias),
        Order::Fan(..) | Order::Resend(_) => None,
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
