//! Who watches over HTTP, and what they got.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::StreamName;

use super::tempo::Tempo;

/// Upper edges of the classes into which ages fall, in milliseconds: around what a good network has, and what people see.
pub(crate) const AGE_EDGES_MS: [u64; 12] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// Totals kept, of each stream for each kind: streams come and go, and a name that was counted once stays counted.
const MAX_TOTALS: usize = 3 * 4 * MAX_STREAMS;

/// Who asked for single pictures is listed for so long after the last.
const REMEMBERED: Duration = Duration::from_secs(30);

/// So many are listed; who comes when all places are taken is served, but not listed.
const MAX_POLLERS: usize = 256;

/// How a client gets its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// By WebSocket.
    Ws,
    /// One after another in one answer.
    Mjpeg,
    /// Single ones.
    Snapshot,
}

impl Kind {
    /// As clients are told.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Mjpeg => "mjpeg",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What one client got of one stream, or all of a kind. Counts never fall.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Pictures handed to its socket.
    pub(crate) frames: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Pictures of the stream that it did not get, because it was not ready for them or did not want so many.
    pub(crate) skipped: u64,
    /// How many of the pictures were so old when they were handed to the socket: up to each of [`AGE_EDGES_MS`], and
    /// beyond the last.
    pub(crate) ages: [u64; AGE_EDGES_MS.len() + 1],
    /// The sum of those ages, in microseconds.
    pub(crate) ages_us: u64,
    /// The age of the newest.
    pub(crate) age_us: Option<u64>,
    tempo: Tempo,
}

/// A picture on its way to a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    /// Bytes of the picture.
    pub(crate) bytes: usize,
    /// Pictures left out since the one before.
    pub(crate) skipped: u64,
    /// Its age, if that is known.
    pub(crate) age_us: Option<u64>,
}

impl Tally {
    /// Pictures a second, lately.
    pub(crate) fn fps(&self, now: Time) -> f64 {
        self.tempo.fps(now)
    }

    fn note(&mut self, now: Time, handed: Handed) {
        self.frames += 1;
        self.bytes += handed.bytes as u64;
        self.skipped += handed.skipped;
        self.tempo.note(now);
        self.age_us = handed.age_us;
        if let Some(age_us) = handed.age_us {
            let class = AGE_EDGES_MS
                .iter()
                .position(|edge| age_us <= edge * 1_000)
                .unwrap_or(AGE_EDGES_MS.len());
            self.ages[class] += 1;
            self.ages_us += age_us;
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Clients(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// As many as there are subscriptions and streams under way, which are bounded.
    present: BTreeMap<u64, Row>,
    pollers: BTreeMap<(IpAddr, StreamName), (Time, Row)>,
    totals: BTreeMap<(StreamName, Kind), Tally>,
}

/// One client of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// How it gets its pictures.
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// What it watches.
    pub(crate) stream: StreamName,
    /// Since when.
    pub(crate) since: Time,
    /// What it got.
    pub(crate) tally: Tally,
}

impl Clients {
    /// Lists a client until the seat is dropped.
    pub(super) fn seat(
        &self,
        now: Time,
        kind: Kind,
        address: SocketAddr,
        stream: &StreamName,
    ) -> Seat {
        let mut inner = lock(&self.0);
        inner.next += 1;
        let number = inner.next;
        let row = Row {
            kind,
            address,
            stream: stream.clone(),
            since: now,
            tally: Tally::default(),
        };
        inner.present.insert(number, row);
        drop(inner);
        Seat {
            clients: Arc::clone(&self.0),
            number,
            key: (stream.clone(), kind),
        }
    }

    /// One picture goes to a client that asked for it alone.
    pub(super) fn note_poll(
        &self,
        now: Time,
        address: SocketAddr,
        stream: &StreamName,
        handed: Handed,
    ) {
        let mut inner = lock(&self.0);
        inner.note_total(&(stream.clone(), Kind::Snapshot), now, handed);
        inner
            .pollers
            .retain(|_, (asked, _)| now.saturating_since(*asked) < REMEMBERED);
        let key = (address.ip(), stream.clone());
        if inner.pollers.len() == MAX_POLLERS && !inner.pollers.contains_key(&key) {
            return;
        }
        let row = || Row {
            kind: Kind::Snapshot,
            address,
            stream: stream.clone(),
            since: now,
            tally: Tally::default(),
        };
        let (asked, row) = inner.pollers.entry(key).or_insert_with(|| (now, row()));
        *asked = now;
        row.address = address;
        row.tally.note(now, handed);
    }

    /// All who watch now, or asked for a picture lately.
    pub(crate) fn rows(&self, now: Time) -> Vec<Row> {
        let inner = lock(&self.0);
        let fresh = inner
            .pollers
            .values()
            .filter(|(asked, _)| now.saturating_since(*asked) < REMEMBERED);
        inner
            .present
            .values()
            .chain(fresh.map(|(_, row)| row))
            .cloned()
            .collect()
    }

    /// How many watch now, those not counted who ask for single pictures.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0).present.len()
    }

    /// What all clients of a kind got of a stream since the relay began.
    pub(crate) fn totals(&self) -> Vec<(StreamName, Kind, Tally)> {
        lock(&self.0)
            .totals
            .iter()
            .map(|((stream, kind), tally)| (stream.clone(), *kind, *tally))
            .collect()
    }
}

impl Inner {
    fn note_total(&mut self, key: &(StreamName, Kind), now: Time, handed: Handed) {
        if let Some(total) = self.totals.get_mut(key) {
            total.note(now, handed);
        } else if self.totals.len() < MAX_TOTALS {
            self.totals
                .entry(key.clone())
                .or_default()
                .note(now, handed);
        }
    }
}

/// A client that is listed.
#[derive(Debug)]
pub(super) struct Seat {
    clients: Arc<Mutex<Inner>>,
    number: u64,
    /// What it counts for.
    key: (StreamName, Kind),
}

impl Seat {
    /// A picture goes to it.
    pub(super) fn note(&self, now: Time, handed: Handed) {
        let mut inner = lock(&self.clients);
        let Some(row) = inner.present.get_mut(&self.number) else {
            return;
        };
        row.tally.note(now, handed);
        inner.note_total(&self.key, now, handed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.clients).present.remove(&self.number);
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "10.0.0.1:1";

    fn handed(age_us: Option<u64>) -> Handed {
        Handed {
            bytes: 100,
            skipped: 2,
            age_us,
        }
    }

    #[test]
    fn who_leaves_is_listed_no_more_and_stays_counted() {
        let (clients, now, stream) = (
            Clients::default(),
            Time::from_nanos(5),
            "cam".parse().unwrap(),
        );
        let seat = clients.seat(now, Kind::Ws, ADDRESS.parse().unwrap(), &stream);
        seat.note(now, handed(Some(1_000)));
        seat.note(now, handed(Some(1_001)));
        seat.note(now, handed(Some(9_000_000)));
        seat.note(now, handed(None));
        assert_eq!((clients.count(), clients.rows(now)[0].tally.frames), (1, 4));
        drop(seat);
        assert_eq!((clients.count(), clients.rows(now).len()), (0, 0));
        let totals = clients.totals();
        let (name, kind, tally) = &totals[0];
        assert_eq!(
            (name, *kind, tally.frames, tally.bytes, tally.skipped),
            (&stream, Kind::Ws, 4, 400, 8)
        );
        assert_eq!(
            (tally.ages[0], tally.ages[1], tally.ages[AGE_EDGES_MS.len()]),
            (1, 1, 1)
        );
        assert_eq!(tally.ages_us, 9_002_001);
    }

    #[test]
    fn who_asks_for_single_pictures_is_one_client_for_a_while() {
        let (clients, now, stream) = (
            Clients::default(),
            Time::from_nanos(5),
            "cam".parse().unwrap(),
        );
        for port in 1..4 {
            clients.note_poll(
                now,
                SocketAddr::from(([10, 0, 0, 1], port)),
                &stream,
                handed(None),
            );
        }
        let rows = clients.rows(now);
        assert_eq!(
            (rows.len(), rows[0].tally.frames, rows[0].kind),
            (1, 3, Kind::Snapshot)
        );
        assert!(clients.rows(now + REMEMBERED).is_empty());
    }

    #[test]
    fn more_pollers_than_places_are_served_and_not_listed() {
        let (clients, now, stream) = (
            Clients::default(),
            Time::from_nanos(5),
            "cam".parse().unwrap(),
        );
        for n in 0..1_000_u16 {
            let [high, low] = n.to_be_bytes();
            clients.note_poll(
                now,
                SocketAddr::from(([10, 0, high, low], 1)),
                &stream,
                handed(None),
            );
        }
        assert_eq!(clients.rows(now).len(), MAX_POLLERS);
        assert_eq!(clients.totals()[0].2.frames, 1_000);
    }
}
