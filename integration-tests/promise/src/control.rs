//! How long the machine lets a program wait that has nothing to do with ours.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Between two samples.
const INTERVAL: Duration = Duration::from_millis(50);

/// Processor time of a sample: longer than a time slice of the scheduler (2 to 3 ms), so that it waits where others do.
const WORK: Duration = Duration::from_millis(4);

/// A thread that does a little work again and again, and how much longer that takes than it should.
#[derive(Debug)]
pub struct Control {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    sums: Mutex<Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Processor time that was used.
    used: Duration,
    /// Time that it took, from the moment at which the thread should have been woken.
    took: Duration,
    /// The longest that one sample took beyond its processor time.
    longest_wait: Duration,
}

/// What a [`Control`] has measured.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many times longer work takes than on an idle machine.
    pub slowdown: f64,
    /// The longest that work had to wait.
    pub longest_wait: Duration,
}

impl Load {
    /// The lesser of both.
    pub(crate) fn at_most(self, most: Self) -> Self {
        Self {
            slowdown: self.slowdown.min(most.slowdown),
            longest_wait: self.longest_wait.min(most.longest_wait),
        }
    }

    /// What `bound` becomes on this machine.
    #[must_use]
    pub fn stretch(&self, bound: Duration) -> Duration {
        bound.mul_f64(self.slowdown) + self.longest_wait
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            slowdown,
            longest_wait,
        } = self;

        write!(
            f,
            "work takes {slowdown:.2} times as long, and waits {longest_wait:.1?} at most"
        )
    }
}

impl Control {
    /// Begins to measure.
    ///
    /// # Panics
    /// When no thread can be started.
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || theirs.run())
            .expect("a test may start threads");

        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// What has been measured so far.
    #[must_use]
    pub fn load(&self) -> Load {
        let sums = *self
            .shared
            .sums
            .lock()
            .unwrap_or_else(PoisonError::into_inner);

        let slowdown = if sums.used.is_zero() {
            1.0
        } else {
            sums.took.as_secs_f64() / sums.used.as_secs_f64()
        };

        Load {
            slowdown: slowdown.max(1.0),
            longest_wait: sums.longest_wait,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it is in the test's output.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while !self.ended.load(Ordering::Relaxed) {
            let due = now() + INTERVAL;
            rest();

            let before = thread_time();
            while thread_time() - before < WORK {}
            let used = thread_time() - before;
            let took = now().saturating_sub(due);

            let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.used += used;
            sums.took += took;
            sums.longest_wait = sums.longest_wait.max(took.saturating_sub(used));
        }
    }
}

fn now() -> Duration {
    read(ClockId::Monotonic)
}

/// Processor time that this thread has used.
fn thread_time() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("these clocks begin at zero")
}

#[expect(clippy::disallowed_methods, reason = "how late it ends is measured")]
fn rest() {
    std::thread::sleep(INTERVAL);
}
