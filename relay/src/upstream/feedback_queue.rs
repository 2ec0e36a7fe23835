//! Where the event loop leaves feedback for one source, for the upstream thread to send. The newest report waits, and
//! neither side waits for the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fanlight_proto::message::{Demand, FeedbackReport};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

/// The newest report for one source, and a descriptor that becomes readable when there is one.
#[derive(Debug)]
pub struct FeedbackQueue {
    waiting: Mutex<Waiting>,
    filled: OwnedFd,
}

#[derive(Debug, Default)]
struct Waiting {
    report: Option<FeedbackReport>,
    /// The descriptor is readable.
    filled: bool,
    /// What the newest report said of who watches, and of which run of the relay it was.
    known: Option<(u64, Vec<Demand>)>,
}

impl FeedbackQueue {
    /// An empty one.
    ///
    /// # Errors
    /// When the system has no descriptor to give.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            waiting: Mutex::default(),
            filled: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    /// Leaves a report. One that waits there still gives way, and is given back.
    pub fn put(&self, report: FeedbackReport) -> Option<FeedbackReport> {
        let mut waiting = self.waiting.lock();
        waiting.known = Some((report.relay, report.demand.clone()));
        let undelivered = waiting.report.replace(report);
        self.wake(&mut waiting);
        undelivered
    }

    /// A connection begins: its source is to be told at once who watches, also when that has been told to another.
    pub(super) fn begin(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.report.is_none() {
            waiting.report = waiting.known.clone().map(|(relay, demand)| FeedbackReport {
                relay,
                demand,
                ..FeedbackReport::default()
            });
        }

        self.wake(&mut waiting);
    }

    /// Takes the report that waits. Called after each frame: it asks the system nothing when there is none.
    pub(super) fn take(&self) -> Option<FeedbackReport> {
        let mut waiting = self.waiting.lock();
        if std::mem::take(&mut waiting.filled) {
            // An error means that it is not readable, which is what is wanted.
            let _ = rustix::io::read(&self.filled, &mut [0; 8]);
        }

        waiting.report.take()
    }

    fn wake(&self, waiting: &mut Waiting) {
        if !std::mem::replace(&mut waiting.filled, true) {
            // It fails only when it is readable already.
            let _ = rustix::io::write(&self.filled, &1_u64.to_ne_bytes());
        }
    }
}

/// Readable since something was put, until it is taken.
impl AsFd for FeedbackQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.filled.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::ViewerReport;

    use super::*;

    fn feedback(viewers: u32) -> FeedbackReport {
        let demand = vec![Demand {
            stream: "cam".into(),
            viewers,
            clients: 0,
        }];

        FeedbackReport {
            relay: 7,
            demand,
            viewers: vec![ViewerReport {
                viewer: 1,
                ..ViewerReport::default()
            }],
            ..FeedbackReport::default()
        }
    }

    #[test]
    fn the_newest_word_waits_and_the_older_one_is_given_back() {
        let queue = FeedbackQueue::new().unwrap();
        assert_eq!(queue.put(feedback(1)), None);
        assert_eq!(queue.put(feedback(2)), Some(feedback(1)));
        assert_eq!(queue.take(), Some(feedback(2)));
        assert_eq!(queue.take(), None);
        assert_eq!(queue.put(feedback(3)), None);
    }

    #[test]
    fn who_watches_is_told_on_each_new_connection() {
        let queue = FeedbackQueue::new().unwrap();
        queue.begin();
        assert_eq!(queue.take(), None, "nothing is known yet");
        queue.put(feedback(4));
        queue.begin();
        assert_eq!(queue.take(), Some(feedback(4)), "what waits is newer");
        queue.begin();
        assert_eq!(
            queue.take(),
            Some(FeedbackReport {
                viewers: Vec::new(),
                ..feedback(4)
            })
        );
    }
}
