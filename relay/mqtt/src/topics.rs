//! What the topics of a relay are called. Used by all that publishes.

use crate::Settings;
use crate::names::{is_object_id, object_id};

/// The topics of a relay.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    base: String,
    pub(crate) id: String,
    discovery: Option<String>,
    directs: bool,
}

impl Topics {
    /// The relay itself, among the objects.
    pub(crate) const RELAY: &'static str = "relay";

    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            base: format!("{}/{}", settings.prefix, settings.id),
            id: settings.id.clone(),
            discovery: settings.discovery.as_ref().map(ToString::to_string),
            directs: settings.directs,
        }
    }

    /// Whether the relay is connected: `online`, or `offline` by its last will.
    pub(crate) fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    pub(crate) fn of(&self, object: &str, what: &str) -> String {
        format!("{}/{object}/{what}", self.base)
    }

    /// Where pictures of a stream are published.
    pub(crate) fn picture(&self, stream: &str) -> String {
        self.of(&object_id("stream", stream), "picture")
    }

    /// An identifier that no other relay has.
    pub(crate) fn unique(&self, object: &str) -> String {
        format!("fanlight_{}_{object}", self.id)
    }

    pub(crate) fn config(&self, object: &str) -> Option<String> {
        let discovery = self.discovery.as_ref()?;
        Some(format!("{discovery}/device/{}/{object}/config", self.id))
    }

    /// Where somebody says what a screen is to show, if that is to be heard.
    pub(crate) fn direct(&self, object: &str) -> Option<String> {
        self.directs.then(|| self.of(object, "direct"))
    }

    /// What the relay wants to hear: that Home Assistant has started, what it was told of this relay, and what screens are to
    /// show.
    pub(crate) fn subscriptions(&self) -> Vec<String> {
        let all = [self.birth(), self.config("+"), self.direct("+")];
        all.into_iter().flatten().collect()
    }

    /// The screen that is directed by this topic.
    pub(crate) fn directed<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        rest.strip_suffix("/direct").filter(|_| self.directs)
    }

    /// Where Home Assistant says that it has started.
    pub(crate) fn birth(&self) -> Option<String> {
        Some(format!("{}/status", self.discovery.as_ref()?))
    }

    /// The object whose description has this topic.
    pub(crate) fn described<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let rest = topic.strip_prefix(self.discovery.as_ref()?)?;
        let rest = rest.strip_prefix("/device/")?.strip_prefix(&self.id)?;
        let object = rest.strip_prefix('/')?.strip_suffix("/config")?;
        is_object_id(object).then_some(object)
    }
}
