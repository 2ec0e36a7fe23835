//! The messages by which Home Assistant discovers a device with all its entities (MQTT discovery, "device discovery").

use fanlight_live::events::{Condition, SCREEN_CONDITIONS, STREAM_CONDITIONS};
use serde_json::{Map, Value, json};

use crate::topics::Topics;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A device of which Home Assistant is told.
pub(crate) struct Device<'a> {
    /// What it is called in topics.
    pub(crate) object: &'a str,
    /// What people call it.
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) page: Option<&'a str>,
    /// What a screen may be told to show; none: nothing.
    pub(crate) choices: &'a [String],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Relay,
    Stream {
        /// Pictures of it are published.
        pictures: bool,
    },
    Screen,
}

impl Device<'_> {
    /// The message that describes it.
    pub(crate) fn config(&self, topics: &Topics) -> Value {
        let relay = topics.unique(Topics::RELAY);
        let unique = topics.unique(self.object);
        let mut device = json!({
            "identifiers": [unique],
            "name": self.name,
            "manufacturer": "Fanlight",
            "model": self.kind.model(),
            "sw_version": VERSION,
        });
        if self.kind != Kind::Relay {
            device["via_device"] = relay.into();
        }
        if let Some(page) = self.page {
            let page = page.trim_end_matches('/');
            // The page opens what stands behind the #, which no stream's name needs to escape.
            device["configuration_url"] = match self.kind {
                Kind::Stream { .. } => format!("{page}/#{}", self.name).into(),
                Kind::Relay | Kind::Screen => page.into(),
            };
        }

        let components = self
            .components(topics)
            .into_iter()
            .map(|(key, mut component)| {
                component["unique_id"] = format!("{unique}_{key}").into();
                (key.to_owned(), component)
            });

        json!({
            "device": device,
            "origin": { "name": "fanlight-relay", "sw_version": VERSION },
            "availability": [
                { "topic": topics.availability() },
                { "topic": topics.of(self.object, "availability") },
            ],
            "availability_mode": "all",
            "state_topic": topics.of(self.object, "state"),
            "components": components.collect::<Map<_, _>>(),
        })
    }

    fn components(&self, topics: &Topics) -> Vec<(&'static str, Value)> {
        match self.kind {
            Kind::Relay => vec![
                ("streams", measure("Streams", "streams", None)),
                ("viewers", measure("Viewers", "viewers", None)),
                ("clients", measure("Clients", "clients", None)),
            ],
            Kind::Stream { pictures } => {
                let mut components = vec![
                    ("state", state(topics, self.object, &STREAM_CONDITIONS)),
                    ("problem", problem()),
                    ("connected", connected()),
                    ("fps", measure("Frame rate", "fps", Some("fps"))),
                    ("age", age()),
                    ("viewers", measure("Viewers", "viewers", None)),
                ];
                if pictures {
                    let topic = topics.of(self.object, "picture");
                    let camera = json!({ "platform": "camera", "name": null, "topic": topic });
                    components.push(("camera", camera));
                }
                components
            }
            Kind::Screen => {
                let mut components = screen(topics, self.object);
                if let Some(topic) = topics.direct(self.object)
                    && !self.choices.is_empty()
                {
                    components.push(("direct", choice(&topic, self.choices)));
                }
                components
            }
        }
    }
}

fn screen(topics: &Topics, object: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("state", state(topics, object, &SCREEN_CONDITIONS)),
        ("problem", problem()),
        ("connected", connected()),
        (
            "stream",
            json!({ "platform": "sensor", "name": "Shows", "value_template": "{{ value_json.stream }}" }),
        ),
        ("age", age()),
    ]
}

/// What a screen is to show, to be chosen of a list.
fn choice(topic: &str, choices: &[String]) -> Value {
    json!({
        "platform": "select",
        "name": "Show",
        "command_topic": topic,
        "options": choices,
        "value_template": "{{ value_json.directed }}",
    })
}

impl Kind {
    const fn model(self) -> &'static str {
        match self {
            Self::Relay => "Relay",
            Self::Stream { .. } => "Stream",
            Self::Screen => "Screen",
        }
    }
}

fn state(topics: &Topics, object: &str, conditions: &[Condition]) -> Value {
    let options: Vec<_> = conditions
        .iter()
        .map(|condition| condition.label())
        .collect();
    json!({
        "platform": "sensor",
        "name": "State",
        "device_class": "enum",
        "options": options,
        "value_template": "{{ value_json.state }}",
        "json_attributes_topic": topics.of(object, "state"),
    })
}

fn problem() -> Value {
    json!({
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.problem else 'OFF' }}",
    })
}

fn connected() -> Value {
    json!({
        "platform": "binary_sensor",
        "name": "Connected",
        "device_class": "connectivity",
        "entity_category": "diagnostic",
        "value_template": "{{ 'OFF' if value_json.state == 'gone' else 'ON' }}",
    })
}

fn age() -> Value {
    let mut age = measure("Age", "age_ms", Some("ms"));
    age["device_class"] = "duration".into();
    age
}

fn measure(name: &str, field: &str, unit: Option<&str>) -> Value {
    let mut sensor = json!({
        "platform": "sensor",
        "name": name,
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "value_template": format!("{{{{ value_json.{field} }}}}"),
    });
    if let Some(unit) = unit {
        sensor["unit_of_measurement"] = unit.into();
    }
    sensor
}
