//! All trackers of a viewer, and their threads.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanlight_daemon::Shutdown;

use super::counters::{TrackCounters, Tracking};
use super::job_queue::JobQueue;
use super::worker::TrackerWorker;
use super::{Frame, Plan, TrackResult};

/// Called with each answer, on a tracker's thread.
pub type OnResult = Arc<dyn Fn(&TrackResult) + Send + Sync>;

/// Trackers at work.
pub struct TrackerPool {
    queue: Arc<JobQueue>,
    counters: Arc<TrackCounters>,
    threads: Vec<JoinHandle<()>>,
    trackers: usize,
    shutdown: Shutdown,
}

impl TrackerPool {
    /// Starts them; they end at `shutdown`.
    ///
    /// # Errors
    /// When there is no thread or no runtime to be had. A tracker that cannot be started is tried again and again.
    pub fn start(plan: &Plan, on_result: &OnResult, shutdown: &Shutdown) -> io::Result<Self> {
        let queue = Arc::new(JobQueue::default());
        let counters = Arc::new(TrackCounters::default());
        let mut pool = Self {
            queue: Arc::clone(&queue),
            counters: Arc::clone(&counters),
            threads: Vec::new(),
            trackers: plan.trackers,
            shutdown: shutdown.clone(),
        };

        for number in 0..plan.trackers {
            let queue = Arc::clone(&queue);
            let counters = Arc::clone(&counters);
            let on_result = Arc::clone(on_result);
            let worker =
                TrackerWorker::new(plan.clone(), queue, counters, on_result, shutdown.clone());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let name = format!("track-{number}");
            pool.threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(move || runtime.block_on(worker.work()))?,
            );
        }

        Ok(pool)
    }

    /// Has a frame looked at, if there is time for it. Never waits.
    pub fn offer(&self, frame: Frame) {
        let displaced = self.queue.push(frame);
        self.counters.note(|counts| {
            counts.offered += 1;
            counts.missing += displaced;
        });
    }

    /// Frames offered that none looked at to the end.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.counters.untracked()
    }

    /// What they did so far.
    #[must_use]
    pub fn report(&self) -> Tracking {
        self.counters.report(self.trackers)
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

impl Drop for TrackerPool {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for TrackerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackerPool")
            .field("waiting", &self.queue.waiting())
            .finish_non_exhaustive()
    }
}
