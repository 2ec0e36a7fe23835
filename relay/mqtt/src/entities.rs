//! What is told of each stream, each screen and the relay: fills the [`RetainedMessages`] after each look of the [`Monitor`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanlight_live::events::{Condition, KEPT, Monitor, Screen, Watched};
use fanlight_live::{EngineStatus, ListedStream, StreamTable};
use fanlight_proto::clock::Time;
use serde_json::{Value, json};

use crate::Settings;
use crate::home_assistant::{Device, Kind};
use crate::names::object_id;
use crate::retained::RetainedMessages;
use crate::topics::Topics;

/// Rates and ages always change: they are told so often, and when something else is.
const FIGURES_INTERVAL: Duration = Duration::from_secs(10);

/// Objects that are known from an earlier run.
const MAX_ORPHANS: usize = 512;

/// Longest text that Home Assistant takes as a state.
const MAX_TEXT: usize = 255;

/// By this word a screen goes by its own settings.
pub(crate) const OWN: &str = "own settings";

/// All that is told.
#[derive(Debug)]
pub(crate) struct Entities {
    topics: Topics,
    page: Option<String>,
    pictures: bool,
    monitor: Monitor,
    /// What was told last of each object that is there.
    told: BTreeMap<String, Told>,
    /// What an earlier run described and this one has not seen, since when.
    orphans: BTreeMap<String, Time>,
}

/// What was told of an object, without its figures, and when.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    lasting: Value,
    at: Time,
}

/// What is to be told of an object.
struct State {
    /// What is told at once.
    lasting: Value,
    /// What is told along with it, or when it is time.
    figures: Value,
}

impl Entities {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            topics: Topics::new(settings),
            page: settings.page.clone(),
            pictures: settings.pictures.is_some(),
            monitor: Monitor::default(),
            told: BTreeMap::new(),
            orphans: BTreeMap::new(),
        }
    }

    /// Looks at the table and retains what there is to tell.
    pub(crate) fn look(&mut self, table: &StreamTable, now: Time, retained: &mut RetainedMessages) {
        self.monitor.look(table, now);
        let choices = choices(table, now);
        let status = table.status();
        let mut present = BTreeSet::new();
        for (object, name, kind, state) in self.objects(table, now) {
            let takes = kind == Kind::Screen && status.screen(&name).is_some();
            let choices = if takes { &choices[..] } else { &[] };
            self.describe(&object, &name, (kind, choices), retained);
            self.tell(&object, state, now, retained);
            self.orphans.remove(&object);
            present.insert(object);
        }

        let gone: Vec<_> = self
            .told
            .keys()
            .filter(|object| !present.contains(*object))
            .cloned()
            .collect();
        for object in gone {
            self.told.remove(&object);
            self.forget(&object, retained);
        }
        self.look_after_orphans(now, retained);
    }

    /// Takes that an object has been described by somebody: it may be left from an earlier run.
    pub(crate) fn note_described(&mut self, object: &str, now: Time) {
        if !self.told.contains_key(object) && self.orphans.len() < MAX_ORPHANS {
            self.orphans.entry(object.to_owned()).or_insert(now);
        }
    }

    fn objects(&self, table: &StreamTable, now: Time) -> Vec<(String, String, Kind, State)> {
        let pictures = self.pictures;
        let streams = self.monitor.streams().map(|(name, stream)| {
            let kind = Kind::Stream { pictures };
            (
                object_id("stream", name),
                name.clone(),
                kind,
                stream_state(stream),
            )
        });
        let screens = self.monitor.screens().map(|(name, screen)| {
            (
                object_id("screen", name),
                name.clone(),
                Kind::Screen,
                screen_state(screen, name, &table.status()),
            )
        });
        let name = format!("Fanlight {}", self.topics.id);
        let relay = (
            Topics::RELAY.to_owned(),
            name,
            Kind::Relay,
            relay_state(table, now),
        );
        std::iter::once(relay)
            .chain(streams)
            .chain(screens)
            .collect()
    }

    /// The screen that is called `object` in topics.
    pub(crate) fn screen(&self, object: &str) -> Option<&String> {
        let mut screens = self.monitor.screens().map(|(name, _)| name);
        screens.find(|name| object_id("screen", name) == object)
    }

    fn describe(
        &self,
        object: &str,
        name: &str,
        (kind, choices): (Kind, &[String]),
        retained: &mut RetainedMessages,
    ) {
        let Some(topic) = self.topics.config(object) else {
            return;
        };

        let device = Device {
            object,
            name,
            kind,
            page: self.page.as_deref(),
            choices,
        };
        retained.put(topic, device.config(&self.topics).to_string());
    }

    fn tell(&mut self, object: &str, state: State, now: Time, retained: &mut RetainedMessages) {
        let told = self.told.get(object);
        let is_due = told.is_none_or(|told| {
            told.lasting != state.lasting || now.saturating_since(told.at) >= FIGURES_INTERVAL
        });
        if !is_due {
            return;
        }

        let mut whole = state.lasting.clone();
        if let (Some(whole), Some(figures)) = (whole.as_object_mut(), state.figures.as_object()) {
            whole.extend(figures.clone());
        }
        retained.put(self.topics.of(object, "state"), whole.to_string());
        retained.put(self.topics.of(object, "availability"), "online");
        let told = Told {
            lasting: state.lasting,
            at: now,
        };
        self.told.insert(object.to_owned(), told);
    }

    /// Objects of an earlier run are not there, until they are seen; in the end they are forgotten.
    fn look_after_orphans(&mut self, now: Time, retained: &mut RetainedMessages) {
        let mut lost = Vec::new();
        self.orphans.retain(|object, since| {
            let stays = now.saturating_since(*since) < KEPT;
            if stays {
                retained.put(self.topics.of(object, "availability"), "offline");
            } else {
                lost.push(object.clone());
            }
            stays
        });
        lost.iter().for_each(|object| self.forget(object, retained));
    }

    fn forget(&self, object: &str, retained: &mut RetainedMessages) {
        let topics = ["state", "availability"].map(|what| self.topics.of(object, what));
        let config = self.topics.config(object);
        topics
            .into_iter()
            .chain(config)
            .for_each(|topic| retained.clear(topic));
    }
}

fn stream_state(stream: &Watched<ListedStream>) -> State {
    let listed = &stream.last;
    let flows = !matches!(stream.condition, Condition::Gone);
    State {
        lasting: json!({
            "state": stream.condition.label(),
            "problem": stream.condition.is_problem(),
            "reason": stream.reason,
            "width": listed.entry.size.0,
            "height": listed.entry.size.1,
            "viewers": if flows { listed.entry.viewers + listed.clients } else { 0 },
        }),
        figures: json!({
            "fps": flows.then(|| tenths(listed.fps)),
            "age_ms": listed.age_us.filter(|_| flows).map(millis),
        }),
    }
}

/// What a screen may be told to show.
fn choices(table: &StreamTable, now: Time) -> Vec<String> {
    let listed = table.list(now);
    let is_canary = |name: &str| listed.iter().any(|other| other.canary == name);
    let names = listed.iter().map(|listed| listed.entry.name.to_string());
    let names = names.filter(|name| !is_canary(name));
    std::iter::once(OWN.to_owned()).chain(names).collect()
}

/// What a screen was told to show, as far as a list of streams has that.
fn directed(name: &str, status: &EngineStatus) -> Option<String> {
    let direction = status.screen(name)?.direction.as_deref();
    match direction {
        Some(direction) if !direction.is_release() => Some(direction.streams.join(", ")),
        _ => Some(OWN.to_owned()),
    }
}

fn screen_state(screen: &Watched<Screen>, name: &str, status: &EngineStatus) -> State {
    let names: Vec<_> = screen
        .last
        .streams
        .iter()
        .map(|name| name.as_str())
        .collect();
    // Names of streams are ASCII, so it can be cut anywhere.
    let mut stream = names.join(", ");
    stream.truncate(MAX_TEXT);
    let age_us = screen
        .last
        .age_us
        .filter(|_| screen.condition != Condition::Gone);
    State {
        lasting: json!({
            "state": screen.condition.label(),
            "problem": screen.condition.is_problem(),
            "reason": screen.reason,
            "stream": stream,
            "directed": directed(name, status),
        }),
        figures: json!({ "age_ms": age_us.map(millis) }),
    }
}

fn relay_state(table: &StreamTable, now: Time) -> State {
    let status = table.status();
    let streams = status.streams.iter().filter(|stream| !stream.source_gone);
    State {
        lasting: json!({
            "streams": streams.count(),
            "viewers": status.viewers.len(),
            "clients": table.clients().all(now).len(),
        }),
        figures: json!({}),
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn millis(micros: u64) -> u64 {
    micros / 1_000
}

#[cfg(test)]
mod tests;
