//! A source of one stream that writes down what its relays say: ZMTP by hand, so that every byte of it is seen.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::envelope::{
    FeedKey, FeedbackOpener, HEADER_BYTES, Sealer, is_feedback, is_question, plain_answer,
};
use fanlight_proto::message::{
    Answer, Detection, FeedbackReport, Format, FrameBuffer, FrameHeader, State, Verdict,
    ViewerReport, ViewerVerdict,
};

use crate::jpeg;
use crate::zmtp::{greeting, message, read_frame, ready};

/// The run of every fake source.
pub const EPOCH: u64 = 77;

/// Between two frames.
const INTERVAL: Duration = Duration::from_millis(33);

/// A ZMTP frame of a command.
const COMMAND: u8 = 4;

/// See the module. It lasts as long as the test's process.
#[derive(Clone, Debug)]
pub struct FakeSource {
    endpoint: String,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    feedback: Vec<(Time, FeedbackReport)>,
    refused: Vec<String>,
    verdict: Option<Verdict>,
}

impl FakeSource {
    /// A source of `stream`, which seals with `key` when there is one.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn start(stream: &'static str, key: Option<FeedKey>) -> Self {
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
            notes: Arc::default(),
        };
        let serving = source.clone();
        let sealer = key.map(|key| Arc::new(Sealer::new(&key, clock::random_bytes())));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (source, sealer) = (serving.clone(), sealer.clone());
                std::thread::spawn(move || source.serve(connection, stream, sealer.as_deref()));
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

    /// What those found who call themselves `name`.
    #[must_use]
    pub fn detections(&self, name: &str) -> Vec<Detection> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.name == name)
            .flat_map(|seen| seen.detections)
            .collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errors end the connection.
    fn serve(
        &self,
        mut connection: TcpStream,
        stream: &str,
        sealer: Option<&Sealer>,
    ) -> Option<()> {
        connection
            .write_all(&[greeting(), ready("PUB")].concat())
            .ok()?;
        let mut listener = FeedbackOpener::new(sealer, clock::random_bytes());
        let (heard, challenge) = (topics(connection.try_clone().ok()?), *listener.challenge());
        let picture = jpeg::numbered(1, 320, 240);
        let mut number = 0;
        let mut next = clock::now();
        loop {
            match heard.recv_timeout(next.saturating_since(clock::now())) {
                Ok(topic) if is_question(&topic) => {
                    let answer = self.answer(&challenge);
                    let body = sealer.map_or_else(
                        || plain_answer(&answer),
                        |s| s.answer(&topic, answer.clone()),
                    );
                    connection.write_all(&message(&topic, &body)).ok()?;
                }
                Ok(topic) if is_feedback(&topic) => match listener.hear(&topic) {
                    Ok(feedback) => self.notes().feedback.push((clock::now(), feedback)),
                    Err(error) => self.notes().refused.push(error.to_string()),
                },
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    next = next + INTERVAL;
                    number += 1;
                    let topic = format!("{stream}/");
                    let body = frame(stream, number, &picture, sealer);
                    connection
                        .write_all(&message(topic.as_bytes(), &body))
                        .ok()?;
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn answer(&self, challenge: &[u8]) -> Answer {
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
            challenge: challenge.to_vec(),
            ..Answer::default()
        }
    }
}

fn frame(stream: &str, number: u64, picture: &[u8], sealer: Option<&Sealer>) -> Bytes {
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
    let plain = FrameBuffer::copy_of(picture).finish(header);
    match sealer {
        None => plain,
        Some(sealer) => {
            let topic = format!("{stream}/");
            sealer.frame(
                topic.as_bytes(),
                [&[0; HEADER_BYTES][..], &plain].concat(),
                HEADER_BYTES,
            )
        }
    }
}

/// What is subscribed to on `connection`, until it ends.
fn topics(mut connection: TcpStream) -> mpsc::Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut greeting = [0; 64];
        let _ = std::io::Read::read_exact(&mut connection, &mut greeting);
        while let Ok((flags, body)) = read_frame(&mut connection) {
            let topic = body.strip_prefix(&[1]).filter(|_| flags & COMMAND == 0);
            if topic.is_some_and(|topic| tell.send(topic.to_vec()).is_err()) {
                return;
            }
        }
    });
    told
}
