//! The receiving threads. Each has an event loop on which every session is a task, woken by its sockets and deadlines.

use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fanlight_daemon::capture::Requests;
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use tokio::task::LocalSet;

use super::session::Session;
use super::totals::Totals;
use fanlight_viewer::engine::{Engine, EngineConfig};
use fanlight_viewer::stats::Clock;
use fanlight_viewer::udp::{ReceiveBuffers, Route, drive_shared};

/// The first of the sessions' own addresses on loopback: beside 127.0.0.0/16, where programs listen.
const FIRST_OWN_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// What all sessions have in common.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) sessions: usize,
    pub(super) threads: usize,
    /// From one session's asking to the next one's.
    pub(super) step: Duration,
    pub(super) route: Route,
    pub(super) engine: EngineConfig,
}

impl Plan {
    /// How long it takes until the last session has asked.
    pub(super) fn ramp(&self) -> Duration {
        self.step * u32::try_from(self.sessions.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn route(&self, number: usize) -> Route {
        Route {
            own: Some(own_address(number)),
            ..self.route.clone()
        }
    }

    fn engine(&self, number: usize) -> Engine {
        let name = format!("load {} of {}", number + 1, self.engine.name);
        Engine::new(
            EngineConfig {
                name,
                ..self.engine.clone()
            },
            clock::random_bytes(),
        )
    }
}

/// The threads.
#[derive(Debug)]
pub(super) struct SessionThreads(Vec<JoinHandle<io::Result<()>>>);

impl SessionThreads {
    /// Starts the sessions, whose accounts are in `totals`, until `shutdown`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(
        plan: &Plan,
        totals: &Arc<Totals>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Self> {
        let began = clock::now();
        let start = |number| {
            let share = ThreadShare {
                number,
                plan: plan.clone(),
                totals: Arc::clone(totals),
                began,
                shutdown: shutdown.clone(),
            };

            let thread = thread::Builder::new().name(format!("load {number}"));
            thread.spawn(move || share.run())
        };

        let threads: io::Result<_> = (0..plan.threads).map(start).collect();
        threads.map(Self).context("there is no thread to be had")
    }

    /// Whether a thread has ended before it was asked to.
    pub(super) fn is_broken(&self) -> bool {
        self.0.iter().any(JoinHandle::is_finished)
    }

    /// Waits until all sessions have taken leave.
    ///
    /// # Errors
    /// When a thread could not work.
    pub(super) fn join(self) -> anyhow::Result<()> {
        for thread in self.0 {
            match thread.join() {
                Ok(ended) => ended.context("a thread of the load cannot work")?,
                Err(_) => bail!("a thread of the load broke an invariant"),
            }
        }
        Ok(())
    }
}

/// The sessions of one thread.
struct ThreadShare {
    number: usize,
    plan: Plan,
    totals: Arc<Totals>,
    began: Time,
    shutdown: Shutdown,
}

impl ThreadShare {
    fn run(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let sessions = (self.number..self.plan.sessions).step_by(self.plan.threads);
        let local = LocalSet::new();
        let buffers = Rc::new(ReceiveBuffers::default());
        let clock = Clock::here();
        let share = Rc::new(self);
        local.block_on(&runtime, async {
            let attended: Vec<_> = sessions
                .map(|number| {
                    tokio::task::spawn_local(run_session(
                        Rc::clone(&share),
                        number,
                        Rc::clone(&buffers),
                        clock,
                    ))
                })
                .collect();

            for session in attended {
                session.await.map_err(io::Error::other)?;
            }

            Ok(())
        })
    }
}

/// One session, from its asking to its leave.
async fn run_session(
    share: Rc<ThreadShare>,
    number: usize,
    buffers: Rc<ReceiveBuffers>,
    clock: Clock,
) {
    let due = share.began + share.plan.step * u32::try_from(number).unwrap_or(u32::MAX);
    tokio::select! {
        () = share.shutdown.wait() => return,
        () = tokio::time::sleep(due.saturating_since(clock::now())) => {}
    }

    let route = share.plan.route(number);
    let mut engine = share.plan.engine(number);
    let limit = share.plan.engine.max_frame_bytes;
    let mut session = Session::new(Arc::clone(&share.totals), number, limit, clock);
    drive_shared(
        &route,
        &mut engine,
        &mut session,
        &share.shutdown,
        &buffers,
        Requests::never(),
    )
    .await;

    session.finish(&engine);
}

/// The own address of session `number` on loopback.
fn own_address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or_default();
    Ipv4Addr::from_bits(FIRST_OWN_ADDRESS.to_bits() + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_has_an_address_of_its_own_on_loopback() {
        assert_eq!(own_address(0), FIRST_OWN_ADDRESS);
        assert_eq!(own_address(300), Ipv4Addr::new(127, 1, 1, 45));
        assert!(own_address(9_999).is_loopback());
    }
}
