//! The session of a viewer over TCP: it joins, keeps its session, reports and sends detections by the control datagrams of
//! UDP, each in a binary message, and is answered so. Its frames are those of a subscription, and come by credit. On the
//! HTTP thread.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::Message;
use bytes::Bytes;
use fanlight_live::{ClientDetections, ClientHandle, StreamEntry, StreamTable};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer, VERSION};
use fanlight_proto::direction::Stamp;
use fanlight_proto::limits::{KEEP_ALIVE_INTERVAL, SESSION_IDLE};
use fanlight_proto::message::{
    Accept, Detections, Direct, Direction, Join, KeepAlive, Pulse, Refusal, Refuse, Report,
    ScreenReport, StreamName,
};

use super::subscription::Subscription;
use super::{Session, error};

/// Streams that a refusal names.
const MAX_NAMED_STREAMS: usize = 8;

/// What is kept of a viewer.
#[derive(Debug)]
pub(super) struct Viewer {
    /// What its operator calls it.
    pub(super) name: String,
    /// Where it is.
    address: SocketAddr,
    /// It wants no frames at present.
    pub(super) paused: bool,
    /// Frames that the relay had and it was not ready for.
    pub(super) skipped: u64,
    report: Report,
    /// The last message of detections, without them.
    told: Detections,
    /// Of a screen that takes directions, the direction and the notice that it has.
    screen: Option<(Stamp, u64)>,
}

impl Session {
    /// Does what a control datagram says, and gives what is to be answered.
    pub(super) fn answer_viewer(&mut self, now: Time, datagram: &[u8]) -> Vec<Message> {
        let answer = match ToRelay::parse(datagram) {
            Ok(ToRelay::Join(join)) => Some(self.join(now, join)),
            Ok(ToRelay::KeepAlive(id, said)) => Some(self.keep_alive(now, id, &said)),
            Ok(ToRelay::Detections(id, said)) => {
                self.pass_detections(id, said);
                None
            }
            Ok(ToRelay::ScreenReport(id, said)) => {
                self.pass_screen_report(id, said);
                None
            }
            Ok(ToRelay::Goodbye(id, _)) => {
                self.leave(id);
                None
            }
            Ok(ToRelay::Repair(..) | ToRelay::Progress(..) | ToRelay::Sealed(..)) | Err(_) => {
                let what = "a binary message is a control datagram of a viewer: see PROTOCOL.md";
                return vec![error(None, "bad_message", what)];
            }
        };

        answer.as_ref().map(encoded).into_iter().collect()
    }

    /// What a viewer is told at once when something of its stream has changed; none on a connection without one.
    pub(super) fn pulse_of_change(&self, now: Time) -> Option<Message> {
        let subscription = self.subscriptions.iter().find(|it| it.viewer.is_some())?;
        Some(encoded(&self.pulse(now, subscription, 0)))
    }

    /// Tells the source that a viewer has gone.
    pub(super) fn leave_all(&mut self) {
        let gone = self
            .subscriptions
            .extract_if(.., |subscription| subscription.viewer.is_some());
        for subscription in gone {
            tell(self.app.output.table(), &subscription, News::Left);
        }
    }

    fn join(&mut self, now: Time, join: Join) -> ToViewer<'static> {
        let table = self.app.output.table();
        let status = table.status();
        let refuse = |refusal, message: String| {
            ToViewer::Refuse(Refuse {
                nonce: join.nonce,
                refusal: Refusal::into(refusal),
                message,
                ..Refuse::default()
            })
        };

        if join.version != VERSION {
            let message = format!("this relay speaks version {VERSION}");
            return refuse(Refusal::Version, message);
        }

        if join.list {
            return ToViewer::Accept(Accept {
                nonce: join.nonce,
                streams: status.streams.iter().map(StreamEntry::info).collect(),
                total_streams: u32::try_from(status.streams.len()).unwrap_or(u32::MAX),
                ..Accept::default()
            });
        }

        let named = join.stream.parse::<StreamName>().ok();
        let wanted = if join.stream.is_empty() {
            table.first(now)
        } else {
            named
        };

        let entry = wanted.and_then(|name| table.entry(&name));
        let Some(entry) = entry else {
            if status.streams.is_empty() {
                return refuse(Refusal::NoStreams, "no stream yet".to_owned());
            }

            return ToViewer::Refuse(no_such_stream(&join, &status.streams));
        };

        ToViewer::Accept(Accept {
            nonce: join.nonce,
            session: self.open(&entry, join.name, join.paused).into(),
            stream: Some(entry.info()),
            keep_alive_ms: KEEP_ALIVE_INTERVAL.as_millis() as u32,
            idle_timeout_ms: SESSION_IDLE.as_millis() as u32,
            ..Accept::default()
        })
    }

    /// The session of the viewer: the one that it has, or another one if it wants another stream now.
    fn open(&mut self, entry: &StreamEntry, name: String, paused: bool) -> u32 {
        let mut known = self.subscriptions.iter().filter(|it| it.viewer.is_some());
        if let Some(known) = known.find(|subscription| subscription.stream == entry.name) {
            return known.id;
        }

        self.leave_all();
        let is_free = |id: &u32| self.subscriptions.iter().all(|it| it.id != *id);
        let id = (1..).find(is_free).unwrap_or(u32::MAX);
        let viewer = Viewer {
            name,
            address: self.address,
            paused,
            skipped: 0,
            report: Report::default(),
            told: Detections::default(),
            screen: None,
        };

        let mut subscription = Subscription::for_viewer(id, entry.name.clone(), viewer);
        subscription.attach(&self.app.output, self.address, &self.charge, &self.wake);
        tell(self.app.output.table(), &subscription, News::Report);
        self.subscriptions.push(subscription);
        id
    }

    fn keep_alive(&mut self, now: Time, id: u64, said: &KeepAlive) -> ToViewer<'static> {
        let mut pauses = false;
        if let Some(subscription) = self.viewer_mut(id)
            && let Some(viewer) = &mut subscription.viewer
        {
            pauses = said.paused && !viewer.paused;
            viewer.paused = said.paused;
            viewer.report = said.report.unwrap_or(viewer.report);
        }

        if let Some(subscription) = self.viewer(id) {
            if let (Some(client), Some(report)) = (subscription.client(), said.report) {
                client.report_viewer(now, report);
            }

            if pauses || said.report.is_some() {
                let news = if pauses { News::Left } else { News::Report };
                tell(self.app.output.table(), subscription, news);
            }
        }

        match self.viewer(id) {
            Some(subscription) => self.pulse(now, subscription, said.sent_us),
            None => ToViewer::Reset(id),
        }
    }

    fn pulse(&self, now: Time, subscription: &Subscription, echo_us: u64) -> ToViewer<'static> {
        let id = subscription.id.into();
        let table = self.app.output.table();
        let Some(entry) = table.entry(&subscription.stream) else {
            return ToViewer::Reset(id);
        };

        let client = subscription.client().map(ClientHandle::number);
        let verdict = client.and_then(|client| table.status().verdicts.get(&client).copied());
        let pulse = Pulse {
            echo_us,
            relay_us: now.as_micros(),
            status: Some(entry.status()),
            frames_skipped: subscription
                .viewer
                .as_ref()
                .map_or(0, |viewer| viewer.skipped),
            source_clock: entry.clock,
            verdict,
            ..Pulse::default()
        };

        ToViewer::Pulse(id, pulse)
    }

    fn pass_detections(&mut self, id: u64, said: Detections) {
        let table = Arc::clone(self.app.output.table());
        let Some(subscription) = self.viewer_mut(id) else {
            return;
        };

        let mut told = said;
        let detections = std::mem::take(&mut told.detections);
        if let Some(viewer) = &mut subscription.viewer {
            viewer.told = told;
        }
        tell(&table, subscription, News::Detections(detections));
    }

    fn pass_screen_report(&mut self, id: u64, said: ScreenReport) {
        let table = Arc::clone(self.app.output.table());
        let Some(subscription) = self.viewer_mut(id) else {
            return;
        };

        if let Some(viewer) = &mut subscription.viewer {
            let direction = said.direction.as_ref().map(Direction::stamp);
            viewer.screen = Some((direction.unwrap_or_default(), said.notice));
        }
        tell(&table, subscription, News::Screen(said));
        // The relay may have told it something while it was not here.
        self.status.mark_changed();
    }

    /// Whether the viewer is a screen that takes directions.
    pub(super) fn is_directed(&self) -> bool {
        let mut viewers = self
            .subscriptions
            .iter()
            .filter_map(|it| it.viewer.as_ref());
        viewers.any(|viewer| viewer.screen.is_some())
    }

    /// What the screen lacks of what it was told by the engine's status now.
    pub(super) fn direct_of_change(&mut self) -> Option<Message> {
        let status = Arc::clone(&self.status.borrow_and_update());
        let mut viewers = self.subscriptions.iter_mut();
        let (id, viewer) = viewers.find_map(|it| Some((it.id, it.viewer.as_mut()?)))?;
        let (stamp, notice) = viewer.screen.as_mut()?;
        let entry = status.screen(&viewer.name)?;
        let given = entry
            .given
            .as_deref()
            .filter(|given| *stamp < given.stamp());
        let noticed = entry.notice.as_ref().filter(|told| told.id != *notice);
        if given.is_none() && noticed.is_none() {
            return None;
        }

        // TCP loses nothing: it is told once.
        *stamp = given.map_or(*stamp, Direction::stamp);
        *notice = noticed.map_or(*notice, |told| told.id);
        let direct = Direct {
            direction: given.cloned(),
            notice: noticed.cloned(),
        };
        Some(encoded(&ToViewer::Direct(id.into(), direct)))
    }

    fn leave(&mut self, id: u64) {
        if self.viewer(id).is_some() {
            self.leave_all();
        }
    }

    fn viewer(&self, id: u64) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|it| u64::from(it.id) == id && it.viewer.is_some())
    }

    fn viewer_mut(&mut self, id: u64) -> Option<&mut Subscription> {
        self.subscriptions
            .iter_mut()
            .find(|it| u64::from(it.id) == id && it.viewer.is_some())
    }
}

/// The refusal of a stream that is none of `streams`, which it names but for canaries.
fn no_such_stream(join: &Join, streams: &[StreamEntry]) -> Refuse {
    let names = || streams.iter().map(|entry| &entry.name);
    let is_canary = |name: &StreamName| names().any(|other| other.canary() == *name);
    let named: Vec<_> = names().filter(|name| !is_canary(name)).collect();
    let first = named.iter().take(MAX_NAMED_STREAMS);
    Refuse {
        nonce: join.nonce,
        refusal: Refusal::NoSuchStream.into(),
        message: format!("no stream {}", join.stream),
        streams: first.map(ToString::to_string).collect(),
        total_streams: u32::try_from(named.len()).unwrap_or(u32::MAX),
        ..Refuse::default()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.leave_all();
    }
}

/// What there is to tell of a viewer.
enum News {
    /// What it reports, and that it is there.
    Report,
    Detections(Vec<Bytes>),
    Screen(ScreenReport),
    Left,
}

/// Leaves for the engine what there is to tell of a viewer.
fn tell(table: &StreamTable, subscription: &Subscription, news: News) {
    let (Some(viewer), Some(client)) = (&subscription.viewer, subscription.client()) else {
        return;
    };

    let left = matches!(news, News::Left);
    let (detections, screen) = match news {
        News::Report | News::Left => (Vec::new(), None),
        News::Detections(detections) => (detections, None),
        News::Screen(said) => (Vec::new(), Some(said)),
    };
    table.put_detections(ClientDetections {
        client: client.number(),
        name: viewer.name.clone(),
        address: viewer.address,
        stream: subscription.stream.clone(),
        report: viewer.report,
        detections: Detections {
            detections,
            ..viewer.told.clone()
        },
        knows_clocks: true,
        screen,
        left,
    });
}

fn encoded(answer: &ToViewer<'_>) -> Message {
    let mut datagram = Vec::new();
    answer.encode(&mut datagram);
    Message::Binary(datagram.into())
}
