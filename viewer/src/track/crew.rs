//! All trackers of a viewer.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanlight_daemon::Shutdown;

use super::desk::Desk;
use super::member::Member;
use super::tally::{Tally, Tracking};
use super::{Frame, Plan, TrackResult};

/// Called with each answer, on a tracker's thread.
pub type Told = Arc<dyn Fn(&TrackResult) + Send + Sync>;

/// Trackers at work.
pub struct Crew {
    desk: Arc<Desk>,
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
    trackers: usize,
    shutdown: Shutdown,
}

impl Crew {
    /// Starts them; they end at `shutdown`.
    ///
    /// # Errors
    /// When there is no thread or no runtime to be had. A tracker that cannot be started is tried again and again.
    pub fn start(plan: &Plan, told: &Told, shutdown: &Shutdown) -> io::Result<Self> {
        let (desk, tally) = (Arc::new(Desk::default()), Arc::new(Tally::default()));
        let mut crew = Self {
            desk: Arc::clone(&desk),
            tally: Arc::clone(&tally),
            threads: Vec::new(),
            trackers: plan.trackers,
            shutdown: shutdown.clone(),
        };
        for number in 0..plan.trackers {
            let (desk, tally, told) = (Arc::clone(&desk), Arc::clone(&tally), Arc::clone(told));
            let member = Member::new(plan.clone(), desk, tally, told, shutdown.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let name = format!("track-{number}");
            crew.threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(move || runtime.block_on(member.work()))?,
            );
        }
        Ok(crew)
    }

    /// Has a frame looked at, if there is time for it. Never waits.
    pub fn offer(&self, frame: Frame) {
        let displaced = self.desk.put(frame);
        self.tally.note(|counts| {
            counts.offered += 1;
            counts.missing += displaced;
        });
    }

    /// Frames offered that none looked at to the end.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.tally.untracked()
    }

    /// What they did so far.
    #[must_use]
    pub fn report(&self) -> Tracking {
        self.tally.report(self.trackers)
    }

    /// Ends them all, and waits until they are gone.
    pub fn stop(&mut self) {
        self.shutdown.trigger();
        for thread in self.threads.drain(..) {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!("thread {name} broke an invariant");
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("waiting", &self.desk.waiting())
            .finish_non_exhaustive()
    }
}
