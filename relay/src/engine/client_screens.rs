//! Screens that watch by another output than UDP and tell what they found: viewers over TCP and WebRTC clients. They have
//! no session: their output serves them, and leaves here what is to be told to the source.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_live::ClientDetections;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Report, StreamName, ViewerReport};

use super::Engine;
use super::feedback::INTERVAL;
use super::sessions::Session;
use super::standing::ScreenSession;
use super::viewer_feedback::ViewerFeedback;

/// Screens at a time: as many viewers over TCP as HTTP has connections by default, and the peers of WebRTC.
pub(super) const MAX_SCREENS: usize = 1024 + 64;

/// Its output says each second that a screen is there. With no word for so long it has gone.
const SILENCE: Duration = Duration::from_secs(10);

/// All of them, by the numbers of the clients.
pub(super) type ClientScreens = BTreeMap<u64, ClientScreen>;

/// One screen.
#[derive(Debug)]
pub(super) struct ClientScreen {
    pub(super) stream: StreamName,
    pub(super) address: SocketAddr,
    pub(super) feedback: ViewerFeedback,
    pub(super) name: String,
    /// What it says of the screen that it is, when it takes directions.
    pub(super) screen: Option<Box<ScreenSession>>,
    report: Report,
    /// Its ages are right within so much, if it does not say so itself.
    clock_error_us: u32,
    heard: Time,
}

/// A screen that a source is told of, in the order of their turns: viewers by address, then clients by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ScreenKey {
    Viewer(SocketAddr),
    Client(u64),
}

/// The screen of a [`ScreenKey`].
#[derive(Debug)]
pub(super) enum Screen<'a> {
    Viewer(&'a mut Session),
    Client(&'a mut ClientScreen),
}

impl Screen<'_> {
    pub(super) const fn feedback(&mut self) -> &mut ViewerFeedback {
        match self {
            Self::Viewer(session) => &mut session.feedback,
            Self::Client(screen) => &mut screen.feedback,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        match self {
            Self::Viewer(session) => session.route.remote,
            Self::Client(screen) => screen.address,
        }
    }
}

impl ClientScreen {
    /// What the source is told of it.
    pub(super) fn report(&self) -> ViewerReport {
        ViewerReport {
            stream: self.stream.to_string(),
            // It may be printed to a terminal.
            name: self.name.chars().filter(|c| !c.is_control()).collect(),
            address: self.address.to_string(),
            report: self.feedback.news.then_some(self.report),
            clock_error_us: self.clock_error_us,
            ..self.feedback.report()
        }
    }
}

impl Engine {
    /// Takes what a client's tracker found.
    pub fn on_client_detections(&mut self, now: Time, said: ClientDetections) {
        if said.left {
            return self.forget_client(now, said.client);
        }

        let Some(stream) = self.streams.named(&said.stream) else {
            return;
        };
        let (origin, clock_id) = (stream.origin, stream.clock_id);
        let full = self.clients.len() >= MAX_SCREENS;
        if full && !self.clients.contains_key(&said.client) {
            return;
        }

        let count = &mut self.session_count;
        let screen = self.clients.entry(said.client).or_insert_with(|| {
            *count += 1;
            ClientScreen {
                stream: said.stream,
                address: said.address,
                feedback: ViewerFeedback::new(*count),
                name: said.name,
                screen: None,
                report: Report::default(),
                clock_error_us: 0,
                heard: now,
            }
        });
        screen.heard = now;
        screen.report = said.report;

        let clock = self.clocks.at(now, origin, clock_id);
        let clock = clock.filter(|_| !said.knows_clocks);
        screen.clock_error_us = clock.map_or(0, |clock| clock.error_us);

        if let Some(report) = said.screen {
            self.on_screen_report(now, ScreenKey::Client(said.client), report);
        }

        self.counts.detections += said.detections.detections.len() as u64;
        let dropped = match self.clients.get_mut(&said.client) {
            Some(screen) => screen.feedback.take(now, said.detections),
            None => return,
        };
        self.feedback.schedule(now, origin, INTERVAL);
        self.note_dropped(now, said.address, dropped);
    }

    /// Screens of other outputs that there are.
    #[must_use]
    pub fn client_screens(&self) -> usize {
        self.clients.len()
    }

    /// Forgets the screens whose outputs say no more that they are there.
    pub(super) fn expire_clients(&mut self, now: Time) {
        let silent = |screen: &ClientScreen| now.saturating_since(screen.heard) >= SILENCE;
        while let Some((&client, _)) = self.clients.iter().find(|(_, screen)| silent(screen)) {
            self.forget_client(now, client);
        }
    }

    fn forget_client(&mut self, now: Time, client: u64) {
        let Some(screen) = self.clients.remove(&client) else {
            return;
        };
        if screen.screen.is_some() {
            self.leave_screen(now, &screen.name, ScreenKey::Client(client));
        }
        let Some(stream) = self.streams.named(&screen.stream) else {
            return;
        };

        let report = ViewerReport {
            left: true,
            ..screen.report()
        };
        self.feedback.on_viewer_left(now, stream.origin, report);
    }
}
