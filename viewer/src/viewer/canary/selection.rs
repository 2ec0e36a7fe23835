//! Which canary to watch: set by the presenter, awaited by the canary's thread.

use std::time::Duration;

use fanlight_daemon::Shutdown;
use fanlight_proto::message::StreamName;
use parking_lot::{Condvar, Mutex};

/// The canary to watch. Selecting never waits.
#[derive(Debug, Default)]
pub(in crate::viewer) struct CanarySelection {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<StreamName>,
    /// Ends the session of the canary that was selected before.
    stop: Shutdown,
    ended: bool,
}

impl CanarySelection {
    /// Selects the canary to watch from now on; none: watch none.
    pub(in crate::viewer) fn set(&self, stream: Option<&StreamName>) {
        let mut state = self.state.lock();
        if state.stream.as_ref() != stream {
            state.stream = stream.cloned();
            state.stop.trigger();
            self.changed.notify_all();
        }
    }

    /// Ends all watching.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        state.stop.trigger();
        self.changed.notify_all();
    }

    /// Blocks the thread until one is selected; returns it and the shutdown that ends its session. None at the end.
    pub(super) fn next(&self) -> Option<(StreamName, Shutdown)> {
        let mut state = self.state.lock();
        self.changed
            .wait_while(&mut state, |state| state.stream.is_none() && !state.ended);
        let stream = state.stream.clone().filter(|_| !state.ended)?;
        state.stop = Shutdown::new();
        Some((stream, state.stop.clone()))
    }

    /// Waits for so long; false at the end.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let mut state = self.state.lock();
        self.changed
            .wait_while_for(&mut state, |state| !state.ended, length);
        !state.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    #[test]
    fn another_canary_ends_the_session_and_the_same_one_does_not() {
        let selection = CanarySelection::default();
        selection.set(Some(&name("a.canary")));
        let (stream, stop) = selection.next().unwrap();
        assert_eq!(stream, name("a.canary"));
        selection.set(Some(&name("a.canary")));
        assert!(!stop.requested());
        selection.set(Some(&name("b.canary")));
        assert!(stop.requested());
        let (stream, stop) = selection.next().unwrap();
        assert!(stream == name("b.canary") && !stop.requested());
        selection.set(None);
        assert!(stop.requested() && selection.pause(Duration::ZERO));
    }

    #[test]
    fn the_end_comes_at_once_whether_one_is_selected_or_not() {
        for stream in [None, Some(name("a.canary"))] {
            let selection = CanarySelection::default();
            selection.set(stream.as_ref());
            selection.end();
            assert!(selection.next().is_none() && !selection.pause(Duration::from_secs(3600)));
        }
    }
}
