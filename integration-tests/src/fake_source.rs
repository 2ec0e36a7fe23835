//! A source of one stream that writes down what its relays say.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::feed_connection::{Connection, ConnectionError};
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::detections::decode;
use fanlight_proto::feed::{
    ANSWER_TOPIC, FromRelay, encode_answer, encode_control_answer, parse_to_source,
};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::message::{
    Answer, Control, ControlAnswer, ControlRequest, ControlValue, Detection, FeedbackReport,
    Format, FrameBuffer, FrameHeader, State, Verdict, ViewerReport, ViewerVerdict,
};
use fanlight_proto::zmtp::{AcceptedSecurity, Event};

use crate::jpeg;

/// The run of every fake source.
pub const EPOCH: u64 = 77;

/// Between two frames.
const INTERVAL: Duration = Duration::from_millis(33);

/// Far above what anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A fake source. It lasts as long as the test's process.
#[derive(Clone, Debug)]
pub struct FakeSource {
    endpoint: String,
    interval: Duration,
    picture: Arc<[u8]>,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    feedback: Vec<(Time, FeedbackReport)>,
    refused: Vec<String>,
    verdict: Option<Verdict>,
    controls: Vec<Control>,
    asked: Vec<ControlRequest>,
}

impl FakeSource {
    /// A source of `stream`, which requires `key` when there is one.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn start(stream: &str, key: Option<FeedKey>) -> Self {
        Self::with_picture(stream, key, jpeg::numbered(1, 320, 240))
    }

    /// The same, all of whose frames are `picture`, which a source would perhaps refuse.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn with_picture(stream: &str, key: Option<FeedKey>, picture: Vec<u8>) -> Self {
        Self::every(INTERVAL, stream, key, picture)
    }

    /// The same, with a frame every `interval`.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn every(interval: Duration, stream: &str, key: Option<FeedKey>, picture: Vec<u8>) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let endpoint = format!(
            "tcp://{}",
            listener
                .local_addr()
                .expect("a bound socket has an address")
        );

        let source = Self {
            endpoint,
            interval,
            picture: picture.into(),
            notes: Arc::default(),
        };

        let serving = source.clone();
        let stream: Arc<str> = stream.into();
        let security = Arc::new(AcceptedSecurity {
            null: key.is_none(),
            shared_key: key,
            keys: None,
        });

        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let source = serving.clone();
                let security = Arc::clone(&security);
                let stream = Arc::clone(&stream);
                // An error is a relay that left.
                std::thread::spawn(move || source.serve(connection, &stream, security));
            }
        });

        source
    }

    /// Where it publishes.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// What every viewer whose detections come is to be told.
    pub fn judge(&self, verdict: Verdict) {
        self.notes().verdict = Some(verdict);
    }

    /// Its camera has these controls from now on.
    pub fn have_controls(&self, controls: Vec<Control>) {
        self.notes().controls = controls;
    }

    /// What was asked of its camera so far.
    #[must_use]
    pub fn asked(&self) -> Vec<ControlRequest> {
        self.notes().asked.clone()
    }

    /// The feedback so far, with the times at which they came.
    #[must_use]
    pub fn feedback(&self) -> Vec<(Time, FeedbackReport)> {
        self.notes().feedback.clone()
    }

    /// Why feedback were refused.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.notes().refused.clone()
    }

    /// What was told of viewers so far.
    #[must_use]
    pub fn seen(&self) -> Vec<ViewerReport> {
        self.feedback()
            .into_iter()
            .flat_map(|(_, feedback)| feedback.viewers)
            .collect()
    }

    /// What those found who call themselves `name`, as far as a source takes it.
    #[must_use]
    pub fn detections(&self, name: &str) -> Vec<Detection> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.name == name)
            .flat_map(|seen| seen.detections)
            .filter_map(|bytes| decode(&bytes))
            .collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(
        &self,
        connection: TcpStream,
        stream: &str,
        security: Arc<AcceptedSecurity>,
    ) -> Result<(), ConnectionError> {
        let shutdown = Shutdown::new();
        let mut connection = Connection::accept(connection, security, &shutdown)?;
        let mut number = 0;
        let mut next = clock::now();

        loop {
            match connection.next()? {
                Some(Event::Upstream(message)) => match parse_to_source(&message) {
                    Ok(FromRelay::Feedback(report)) => {
                        self.notes().feedback.push((clock::now(), report));
                    }
                    Ok(FromRelay::ClockProbe(nonce)) => {
                        let body = encode_answer(&self.answer(nonce));
                        publish(&mut connection, ANSWER_TOPIC, body)?;
                    }
                    Ok(FromRelay::Refused(_)) => {}
                    Ok(FromRelay::Controls(request)) => {
                        let body = encode_control_answer(self.set_controls(&request));
                        self.notes().asked.push(request);
                        publish(&mut connection, ANSWER_TOPIC, body)?;
                    }
                    Err(error) => self.notes().refused.push(error.to_string()),
                },
                Some(_) => {}
                None if next <= clock::now() => {
                    next = next + self.interval;
                    number += 1;
                    let topic = format!("{stream}/");
                    let body = frame(stream, number, &self.picture);
                    publish(&mut connection, topic.as_bytes(), body)?;
                }
                None => connection.wait(None, next, &shutdown)?,
            }
        }
    }

    fn answer(&self, nonce: u64) -> Answer {
        let notes = self.notes();
        let verdict = notes.verdict;
        let mut viewers: Vec<u64> = notes
            .feedback
            .iter()
            .rev()
            .take(20)
            .flat_map(|(_, feedback)| &feedback.viewers)
            .map(|seen| seen.viewer)
            .collect();

        viewers.sort_unstable();
        viewers.dedup();
        let verdicts = viewers
            .into_iter()
            .filter(|_| verdict.is_some())
            .map(|viewer| ViewerVerdict { viewer, verdict });

        Answer {
            clock_ns: clock::now().as_nanos(),
            clock_id: clock::clock_id(),
            verdicts: verdicts.collect(),
            nonce,
            ..Answer::default()
        }
    }

    /// What a driver does that has these controls: all or nothing.
    fn set_controls(&self, request: &ControlRequest) -> ControlAnswer {
        let controls = &mut self.notes().controls;
        let mut set = controls.clone();
        let mut refusal = String::new();
        for ControlValue { name, value } in &request.set {
            match set.iter_mut().find(|control| control.name == *name) {
                Some(control) if (control.minimum..=control.maximum).contains(value) => {
                    control.value = Some(*value);
                }
                Some(control) => refusal = format!("{name} takes up to {}", control.maximum),
                None => refusal = format!("no control {name:?}"),
            }
        }
        if refusal.is_empty() {
            *controls = set;
        }

        ControlAnswer {
            request: request.request,
            refusal,
            controls: controls.clone(),
        }
    }
}

fn publish(connection: &mut Connection, topic: &[u8], body: Bytes) -> Result<(), ConnectionError> {
    let shutdown = Shutdown::new();
    let deadline = clock::now() + DEADLINE;
    let mut rest = Bytes::new();
    connection.send(
        |encoder| {
            let encoded = encoder.message(topic, body);
            rest = encoded.body;
            encoded.prefix
        },
        deadline,
        &shutdown,
    )?;

    connection.send(|_| rest, deadline, &shutdown)
}

fn frame(stream: &str, number: u64, picture: &[u8]) -> Bytes {
    let header = FrameHeader {
        stream: stream.into(),
        epoch: EPOCH,
        number,
        captured_ns: clock::now().as_nanos(),
        clock_id: clock::clock_id(),
        width: 320,
        height: 240,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        rate_millihertz: 30_000,
        ..FrameHeader::default()
    };

    FrameBuffer::copy_of(picture).finish(header)
}
