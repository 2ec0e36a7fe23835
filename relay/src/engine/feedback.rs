//! Feedback to the sources: who watches, and what they detected. Decides when a source gets a report and
//! what is in it, with all viewers taking turns.

mod report_builder;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_live::ledger::Resource;
use fanlight_proto::clock::Time;
use fanlight_proto::feed::{MAX_FEEDBACK_BYTES, MAX_FEEDBACK_DETECTIONS};
use fanlight_proto::limits::{MAX_DETECTIONS, MAX_STREAMS};
use fanlight_proto::message::{
    Demand, Detections, FeedbackReport, Report, StreamName, Verdict, ViewerReport, ViewerVerdict,
};

use super::Engine;
use super::client_screens::{ClientScreens, Screen, ScreenKey};
use super::log_limits::LogLine;
use super::output::{Output, Route};
use super::sessions::{Session, Sessions};
use super::stream::Stream;
use super::viewer_feedback::ViewerFeedback;
use report_builder::{ReportBuilder, report_waiting};

/// Between reports when nothing happens: a lost report is replaced, and the viewers' counts are fresh.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Between reports while there is something to tell: ten a second.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// Between reports when somebody joins a stream that nobody watched, whose source may have to start its
/// camera: the first goes at once, and viewers that come and go all the time cause forty a second.
const URGENT_INTERVAL: Duration = Duration::from_millis(25);

/// Every viewer with news is in a report this often; detections are dropped for that if needed.
const TURN_INTERVAL: Duration = REFRESH_INTERVAL;

/// Viewers that have left and of which a source has not been told. It learns of the rest by their silence.
const MAX_DEPARTED: usize = 256;

/// So much of a report may be about viewers that have left: they do not keep out those that stay.
const MAX_DEPARTED_BYTES: usize = MAX_FEEDBACK_BYTES / 4;

/// Reports of viewers of other relays that wait for one source: what it hears in a second. The oldest give way.
const MAX_RELAYED: usize = 1024;

/// So much of a report may be about them, beside those that have left: the rest is for this relay's own.
const MAX_RELAYED_BYTES: usize = MAX_FEEDBACK_BYTES / 4;

/// Room that every report keeps for at least one viewer: with the longest names and numbers, and all the
/// detections of one report, it takes 1 958 bytes.
const ROOM_FOR_ONE: usize = 2048;

/// Streams that HTTP clients wait for and that the relay does not have.
const MAX_AWAITED: usize = MAX_STREAMS;

/// When each source gets its next report, and what is kept for it.
#[derive(Debug)]
pub(super) struct FeedbackScheduler {
    relay: u64,
    /// The sources that have streams, or have not been told yet that they have none; no more than
    /// [`MAX_SOURCES`](crate::config::MAX_SOURCES).
    origins: Vec<Origin>,
    /// How many watch each stream over HTTP, where it is not zero.
    clients: BTreeMap<StreamName, u32>,
}

/// What is kept for one source.
#[derive(Debug)]
struct Origin {
    number: usize,
    /// When the last report was sent.
    last: Option<Time>,
    due: Time,
    /// When all viewers are reported again.
    refresh: Time,
    /// The screen that was reported last.
    last_screen: Option<ScreenKey>,
    departed: VecDeque<ViewerReport>,
    /// What other relays, which have the stream from this one, say of their viewers.
    relayed: VecDeque<ViewerReport>,
}

impl FeedbackScheduler {
    /// `relay` names the run of this relay.
    pub(super) const fn new(relay: u64) -> Self {
        Self {
            relay,
            origins: Vec::new(),
            clients: BTreeMap::new(),
        }
    }

    /// When the next report is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.origins.iter().map(|origin| origin.due).min()
    }

    /// There is news for the source: a report is due `interval` after the last.
    pub(super) fn schedule(&mut self, now: Time, number: usize, interval: Duration) {
        let origin = self.origin(now, number);
        let due = origin.last.map_or(now, |last| now.max(last + interval));
        origin.due = origin.due.min(due);
    }

    /// How many watch a stream over HTTP.
    pub(super) fn clients(&self, stream: &StreamName) -> u32 {
        self.clients.get(stream).copied().unwrap_or(0)
    }

    fn set_clients(&mut self, stream: &StreamName, clients: u32) {
        if clients == 0 {
            self.clients.remove(stream);
        } else if self.clients.contains_key(stream)
            || self.clients.len() < MAX_STREAMS + MAX_AWAITED
        {
            self.clients.insert(stream.clone(), clients);
        }
    }

    /// A viewer has left.
    pub(super) fn on_viewer_left(&mut self, now: Time, number: usize, report: ViewerReport) {
        self.origin(now, number).depart(report);
        self.schedule(now, number, INTERVAL);
    }

    fn origin(&mut self, now: Time, number: usize) -> &mut Origin {
        let known = self
            .origins
            .iter()
            .position(|origin| origin.number == number);

        let at = known.unwrap_or_else(|| {
            self.origins.push(Origin {
                number,
                last: None,
                due: now,
                refresh: now,
                last_screen: None,
                departed: VecDeque::new(),
                relayed: VecDeque::new(),
            });

            self.origins.len() - 1
        });
        &mut self.origins[at]
    }
}

impl Origin {
    fn relay(&mut self, report: ViewerReport) {
        if self.relayed.len() == MAX_RELAYED {
            self.relayed.pop_front();
        }
        self.relayed.push_back(report);
    }

    fn depart(&mut self, report: ViewerReport) {
        if self.departed.len() == MAX_DEPARTED {
            self.departed.pop_front();
        }
        self.departed.push_back(report);
    }
}

impl Engine {
    /// Notes how many watch `stream` over HTTP, also before the relay has it.
    pub fn on_clients(&mut self, now: Time, stream: &StreamName, clients: u32) {
        let before = self.feedback.clients(stream);
        self.feedback.set_clients(stream, clients);
        let Some(stream) = self.streams.named(stream).filter(|_| clients != before) else {
            return;
        };

        let first = before == 0 && stream.members().is_empty();
        self.feedback.schedule(
            now,
            stream.origin,
            if first { URGENT_INTERVAL } else { INTERVAL },
        );
    }

    /// Passes on what another relay says of a viewer of a stream that it has from this one.
    pub fn on_viewer_report(&mut self, now: Time, report: ViewerReport) {
        let name = report.stream.parse::<StreamName>();
        let Some(stream) = name.ok().and_then(|name| self.streams.named(&name)) else {
            return;
        };

        let origin = stream.origin;
        self.feedback.origin(now, origin).relay(report);
        self.feedback.schedule(now, origin, INTERVAL);
    }

    /// Takes the verdicts of the source behind upstream `origin`. Verdicts about viewers of other sources are
    /// ignored.
    pub fn on_verdicts(&mut self, now: Time, origin: usize, verdicts: Vec<ViewerVerdict>) {
        let verdicts = verdicts
            .into_iter()
            .filter_map(|told| Some((told.viewer, told.verdict.filter(is_finite)?)));
        let verdicts: BTreeMap<u64, Verdict> = verdicts.collect();
        self.feedbacks_of(origin, |feedback| {
            if let Some(verdict) = verdicts.get(&feedback.number) {
                feedback.note_verdict(now, *verdict);
            }
        });
    }

    /// Takes back a report for upstream `origin` that could not be delivered: it is reported again, and its
    /// detections are counted as dropped.
    pub fn on_feedback_undelivered(&mut self, now: Time, origin: usize, feedback: FeedbackReport) {
        let mut lost = BTreeMap::new();
        for report in feedback.viewers {
            if report.left {
                self.feedback.origin(now, origin).depart(report);
            } else {
                lost.insert(report.viewer, report.detections.len());
            }
        }

        let mut dropped = 0;
        self.feedbacks_of(origin, |feedback| {
            if let Some(detections) = lost.get(&feedback.number) {
                feedback.drop(*detections);
                feedback.news = true;
                dropped += *detections as u64;
            }
        });
        self.ledger.refusals.note(Resource::Detections, dropped);
    }

    /// Takes the detections of a viewer.
    pub(super) fn on_detections(&mut self, now: Time, from: Route, said: Detections) {
        let Some(session) = self.sessions.get_mut(from.remote) else {
            return;
        };

        let Some(stream) = self.streams.by_alias(session.alias) else {
            return;
        };

        self.counts.detections += said.detections.len() as u64;
        let dropped = session.feedback.take(now, said);
        self.feedback.schedule(now, stream.origin, INTERVAL);
        self.note_dropped(now, from.remote, dropped);
    }

    pub(super) fn note_dropped(&mut self, now: Time, viewer: SocketAddr, detections: u64) {
        if detections == 0 {
            return;
        }
        self.ledger.refusals.note(Resource::Detections, detections);
        if let Some(count) = self.log_limits.note(LogLine::Detections, now) {
            tracing::info!(count, %viewer, "detections dropped of viewers that send too many");
        }
    }

    /// A viewer has joined the stream `alias`.
    pub(super) fn on_viewer_joined(&mut self, now: Time, alias: u16) {
        let Some(stream) = self.streams.by_alias(alias) else {
            return;
        };

        let first = stream.members().len() == 1 && self.feedback.clients(&stream.name) == 0;
        self.feedback.schedule(
            now,
            stream.origin,
            if first { URGENT_INTERVAL } else { INTERVAL },
        );
    }

    /// Makes the reports that are due.
    pub(super) fn send_feedback(&mut self, now: Time) {
        while let Some(at) = self
            .feedback
            .origins
            .iter()
            .position(|origin| origin.due <= now)
        {
            let origin = &mut self.feedback.origins[at];
            let number = origin.number;

            if now >= origin.refresh {
                origin.refresh = now.next_multiple_of(REFRESH_INTERVAL);
                self.refresh(number);
            }

            let (feedback, more) = self.feedback(now, at);
            if feedback.demand.is_empty() && !more {
                // The source has been told that it has no stream here any more.
                self.feedback.origins.swap_remove(at);
            } else {
                let origin = &mut self.feedback.origins[at];
                origin.last = Some(now);
                origin.due = if more { now + INTERVAL } else { origin.refresh };
            }

            self.counts.feedback += 1;
            self.outputs.push_back(Output::Feedback {
                origin: number,
                feedback,
            });
        }
    }

    /// Reports all screens of a source again.
    fn refresh(&mut self, origin: usize) {
        self.feedbacks_of(origin, |feedback| feedback.news = true);
    }

    /// Visits what the screens of a source have to tell it.
    fn feedbacks_of(&mut self, origin: usize, mut visit: impl FnMut(&mut ViewerFeedback)) {
        let own: Vec<&Stream> = own_streams(self.streams.iter(), origin);
        for session in self.sessions.iter_mut() {
            if own.iter().any(|stream| stream.alias == session.alias) {
                visit(&mut session.feedback);
            }
        }
        for screen in self.clients.values_mut() {
            if own.iter().any(|stream| stream.name == screen.stream) {
                visit(&mut screen.feedback);
            }
        }
    }

    /// The report for a source, and whether there is more to tell than it could carry.
    fn feedback(&mut self, now: Time, at: usize) -> (FeedbackReport, bool) {
        let Self {
            feedback,
            streams,
            sessions,
            clients,
            ..
        } = self;

        let own = own_streams(streams.iter(), feedback.origins[at].number);
        let demand = own.iter().map(|stream| Demand {
            stream: stream.name.to_string(),
            viewers: u32::try_from(stream.members().len()).unwrap_or(u32::MAX),
            clients: feedback.clients(&stream.name),
        });

        let mut builder = ReportBuilder::new(feedback.relay, demand.collect());
        // Of a relay above with very many streams the demand alone may be as long as the rest is otherwise.
        let max_bytes = MAX_FEEDBACK_BYTES.max(builder.bytes + ROOM_FOR_ONE);
        let origin = &mut feedback.origins[at];
        for (waiting, share) in [
            (&mut origin.departed, MAX_DEPARTED_BYTES),
            (&mut origin.relayed, MAX_RELAYED_BYTES),
        ] {
            let most = (builder.bytes + share).min(max_bytes - ROOM_FOR_ONE);
            report_waiting(waiting, &mut builder, most);
        }
        let turns = turns(&own, sessions, clients, origin.last_screen);
        let share = share(turns.len());
        let mut more = !(origin.departed.is_empty() && origin.relayed.is_empty());
        let mut cut = Vec::new();

        for key in turns {
            let Some(mut screen) = find(sessions, clients, key) else {
                continue;
            };

            cut.push((screen.address(), screen.feedback().cut(share)));
            let report = report_of(now, &screen, &own);
            let detections = report.detections.len();
            if !builder.add(report, max_bytes) {
                more = true;
                break;
            }

            screen.feedback().on_reported(detections);
            more |= screen.feedback().has_news();
            origin.last_screen = Some(key);
        }

        for (address, detections) in cut {
            self.note_dropped(now, address, detections);
        }

        (builder.feedback, more)
    }
}

/// What the source of these streams is told of a screen that watches one of them.
fn report_of(now: Time, screen: &Screen<'_>, own: &[&Stream]) -> ViewerReport {
    match screen {
        Screen::Client(screen) => screen.report(),
        Screen::Viewer(session) => {
            let stream = own.iter().find(|stream| stream.alias == session.alias);
            let stream = stream.expect("only screens of these streams have a turn");
            viewer_report(now, session, &stream.name)
        }
    }
}

/// The streams that come from one source.
fn own_streams<'a>(streams: impl Iterator<Item = &'a Stream>, origin: usize) -> Vec<&'a Stream> {
    streams.filter(|stream| stream.origin == origin).collect()
}

/// The screens of these streams that have something to tell, beginning after `last` and going round.
fn turns(
    own: &[&Stream],
    sessions: &Sessions,
    clients: &ClientScreens,
    last: Option<ScreenKey>,
) -> Vec<ScreenKey> {
    let viewers = sessions.iter().filter(|session| {
        session.feedback.has_news() && own.iter().any(|stream| stream.alias == session.alias)
    });
    let clients = clients.iter().filter(|(_, screen)| {
        screen.feedback.has_news() && own.iter().any(|stream| stream.name == screen.stream)
    });

    let mut turns: Vec<_> = viewers
        .map(|session| ScreenKey::Viewer(session.route.remote))
        .chain(clients.map(|(number, _)| ScreenKey::Client(*number)))
        .collect();
    let passed = turns.partition_point(|key| Some(*key) <= last);
    turns.rotate_left(passed);
    turns
}

fn find<'a>(
    sessions: &'a mut Sessions,
    clients: &'a mut ClientScreens,
    key: ScreenKey,
) -> Option<Screen<'a>> {
    match key {
        ScreenKey::Viewer(address) => sessions.get_mut(address).map(Screen::Viewer),
        ScreenKey::Client(number) => clients.get_mut(&number).map(Screen::Client),
    }
}

/// What the source is told of the viewer of `session`.
pub(super) fn viewer_report(now: Time, session: &Session, stream: &StreamName) -> ViewerReport {
    let report = session.delivery.report(now);
    ViewerReport {
        stream: stream.to_string(),
        // It may be printed to a terminal.
        name: session.name.chars().filter(|c| !c.is_control()).collect(),
        address: session.route.remote.to_string(),
        report: (session.feedback.news && report != Report::default()).then_some(report),
        ..session.feedback.report()
    }
}

/// How many detections each of so many viewers may have in one report, so that all are reported within
/// [`TURN_INTERVAL`].
fn share(viewers: usize) -> usize {
    let feedback = (TURN_INTERVAL.as_millis() / INTERVAL.as_millis()) as usize;
    (MAX_FEEDBACK_DETECTIONS * feedback / viewers.max(1)).clamp(1, MAX_DETECTIONS)
}

fn is_finite(verdict: &Verdict) -> bool {
    [verdict.error, verdict.mean, verdict.max, verdict.deviation]
        .into_iter()
        .all(f32::is_finite)
}
