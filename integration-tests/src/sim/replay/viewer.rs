//! A viewer's capture: the relay's part is played as recorded.

use fanlight_daemon::capture::{Record, Recording};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::message::{Accept, Challenge, Pulse, StreamInfo};

use super::super::viewer_node::{Viewer, ViewerOutput};
use super::super::{Link, ViewerConfig};
use super::{came_in, control, counted_from, growth, media, next_alias, next_session};
use crate::seeded::Random;

/// In the place of a token, which nobody checks here.
const TOKEN: &[u8] = b"replayed";

/// What stands in a JOIN that is to be answered.
const ACCEPT: u8 = 3;
const CHALLENGE: u8 = 2;
const SEALED: u8 = 10;

pub(super) fn replay(recording: &Recording) -> Vec<(&'static str, u64)> {
    let config = ViewerConfig::over(Link::clean(std::time::Duration::ZERO));
    let viewer = Viewer::new(&mut Random::new(0), 0, &config);
    let mut env = TestEnv {
        viewer,
        now: Time::default(),
        nonce: 0,
        session: 0,
    };

    let from = counted_from(recording);
    let mut before = None;

    for (at, record) in recording.records.iter().enumerate() {
        if before.is_none() && record.time >= from {
            before = Some(env.counts());
        }

        env.tick_until(record.time);
        if at == 0 {
            env.begin(&recording.records);
        }

        if came_in(record) {
            env.take(record, &recording.records[at + 1..]);
        }
    }

    env.tick_until(recording.written);
    growth(&before.unwrap_or_default(), env.counts())
}

struct TestEnv {
    viewer: Viewer,
    now: Time,
    /// Of the engine's last JOIN.
    nonce: u64,
    /// The session that the recorded relay spoke of last.
    session: u64,
}

impl TestEnv {
    /// Lets time pass.
    fn tick_until(&mut self, until: Time) {
        // The engine has not been born before the first record.
        if self.now == Time::default() {
            self.now = until;
        }

        while let Some(due) = self.viewer.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.viewer.on_tick(self.now);
            self.collect();
        }

        self.now = self.now.max(until);
    }

    /// Joins at once when the recording begins within a session.
    fn begin(&mut self, records: &[Record]) {
        let joining = records
            .iter()
            .filter(|record| came_in(record))
            .find_map(control);

        if joining.is_none_or(|(kind, ..)| kind == CHALLENGE || kind == ACCEPT)
            && media(&records[0]).is_none()
        {
            return;
        }

        self.viewer.on_tick(self.now);
        self.collect();
        self.answer(&ToViewer::Challenge(Challenge {
            nonce: self.nonce,
            token: TOKEN.into(),
            ..Challenge::default()
        }));

        self.accept(records);
    }

    fn take(&mut self, record: &Record, later: &[Record]) {
        if let Some((_, mut datagram)) = media(record) {
            self.viewer.on_datagram(self.now, 0, &mut datagram);
            return self.collect();
        }

        let Some((kind, session, whole)) = control(record) else {
            return;
        };

        match ToViewer::parse(record.head()) {
            Ok(ToViewer::Challenge(challenge)) => {
                self.answer(&ToViewer::Challenge(Challenge {
                    nonce: self.nonce,
                    ..challenge
                }));
            }
            Ok(ToViewer::Accept(accept)) if accept.stream.is_some() => {
                self.session = accept.session;
                self.answer(&ToViewer::Accept(Accept {
                    nonce: self.nonce,
                    ..accept
                }));
            }
            Ok(ToViewer::Refuse(mut refuse)) => {
                refuse.nonce = self.nonce;
                self.answer(&ToViewer::Refuse(refuse));
            }
            Ok(message) if kind != SEALED && kind != ACCEPT => self.answer(&message),
            // Sealed, or longer than what is kept of it: at least a sign of life.
            _ if kind == ACCEPT => self.accept(later),
            _ if kind == SEALED || !whole => {
                self.answer(&ToViewer::Pulse(session, Pulse::default()));
            }
            _ => {}
        }
    }

    /// A session such as what follows in the recording needs.
    fn accept(&mut self, later: &[Record]) {
        self.session = next_session(later, |_| true).unwrap_or(self.session + 1);
        let stream = next_alias(later).map(|alias| StreamInfo {
            name: "replayed".to_owned(),
            alias: alias.into(),
            rate_millihertz: 30_000,
            ..StreamInfo::default()
        });

        let accept = Accept {
            nonce: self.nonce,
            session: self.session,
            stream,
            ..Accept::default()
        };

        self.answer(&ToViewer::Accept(accept));
    }

    fn answer(&mut self, message: &ToViewer<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        self.viewer.on_datagram(self.now, 0, &mut datagram);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(given) = self.viewer.poll() {
            match given {
                ViewerOutput::Send { datagram, .. } => {
                    if let Ok(ToRelay::Join(join)) = ToRelay::parse(&datagram) {
                        self.nonce = join.nonce;
                    }
                }
                ViewerOutput::Frame { body, .. } => self.viewer.recycle(body),
                ViewerOutput::Signal { .. } => {}
            }
        }
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let tally = self.viewer.tally();
        let counts = tally.counts;
        let losses = tally.losses;
        let [asked, received] = [counts.repairs_asked, counts.repairs_received];
        let own = [
            ("whole", counts.whole),
            ("lost", losses.total()),
            ("repairs_asked", asked),
        ];

        own.into_iter()
            .chain([("repairs_received", received)])
            .chain(losses.by_reason())
            .collect()
    }
}
