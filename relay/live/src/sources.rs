//! What becomes of each source in the settings, and what admins want of its camera. Written by the upstream threads, shown by
//! outputs.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{ControlAnswer, ControlRequest, StreamName};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::slot::Refused;

/// A refusal is told for so long after the last frame that was refused; heartbeats come every 250 ms.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// Requests of admins that wait for one source.
const MAX_ORDERS: usize = 4;

/// What an admin wants of a source's camera.
#[derive(Debug)]
pub struct ControlOrder {
    /// What to set; the upstream numbers it.
    pub request: ControlRequest,
    /// Gets what became of it; it is dropped when the connection ends before.
    pub answer: oneshot::Sender<ControlAnswer>,
}

/// Why nothing is heard of a source, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no connection to it.
    Away(String),
    /// It is there, and has none of the streams that the relay is to take.
    NoStream(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) | Self::NoStream(why) => f.write_str(why),
        }
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceEntry {
    /// Its place in the settings, or among those that were found, from 0.
    pub origin: usize,
    /// Where it publishes.
    pub endpoint: String,
    /// Why nothing is heard of it; none while frames or heartbeats come.
    pub problem: Option<Problem>,
    /// Its streams that are not taken at present, and why.
    pub refused: Vec<(StreamName, Refused)>,
    /// Its streams that another relay brings too, and that are that one's as long as it lives.
    pub spare: Vec<StreamName>,
}

impl SourceEntry {
    /// Whether there is no connection to it.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self.problem, Some(Problem::Away(_)))
    }
}

/// All sources, in the order of the settings.
#[derive(Debug, Default)]
pub struct Sources(Mutex<Vec<Source>>);

#[derive(Debug)]
struct Source {
    endpoint: String,
    problem: Option<Problem>,
    refused: BTreeMap<StreamName, (Time, Refused)>,
    spare: BTreeMap<StreamName, Time>,
    orders: VecDeque<ControlOrder>,
    removed: bool,
}

impl Sources {
    /// Lists source `origin`, the next one, of which nothing has been heard.
    pub fn add(&self, origin: usize, endpoint: String) {
        let mut sources = self.0.lock();
        sources.truncate(origin);
        sources.push(Source {
            endpoint,
            problem: Some(Problem::Away("it has not answered yet".to_owned())),
            refused: BTreeMap::new(),
            spare: BTreeMap::new(),
            orders: VecDeque::new(),
            removed: false,
        });
    }

    /// Lists source `origin` no longer. Its number is given to no other.
    pub fn remove(&self, origin: usize) {
        if let Some(source) = self.0.lock().get_mut(origin) {
            source.removed = true;
        }
    }

    /// Notes why nothing is heard of source `origin`; none: it is heard.
    pub fn set_problem(&self, origin: usize, problem: Option<Problem>) {
        if let Some(source) = self.0.lock().get_mut(origin) {
            // One that is away brings nothing.
            if problem.is_some() {
                source.spare.clear();
            }
            source.problem = problem;
        }
    }

    /// Notes that a frame of source `origin` was not taken.
    pub(crate) fn refuse(&self, now: Time, origin: usize, stream: &StreamName, why: Refused) {
        let mut sources = self.0.lock();
        let Some(source) = sources.get_mut(origin) else {
            return;
        };

        source.forget_refusals(now);
        if source.refused.len() < MAX_STREAMS || source.refused.contains_key(stream) {
            source.refused.insert(stream.clone(), (now, why));
        }
    }

    /// Notes that source `origin` brings a stream as a spare.
    pub(crate) fn note_spare(&self, now: Time, origin: usize, stream: &StreamName) {
        let mut sources = self.0.lock();
        let Some(source) = sources.get_mut(origin) else {
            return;
        };

        if let Some(at) = source.spare.get_mut(stream) {
            *at = now;
        } else if source.spare.len() < MAX_STREAMS {
            tracing::info!(%stream, source = source.endpoint, "this one brings the stream too");
            source.spare.insert(stream.clone(), now);
        }
    }

    /// Tells the operator that a stream is another source's from now on. That happens at most once in the time after which a
    /// source counts as silent.
    pub(crate) fn tell_change(&self, stream: &StreamName, from: usize, to: usize) {
        let endpoint = |origin: usize| {
            let sources = self.0.lock();
            sources.get(origin).map(|source| source.endpoint.clone())
        };
        let source = endpoint(to);
        let silent = endpoint(from);
        tracing::info!(%stream, source, silent, "the stream comes from another source now");
    }

    /// Whether source `origin` brings streams that are refused or those of another.
    #[must_use]
    pub fn is_partly_refused(&self, now: Time, origin: usize) -> bool {
        self.0.lock().get_mut(origin).is_some_and(|source| {
            source.forget_refusals(now);
            !source.refused.is_empty() || !source.spare.is_empty()
        })
    }

    /// Leaves an order for the camera of source `origin`. When too many wait it is dropped, as is its answer.
    pub fn put_order(&self, origin: usize, order: ControlOrder) {
        if let Some(source) = self.0.lock().get_mut(origin) {
            source.orders.retain(|order| !order.answer.is_closed());
            if source.orders.len() < MAX_ORDERS {
                source.orders.push_back(order);
            }
        }
    }

    /// Takes the next order whose answer somebody waits for.
    pub fn take_order(&self, origin: usize) -> Option<ControlOrder> {
        let mut sources = self.0.lock();
        let orders = &mut sources.get_mut(origin)?.orders;
        orders.retain(|order| !order.answer.is_closed());
        orders.pop_front()
    }

    /// The sources as they are at `now`.
    #[must_use]
    pub fn all(&self, now: Time) -> Vec<SourceEntry> {
        let mut sources = self.0.lock();
        let entry = |(origin, source): (usize, &mut Source)| {
            source.forget_refusals(now);
            let refused = source.refused.iter();
            let spare = source.spare.keys();
            SourceEntry {
                origin,
                endpoint: source.endpoint.clone(),
                problem: source.problem.clone(),
                refused: refused
                    .map(|(stream, (_, why))| (stream.clone(), *why))
                    .collect(),
                spare: spare.cloned().collect(),
            }
        };

        let listed = sources.iter_mut().enumerate();
        listed
            .filter(|(_, source)| !source.removed)
            .map(entry)
            .collect()
    }
}

impl Source {
    fn forget_refusals(&mut self, now: Time) {
        self.refused
            .retain(|_, (at, _)| now.saturating_since(*at) < REFUSED_FOR);
        self.spare
            .retain(|_, at| now.saturating_since(*at) < REFUSED_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_while_frames_are_refused() {
        let sources = Sources::default();
        sources.add(0, "ipc:///a".into());
        sources.add(1, "ipc:///b".into());
        let (stream, now) = ("cam".parse().unwrap(), Time::from_nanos(5));

        sources.refuse(now, 1, &stream, Refused::Taken(0));
        sources.refuse(now, 7, &stream, Refused::TooMany);
        let refused = &sources.all(now)[1].refused;
        assert_eq!(*refused, [(stream, Refused::Taken(0))]);
        assert!(sources.all(now + REFUSED_FOR)[1].refused.is_empty());
    }

    #[test]
    fn a_source_has_a_problem_until_it_is_heard() {
        let sources = Sources::default();
        sources.add(0, "ipc:///a".into());
        assert!(sources.all(Time::default())[0].problem.is_some());
        sources.set_problem(0, None);
        assert_eq!(sources.all(Time::default())[0].problem, None);
    }

    #[test]
    fn a_source_that_was_removed_is_not_listed_and_the_others_keep_their_numbers() {
        let sources = Sources::default();
        sources.add(0, "ipc:///a".into());
        sources.add(1, "ipc:///b".into());
        sources.remove(0);
        sources.add(2, "ipc:///a".into());
        let origins: Vec<_> = sources
            .all(Time::default())
            .iter()
            .map(|source| source.origin)
            .collect();
        assert_eq!(origins, [1, 2]);
    }

    #[test]
    fn orders_for_a_camera_are_few_and_those_that_nobody_waits_for_are_forgotten() {
        let sources = Sources::default();
        sources.add(0, "ipc:///a".into());
        let put = || {
            let (answer, answered) = oneshot::channel();
            let request = ControlRequest::default();
            sources.put_order(0, ControlOrder { request, answer });
            answered
        };

        let mut waiting: Vec<_> = (0..=MAX_ORDERS).map(|_| put()).collect();
        assert!(waiting[MAX_ORDERS].try_recv().is_err(), "dropped at once");
        waiting.truncate(1);
        assert!(
            sources
                .take_order(0)
                .is_some_and(|order| !order.answer.is_closed())
        );
        assert!(sources.take_order(0).is_none());
        assert!(sources.take_order(7).is_none());
    }

    #[test]
    fn one_source_cannot_fill_the_list_of_refusals() {
        let sources = Sources::default();
        sources.add(0, "ipc:///a".into());
        for n in 0..2 * MAX_STREAMS {
            let stream = format!("cam{n}").parse().unwrap();
            sources.refuse(Time::default(), 0, &stream, Refused::TooMany);
        }
        assert_eq!(sources.all(Time::default())[0].refused.len(), MAX_STREAMS);
    }
}
