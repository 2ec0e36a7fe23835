//! The registry of clients of all outputs but UDP, whose viewers the engine knows: who they are and what they got.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{Health, NotShown, Report, StreamName, Verdict};
use parking_lot::Mutex;

use crate::rate_meter::RateMeter;
use crate::status::screen_health;
use crate::traffic::Ages;

/// Totals kept, one for each stream and kind of output: a name that was counted once stays counted.
const MAX_TOTALS: usize = 3 * 4 * MAX_STREAMS;

/// A client that asks for single pictures is listed for so long after the last.
const POLLER_LISTED: Duration = Duration::from_secs(30);

/// So many of them are listed; further ones are served, but not listed.
const MAX_POLLERS: usize = 256;

/// A client that reports does so each second: with no word for so long, its screen stands still.
const REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How a client gets its pictures: the word for it in lists and metrics, such as `ws` or `mjpeg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputKind(pub &'static str);

/// What one client got of one stream, or all clients of a kind. Counts never fall.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientTotals {
    /// Pictures sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Pictures of the stream that were not sent, because the client was not ready for them or did not want so many.
    pub skipped: u64,
    /// How old the pictures were when they were sent.
    pub ages: Ages,
    /// The age of the newest.
    pub age_us: Option<u64>,
    meter: RateMeter,
}

/// A picture that is sent to a client.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Bytes of the picture.
    pub bytes: usize,
    /// Pictures skipped since the one before.
    pub skipped: u64,
    /// Its age, if that is known.
    pub age_us: Option<u64>,
}

impl ClientTotals {
    /// Pictures a second, lately.
    #[must_use]
    pub fn fps(&self, now: Time) -> f64 {
        self.meter.fps(now)
    }

    fn note(&mut self, now: Time, sent: Sent) {
        self.frames += 1;
        self.bytes += sent.bytes as u64;
        self.skipped += sent.skipped;
        self.meter.note(now);
        self.age_us = sent.age_us;

        if let Some(age_us) = sent.age_us {
            self.ages.note(Duration::from_micros(age_us));
        }
    }
}

/// What a client says of its screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScreenReport {
    /// Pictures shown so far; no more are believed than were sent.
    pub frames_shown: u64,
    /// How long ago the newest was shown; none: none yet.
    pub last_shown: Option<Duration>,
    /// Why those that come are not shown; unspecified while they are.
    pub not_shown: NotShown,
}

impl From<&Report> for ScreenReport {
    fn from(report: &Report) -> Self {
        let last_shown = Duration::from_millis(report.last_shown_ms.into());
        Self {
            frames_shown: report.frames_shown,
            last_shown: (report.frames_shown > 0).then_some(last_shown),
            not_shown: report.not_shown(),
        }
    }
}

/// The registry.
#[derive(Debug, Default)]
pub struct Clients(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// As many as there are subscriptions, which each output bounds.
    present: BTreeMap<u64, Client>,
    pollers: BTreeMap<(IpAddr, StreamName), (Time, Client)>,
    totals: BTreeMap<(StreamName, OutputKind), ClientTotals>,
}

/// One client of one stream.
#[derive(Clone, Debug)]
pub struct Client {
    /// Names it in this run of the relay; 0 for one that asks for single pictures.
    pub number: u64,
    /// What its operator calls it, if it says so.
    pub name: String,
    /// How it gets its pictures.
    pub kind: OutputKind,
    /// Where it is.
    pub address: SocketAddr,
    /// What it watches.
    pub stream: StreamName,
    /// Since when.
    pub since: Time,
    /// What it got.
    pub totals: ClientTotals,
    /// What it said last of itself, if it is a viewer.
    pub report: Option<Report>,
    /// What it said last of its screen, and when.
    said: Option<(Time, ScreenReport)>,
}

impl Client {
    /// Why pictures that come are not shown. One that no longer says how its screen fares shows nothing.
    #[must_use]
    pub fn not_shown(&self, now: Time) -> NotShown {
        match self.said {
            Some((at, _)) if now.saturating_since(at) >= REPORT_TIMEOUT => NotShown::Display,
            Some((_, report)) => report.not_shown,
            None => NotShown::Unspecified,
        }
    }

    /// How right its screen is, of which the source says `verdict`; none when nobody knows.
    #[must_use]
    pub fn health(&self, now: Time, verdict: Option<Verdict>) -> Option<Health> {
        screen_health(self.not_shown(now), verdict)
    }

    /// Since when it has said nothing of its screen; none if it never did.
    #[must_use]
    pub fn silent(&self, now: Time) -> Option<Duration> {
        let (at, _) = self.said?;
        Some(now.saturating_since(at))
    }

    /// How long ago it showed a picture; none: never, or it does not say.
    #[must_use]
    pub fn last_shown(&self, now: Time) -> Option<Duration> {
        let (at, report) = self.said?;
        Some(report.last_shown? + now.saturating_since(at))
    }

    /// Pictures that it says it showed.
    #[must_use]
    pub fn frames_shown(&self) -> Option<u64> {
        let (_, report) = self.said?;
        Some(report.frames_shown.min(self.totals.frames))
    }

    fn new(now: Time, kind: OutputKind, address: SocketAddr, stream: &StreamName) -> Self {
        Self {
            number: 0,
            name: String::new(),
            kind,
            address,
            stream: stream.clone(),
            since: now,
            totals: ClientTotals::default(),
            report: None,
            said: None,
        }
    }
}

impl Clients {
    /// Lists a client until the handle is dropped.
    #[must_use]
    pub fn add(
        &self,
        now: Time,
        kind: OutputKind,
        address: SocketAddr,
        stream: &StreamName,
    ) -> ClientHandle {
        let mut inner = self.0.lock();
        inner.next += 1;
        let number = inner.next;
        let client = Client {
            number,
            ..Client::new(now, kind, address, stream)
        };
        inner.present.insert(number, client);

        ClientHandle {
            clients: Arc::clone(&self.0),
            number,
            key: (stream.clone(), kind),
        }
    }

    /// Counts one picture for a client that asked for it alone.
    pub fn note_poll(
        &self,
        now: Time,
        kind: OutputKind,
        address: SocketAddr,
        stream: &StreamName,
        sent: Sent,
    ) {
        let mut inner = self.0.lock();
        inner.note_total(&(stream.clone(), kind), now, sent);
        inner
            .pollers
            .retain(|_, (asked, _)| now.saturating_since(*asked) < POLLER_LISTED);

        let key = (address.ip(), stream.clone());
        if inner.pollers.len() == MAX_POLLERS && !inner.pollers.contains_key(&key) {
            return;
        }

        let (asked, client) = inner
            .pollers
            .entry(key)
            .or_insert_with(|| (now, Client::new(now, kind, address, stream)));

        *asked = now;
        client.address = address;
        client.totals.note(now, sent);
    }

    /// All clients that watch now, or asked for a picture lately.
    #[must_use]
    pub fn all(&self, now: Time) -> Vec<Client> {
        let inner = self.0.lock();
        let recent = inner
            .pollers
            .values()
            .filter(|(asked, _)| now.saturating_since(*asked) < POLLER_LISTED)
            .map(|(_, client)| client);
        inner.present.values().chain(recent).cloned().collect()
    }

    /// How many watch now, without those that ask for single pictures.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.lock().present.len()
    }

    /// What all clients of a kind got of a stream since the relay began.
    #[must_use]
    pub fn totals(&self) -> Vec<(StreamName, OutputKind, ClientTotals)> {
        self.0
            .lock()
            .totals
            .iter()
            .map(|((stream, kind), totals)| (stream.clone(), *kind, *totals))
            .collect()
    }
}

impl Inner {
    fn note_total(&mut self, key: &(StreamName, OutputKind), now: Time, sent: Sent) {
        if let Some(total) = self.totals.get_mut(key) {
            total.note(now, sent);
        } else if self.totals.len() < MAX_TOTALS {
            self.totals.entry(key.clone()).or_default().note(now, sent);
        }
    }
}

/// A client that is listed.
#[derive(Debug)]
pub struct ClientHandle {
    clients: Arc<Mutex<Inner>>,
    number: u64,
    /// The total that it adds to.
    key: (StreamName, OutputKind),
}

impl ClientHandle {
    /// Names the client, in this run of the relay.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Counts a picture that is sent to it.
    pub fn note(&self, now: Time, sent: Sent) {
        let mut inner = self.clients.lock();
        if let Some(client) = inner.present.get_mut(&self.number) {
            client.totals.note(now, sent);
            inner.note_total(&self.key, now, sent);
        }
    }

    /// Notes what its operator calls it.
    pub fn set_name(&self, name: &str) {
        if let Some(client) = self.clients.lock().present.get_mut(&self.number) {
            name.clone_into(&mut client.name);
        }
    }

    /// Notes what it says of itself, as a viewer.
    pub fn report_viewer(&self, now: Time, report: Report) {
        if let Some(client) = self.clients.lock().present.get_mut(&self.number) {
            client.said = Some((now, ScreenReport::from(&report)));
            client.report = Some(report);
        }
    }

    /// Notes what it says of its screen.
    pub fn report(&self, now: Time, report: ScreenReport) {
        if let Some(client) = self.clients.lock().present.get_mut(&self.number) {
            client.said = Some((now, report));
        }
    }
}

impl Drop for ClientHandle {
    fn drop(&mut self) {
        self.clients.lock().present.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AGE_EDGES_MS;

    const WS: OutputKind = OutputKind("ws");
    const SNAPSHOT: OutputKind = OutputKind("snapshot");
    const NOW: Time = Time::from_nanos(5);

    fn sent(age_us: Option<u64>) -> Sent {
        Sent {
            bytes: 100,
            skipped: 2,
            age_us,
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_client_that_leaves_is_no_longer_listed_and_stays_counted() {
        let clients = Clients::default();
        let stream = "cam".parse().unwrap();
        let handle = clients.add(NOW, WS, address(1), &stream);

        for age_us in [Some(1_000), Some(1_001), Some(9_000_000), None] {
            handle.note(NOW, sent(age_us));
        }

        assert_eq!(clients.count(), 1);
        assert_eq!(clients.all(NOW)[0].totals.frames, 4);

        drop(handle);
        assert_eq!(clients.count(), 0);
        assert!(clients.all(NOW).is_empty());
        let (name, kind, totals) = &clients.totals()[0];
        assert_eq!((name, *kind), (&stream, WS));
        assert_eq!((totals.frames, totals.bytes, totals.skipped), (4, 400, 8));
        let classes = totals.ages.classes;
        assert_eq!(
            (classes[0], classes[1], classes[AGE_EDGES_MS.len()]),
            (1, 1, 1)
        );

        assert_eq!(totals.ages.sum_us, 9_002_001);
    }

    #[test]
    fn a_client_that_stops_telling_of_its_screen_shows_nothing() {
        let clients = Clients::default();
        let handle = clients.add(NOW, WS, address(1), &"cam".parse().unwrap());
        let client = || clients.all(NOW).remove(0);
        assert_eq!(client().not_shown(NOW), NotShown::Unspecified);
        assert_eq!(client().last_shown(NOW), None);

        handle.note(NOW, sent(None));
        let mut report = ScreenReport {
            frames_shown: 1_000,
            last_shown: Some(Duration::from_millis(40)),
            not_shown: NotShown::Unspecified,
        };

        handle.report(NOW, report);
        assert_eq!(client().frames_shown(), Some(1), "no more than were sent");
        let later = NOW + Duration::from_secs(2);
        assert_eq!(client().not_shown(later), NotShown::Unspecified);
        let ago = client().last_shown(later);
        assert_eq!(ago, Some(Duration::from_millis(2_040)));
        assert_eq!(client().not_shown(NOW + REPORT_TIMEOUT), NotShown::Display);

        report.not_shown = NotShown::Undecodable;
        handle.report(NOW, report);
        assert_eq!(client().not_shown(NOW), NotShown::Undecodable);
    }

    #[test]
    fn requests_for_single_pictures_from_one_host_are_one_client_for_a_while() {
        let clients = Clients::default();
        let stream = "cam".parse().unwrap();
        for port in 1..4 {
            clients.note_poll(NOW, SNAPSHOT, address(port), &stream, sent(None));
        }

        let all = clients.all(NOW);
        assert_eq!(
            (all.len(), all[0].totals.frames, all[0].kind),
            (1, 3, SNAPSHOT)
        );

        assert!(clients.all(NOW + POLLER_LISTED).is_empty());
    }

    #[test]
    fn more_pollers_than_places_are_served_and_not_listed() {
        let clients = Clients::default();
        let stream = "cam".parse().unwrap();

        for n in 0..1_000_u16 {
            let [high, low] = n.to_be_bytes();
            let address = SocketAddr::from(([10, 0, high, low], 1));
            clients.note_poll(NOW, SNAPSHOT, address, &stream, sent(None));
        }

        assert_eq!(clients.all(NOW).len(), MAX_POLLERS);
        assert_eq!(clients.totals()[0].2.frames, 1_000);
    }
}
