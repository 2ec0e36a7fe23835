//! Which stream to show: a person's keys step through those of the relay. The window's thread asks, a thread of its own
//! asks the relay, and the socket's thread takes the choice.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fanlight_daemon::Shutdown;
use fanlight_proto::message::{StreamInfo, StreamName};
use parking_lot::Mutex;

use super::listing;
use crate::scene::SceneSlot;
use crate::udp::Route;
use crate::window::Step;

/// How long what was chosen stays on the screen.
const NAME_LINGERS: Duration = Duration::from_secs(3);

/// How long the list of all streams does.
const LIST_LINGERS: Duration = Duration::from_secs(10);

/// Streams that the list shows: more have no room on a screen.
const MAX_LISTED: usize = 24;

/// The stream that was chosen.
#[derive(Debug, Default)]
pub(super) struct StreamChoice(Mutex<Choice>);

/// A stream that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// None: any.
    pub(super) stream: Option<StreamName>,
    /// A person at the screen did.
    pub(super) by_hand: bool,
}

#[derive(Debug, Default)]
struct Choice {
    latest: Option<Chosen>,
    is_taken: bool,
}

impl StreamChoice {
    /// Has the socket's thread ask for `stream`; none: any.
    pub(super) fn choose(&self, stream: Option<StreamName>) {
        self.set(stream, false);
    }

    fn set(&self, stream: Option<StreamName>, by_hand: bool) {
        *self.0.lock() = Choice {
            latest: Some(Chosen { stream, by_hand }),
            is_taken: false,
        };
    }

    /// What to show from now on, once for each choice.
    pub(super) fn take(&self) -> Option<Chosen> {
        let mut choice = self.0.lock();
        let is_taken = std::mem::replace(&mut choice.is_taken, true);
        choice.latest.clone().filter(|_| !is_taken)
    }

    /// The latest choice, taken or not.
    pub(super) fn latest(&self) -> Option<StreamName> {
        self.0.lock().latest.as_ref()?.stream.clone()
    }
}

/// Steps through the streams of a relay.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) route: Route,
    /// What the operator calls this screen.
    pub(super) name: String,
    pub(super) scenes: Arc<SceneSlot>,
    pub(super) choice: Arc<StreamChoice>,
    pub(super) shutdown: Shutdown,
    /// Whether the relay is being asked.
    pub(super) asking: Arc<AtomicBool>,
}

impl Streams {
    /// Takes the step that a person asks for, from the latest choice or, before there is one, from `shown`. The relay is
    /// asked for its streams, unless it is being asked already.
    pub(super) fn step(&self, step: Step, shown: Option<StreamName>) {
        self.start(step, shown, true);
    }

    /// Goes on to the relay's next stream, in the same way.
    pub(super) fn go_on(&self, shown: Option<StreamName>) {
        self.start(Step::Next, shown, false);
    }

    fn start(&self, step: Step, shown: Option<StreamName>, by_hand: bool) {
        if self.asking.swap(true, Ordering::AcqRel) {
            return;
        }

        // Statistics learn of a choice a little later.
        let shown = self.choice.latest().or(shown);
        let this = self.clone();
        let thread = thread::Builder::new().name("streams".to_owned());
        if let Err(error) = thread.spawn(move || this.ask(step, shown.as_ref(), by_hand)) {
            self.asking.store(false, Ordering::Release);
            tracing::warn!("the relay is not asked for its streams: {error}");
        }
    }

    fn ask(self, step: Step, shown: Option<&StreamName>, by_hand: bool) {
        let answer = listing::streams(&self.route, self.name, &self.shutdown);
        // Whoever sees the other stream may take the next step.
        self.asking.store(false, Ordering::Release);
        let (note, lingers) = match answer {
            Ok((streams, _)) => taken(step, &streams, shown, &self.choice, by_hand),
            Err(error) => (format!("{error:#}"), NAME_LINGERS),
        };

        self.scenes.set_note(note, lingers);
    }
}

/// Takes the step; returns what to say about it, and for how long.
fn taken(
    step: Step,
    streams: &[StreamInfo],
    shown: Option<&StreamName>,
    choice: &StreamChoice,
    by_hand: bool,
) -> (String, Duration) {
    let names = streams.iter().filter_map(|stream| stream.name.parse().ok());
    let mut names: Vec<StreamName> = names.collect();
    names.sort();
    if step == Step::List {
        return (list(&names, shown), LIST_LINGERS);
    }

    match stepped(step, &names, shown) {
        Some(name) => {
            let note = format!("stream {name}");
            choice.set(Some(name), by_hand);
            (note, NAME_LINGERS)
        }
        None => ("the relay has no other stream".to_owned(), NAME_LINGERS),
    }
}

/// The stream before or after the one that is shown, around the end; none when there is no other.
fn stepped(step: Step, names: &[StreamName], shown: Option<&StreamName>) -> Option<StreamName> {
    let at = names.iter().position(|name| Some(name) == shown);
    let count = names.len();
    let next = match (step, at) {
        (Step::Previous, Some(at)) => (at + count - 1) % count,
        (Step::Previous, None) => count.checked_sub(1)?,
        (_, Some(at)) => (at + 1) % count,
        (_, None) => 0,
    };
    names.get(next).filter(|name| Some(*name) != shown).cloned()
}

fn list(names: &[StreamName], shown: Option<&StreamName>) -> String {
    if names.is_empty() {
        return "the relay has no stream yet".to_owned();
    }

    let mut text = String::from("streams, by the arrow keys:");
    for name in names.iter().take(MAX_LISTED) {
        let mark = if Some(name) == shown { "▶" } else { "   " };
        let _ = write!(text, "\n{mark} {name}");
    }
    if names.len() > MAX_LISTED {
        let _ = write!(text, "\nand {} more", names.len() - MAX_LISTED);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<StreamName> {
        text.split_whitespace()
            .map(|name| name.parse().unwrap())
            .collect()
    }

    #[test]
    fn steps_go_around_and_begin_at_an_end_when_none_is_shown() {
        let all = names("gate hall lobby");
        let step = |step, shown: &str| {
            let shown = names(shown).pop();
            stepped(step, &all, shown.as_ref()).unwrap().to_string()
        };
        assert_eq!(step(Step::Next, "gate"), "hall");
        assert_eq!(step(Step::Next, "lobby"), "gate");
        assert_eq!(step(Step::Previous, "gate"), "lobby");
        assert_eq!(step(Step::Next, "gone"), "gate");
        assert_eq!(step(Step::Previous, ""), "lobby");
    }

    #[test]
    fn there_is_no_step_without_another_stream() {
        let alone = names("hall");
        for step in [Step::Next, Step::Previous] {
            assert_eq!(stepped(step, &alone, alone.first()), None);
            assert_eq!(stepped(step, &[], alone.first()), None);
            assert_eq!(stepped(step, &[], None), None);
        }
    }

    #[test]
    fn a_choice_is_taken_once_and_a_list_chooses_nothing() {
        let info = |name: &str| StreamInfo {
            name: name.into(),
            ..StreamInfo::default()
        };
        let streams = [info("hall"), info("gate"), info("no name!")];
        let choice = StreamChoice::default();
        let hall = names("hall").pop();

        let (text, _) = taken(Step::List, &streams, hall.as_ref(), &choice, true);
        assert_eq!(text, "streams, by the arrow keys:\n    gate\n▶ hall");
        assert_eq!(choice.take(), None);

        let (text, _) = taken(Step::Next, &streams, hall.as_ref(), &choice, true);
        assert_eq!(text, "stream gate");
        let chosen = |stream: &str, by_hand| Chosen {
            stream: names(stream).pop(),
            by_hand,
        };
        assert_eq!(choice.take(), Some(chosen("gate", true)));
        assert_eq!(choice.take(), None);
        assert_eq!(choice.latest(), names("gate").pop());
        choice.choose(None);
        assert_eq!(choice.take(), Some(chosen("", false)));
    }

    #[test]
    fn a_list_of_many_streams_says_how_many_there_are() {
        let many: Vec<StreamName> = (0..30).map(|n| format!("s{n}").parse().unwrap()).collect();
        assert!(list(&many, None).ends_with("\nand 6 more"));
        assert_eq!(list(&[], None), "the relay has no stream yet");
    }
}
