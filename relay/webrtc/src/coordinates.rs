//! The data channel `coordinates`: where a client's tracker found the ball, and in which frame. No I/O and no clock. On the
//! WebRTC thread, one for each peer.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_proto::clock::Time;
use fanlight_proto::detections;
use fanlight_proto::limits::MAX_DETECTIONS;
use fanlight_proto::message::{Ball, Detection, Detections, FrameId, Report};
use serde::Deserialize;

use crate::encoder::EncodedFrame;

/// The label of the channel.
pub(crate) const LABEL: &str = "coordinates";

/// Longest message.
const MAX_MESSAGE_BYTES: usize = 512;

/// Messages that are read in a second: four trackers at 30 fps.
const MESSAGES_PER_SECOND: u32 = 120;

/// Frames that an answer may name: those of 8 s at 30 fps.
const MAX_SENT: usize = 256;

/// Of the frames sent first, how many may be the one from which a client counts.
const MAX_ORIGINS: usize = 64;

/// Between two reports with detections, and without.
const INTERVAL: Duration = Duration::from_millis(100);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// A message, as `WEBRTC.md` has it. Fields that are not known are ignored.
#[derive(Debug, Deserialize)]
struct Coordinates {
    x: Option<f32>,
    y: Option<f32>,
    #[serde(default)]
    radius: f32,
    confidence: Option<f32>,
    frame: Option<u64>,
    rtp: Option<u32>,
    pts: Option<u64>,
    #[serde(default)]
    took_us: u32,
}

/// A frame that was sent to the peer.
#[derive(Debug)]
struct SentFrame {
    id: FrameId,
    rtp_time: u64,
    /// How many pixels of the source one of the picture that was sent stands for, across.
    scale: u8,
    published: Time,
    sent: Time,
    answered: bool,
}

/// What one peer tells.
#[derive(Debug)]
pub(crate) struct Tracker {
    screen: u64,
    /// The peer has the channel.
    is_open: bool,
    sent: VecDeque<SentFrame>,
    /// RTP times of the frames sent first, one of which is 0 in the peer's `pts`: the one at `origin`, as far as is known.
    origins: Vec<u64>,
    origin: usize,
    messages: TokenBucket,
    waiting: Vec<Detection>,
    frames: u64,
    told: u64,
    answered: u64,
    last_answer: Option<Time>,
    last_report: Option<Time>,
}

impl Tracker {
    /// `screen` is random.
    pub(crate) fn new(screen: u64) -> Self {
        Self {
            screen: screen.max(1),
            is_open: false,
            sent: VecDeque::new(),
            origins: Vec::new(),
            origin: 0,
            messages: TokenBucket::new(MESSAGES_PER_SECOND, MESSAGES_PER_SECOND),
            waiting: Vec::new(),
            frames: 0,
            told: 0,
            answered: 0,
            last_answer: None,
            last_report: None,
        }
    }

    /// The peer has the channel.
    pub(crate) const fn open(&mut self) {
        self.is_open = true;
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// A frame was sent to the peer, at this RTP time.
    pub(crate) fn on_sent(&mut self, now: Time, rtp_time: u64, frame: &EncodedFrame) {
        self.frames += 1;
        // aiortc counts from a card too.
        if self.origins.len() < MAX_ORIGINS {
            self.origins.push(rtp_time);
        }
        let Some((id, published)) = frame.origin else {
            return;
        };

        if self.sent.len() == MAX_SENT {
            self.sent.pop_front();
        }
        self.sent.push_back(SentFrame {
            id,
            rtp_time,
            scale: frame.scale,
            published,
            sent: now,
            answered: false,
        });
    }

    /// Takes a message. One that is none of ours, or names no frame, or one that was answered, counts as sent and is dropped.
    pub(crate) fn on_message(&mut self, now: Time, message: &[u8]) {
        if message.len() > MAX_MESSAGE_BYTES || !self.messages.try_take(now, 1) {
            return;
        }
        let Ok(said) = serde_json::from_slice::<Coordinates>(message) else {
            return;
        };

        self.told += 1;
        let Some(at) = self.find(&said) else {
            tracing::debug!(?said, "coordinates of no frame that was sent");
            return;
        };
        // A peer that goes to another encoding may get the same frame once more.
        let id = self.sent[at].id;
        if self.sent.iter().any(|sent| sent.id == id && sent.answered) {
            return;
        }

        self.sent[at].answered = true;
        let detection = detection(now, &self.sent[at], &said);
        if self.waiting.len() < MAX_DETECTIONS && detections::check(&detection).is_ok() {
            self.waiting.push(detection);
            self.answered += 1;
            self.last_answer = Some(now);
        }
    }

    /// When there will be something to report.
    pub(crate) fn due(&self) -> Option<Time> {
        let interval = if self.waiting.is_empty() {
            KEEP_ALIVE
        } else {
            INTERVAL
        };
        let last = self.last_report.unwrap_or_default();
        self.is_open.then_some(last + interval)
    }

    /// What there is to report, when that is due.
    pub(crate) fn take_report(&mut self, now: Time) -> Option<(Report, Detections)> {
        self.due().filter(|due| *due <= now)?;
        self.last_report = Some(now);
        Some((self.report(now), self.detections()))
    }

    /// What the peer was sent, and showed: what it has answered for.
    pub(crate) fn report(&self, now: Time) -> Report {
        let silent = self.last_answer.map(|last| now.saturating_since(last));
        let silent = silent.unwrap_or_default().as_millis();
        Report {
            frames_whole: self.frames,
            frames_shown: self.answered,
            last_shown_ms: u32::try_from(silent).unwrap_or(u32::MAX),
            ..Report::default()
        }
    }

    fn detections(&mut self) -> Detections {
        Detections {
            screen: self.screen,
            detections: self
                .waiting
                .drain(..)
                .map(|found| detections::encode(&found))
                .collect(),
            sent: self.told,
            ..Detections::default()
        }
    }

    /// The place of the frame that a message is about: the one that it names, or else the newest.
    fn find(&mut self, said: &Coordinates) -> Option<usize> {
        let position = |wanted: &dyn Fn(&SentFrame) -> bool| self.sent.iter().rposition(wanted);
        if let Some(number) = said.frame {
            return position(&|frame| frame.id.number == number);
        }
        if let Some(rtp) = said.rtp {
            // The header carries the low half.
            return position(&|frame| frame.rtp_time as u32 == rtp);
        }
        let Some(pts) = said.pts else {
            return self.sent.len().checked_sub(1);
        };

        // Who missed the first frames counts from a later one, and no frame fits until that is found.
        let mut origins = self.origins.iter().enumerate().skip(self.origin);
        let (origin, at) = origins.find_map(|(number, origin)| {
            let at = position(&|frame| Some(frame.rtp_time) == origin.checked_add(pts));
            Some((number, at?))
        })?;
        self.origin = origin;
        Some(at)
    }
}

/// Where the time went between sending and answer is not known here, but for what the tracker says that it took: all else
/// counts as the time until the frame was shown.
fn detection(now: Time, frame: &SentFrame, said: &Coordinates) -> Detection {
    let micros = |length: Duration| u32::try_from(length.as_micros()).unwrap_or(u32::MAX);
    let until_answer = micros(now.saturating_since(frame.sent));
    let track_us = said.took_us.min(until_answer);
    let scale = f32::from(frame.scale);
    let ball = said.x.zip(said.y).map(|(x, y)| Ball {
        x: x * scale,
        y: y * scale,
        radius: said.radius * scale,
    });

    Detection {
        epoch: frame.id.epoch,
        number: frame.id.number,
        confidence: said
            .confidence
            .unwrap_or(f32::from(u8::from(ball.is_some()))),
        ball,
        transit_us: micros(frame.sent.saturating_since(frame.published)),
        present_us: until_answer - track_us,
        track_us,
        looked_us: track_us,
        ..Detection::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rung::Rung;

    const START: Time = Time::from_nanos(1 << 40);
    const FRAME: Duration = Duration::from_millis(33);

    fn at(number: u64) -> Time {
        START + FRAME * u32::try_from(number).unwrap()
    }

    /// RTP times as cameras make them: not quite even.
    fn rtp_time(number: u64) -> u64 {
        (1 << 32) - 6_000 + number * 3_000 + number * number % 7
    }

    fn frame(number: u64) -> EncodedFrame {
        EncodedFrame {
            stream: "cam".parse().unwrap(),
            rung: Rung::Full,
            scale: 1,
            data: Arc::new([]),
            is_key: false,
            rtp_time: rtp_time(number),
            origin: Some((FrameId { epoch: 7, number }, at(number))),
            age_us: None,
            captured_utc: None,
        }
    }

    fn send(tracker: &mut Tracker, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let frame = frame(number);
            let sent = at(number) + Duration::from_millis(5);
            tracker.on_sent(sent, frame.rtp_time, &frame);
        }
    }

    fn watching(frames: u64) -> Tracker {
        let mut tracker = Tracker::new(3);
        tracker.open();
        send(&mut tracker, 0..frames);
        tracker
    }

    fn found(said: &Detections) -> Vec<Detection> {
        let found = said.detections.iter();
        found
            .map(|bytes| detections::decode(bytes).unwrap())
            .collect()
    }

    fn told(tracker: &mut Tracker, now: Time) -> Vec<u64> {
        let report = tracker.take_report(now);
        let (_, said) = report.unwrap_or_default();
        found(&said).iter().map(|found| found.number).collect()
    }

    #[test]
    fn a_frame_is_known_by_its_number_its_rtp_time_or_else_the_newest_is_meant() {
        let mut tracker = watching(6);
        let rtp = rtp_time(4) as u32;
        assert!(rtp < 1 << 20, "it has wrapped");
        for message in [
            r#"{"x":1,"y":2,"frame":3}"#.to_owned(),
            format!(r#"{{"x":1,"y":2,"rtp":{rtp}}}"#),
            r#"{"x":1,"y":2}"#.to_owned(),
        ] {
            tracker.on_message(at(6), message.as_bytes());
        }
        assert_eq!(told(&mut tracker, at(6)), [3, 4, 5]);
    }

    #[test]
    fn a_time_since_the_first_frame_counts_from_the_first_that_fits_all_answers() {
        // The peer got frame 2 first.
        let mut tracker = watching(9);
        for number in 2..9 {
            let pts = rtp_time(number) - rtp_time(2);
            tracker.on_message(at(9), format!(r#"{{"x":1,"y":2,"pts":{pts}}}"#).as_bytes());
        }
        // With 0 the first frame fits too.
        assert_eq!(told(&mut tracker, at(9)), [0, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn the_time_of_an_answer_is_shared_out() {
        let mut tracker = watching(1);
        let now = at(0) + Duration::from_millis(45);
        tracker.on_message(now, br#"{"x":1.5,"y":2,"frame":0,"took_us":10000}"#);
        let (report, said) = tracker.take_report(now).unwrap();
        let found = found(&said)[0];
        assert_eq!(
            (found.transit_us, found.present_us, found.track_us),
            (5_000, 30_000, 10_000)
        );
        assert_eq!(found.ball.map(|ball| (ball.x, ball.y)), Some((1.5, 2.0)));
        assert_eq!((said.screen, said.sent), (3, 1));
        assert_eq!((report.frames_whole, report.frames_shown), (1, 1));
    }

    #[test]
    fn a_frame_that_comes_in_two_encodings_is_answered_once() {
        let mut tracker = watching(2);
        let again = EncodedFrame {
            rtp_time: rtp_time(1) + 1,
            ..frame(1)
        };
        tracker.on_sent(at(2), again.rtp_time, &again);
        for rtp in [rtp_time(1), rtp_time(1) + 1] {
            let said = format!(r#"{{"x":10,"y":20,"rtp":{}}}"#, rtp as u32);
            tracker.on_message(at(3), said.as_bytes());
        }
        let (_, said) = tracker.take_report(at(3)).unwrap();
        assert_eq!((said.detections.len(), said.sent), (1, 2));
    }

    #[test]
    fn where_the_ball_is_counts_in_pixels_of_the_source() {
        let mut tracker = watching(1);
        let half = EncodedFrame {
            rung: Rung::Half,
            scale: 2,
            is_key: true,
            ..frame(1)
        };
        tracker.on_sent(at(1), half.rtp_time, &half);
        tracker.on_message(at(2), br#"{"x":10,"y":20,"radius":3,"frame":1}"#);
        let (_, said) = tracker.take_report(at(2)).unwrap();
        let ball = found(&said)[0].ball.unwrap();
        assert_eq!((ball.x, ball.y, ball.radius), (20.0, 40.0, 6.0));
    }

    #[test]
    fn what_fits_no_frame_or_comes_twice_or_too_often_is_dropped() {
        let mut tracker = watching(2);
        for message in [
            r#"{"x":1,"y":2,"frame":9}"#,
            r#"{"x":1,"y":2,"pts":5}"#,
            r#"{"x":1e30,"y":2,"frame":0}"#,
            r#"{"x":1,"y":2,"frame":1}"#,
            r#"{"x":1,"y":2,"frame":1}"#,
            "rubbish",
            "",
        ] {
            tracker.on_message(at(2), message.as_bytes());
        }
        tracker.on_message(at(2), &[b' '; MAX_MESSAGE_BYTES + 1]);
        let (_, said) = tracker.take_report(at(2)).unwrap();
        assert_eq!((said.detections.len(), said.sent), (1, 5));

        for _ in 0..1_000 {
            tracker.on_message(at(2), br#"{"x":1,"y":2}"#);
        }
        let (_, said) = tracker.take_report(at(40)).unwrap();
        assert!(said.sent <= u64::from(MESSAGES_PER_SECOND), "{}", said.sent);
    }

    #[test]
    fn nothing_is_told_of_a_peer_without_the_channel_and_each_second_of_one_with_it() {
        let mut tracker = Tracker::new(3);
        assert!(tracker.take_report(START).is_none());
        tracker.open();
        assert!(tracker.take_report(START).is_some());
        assert!(tracker.take_report(START + KEEP_ALIVE / 2).is_none());
        assert!(tracker.take_report(START + KEEP_ALIVE).is_some());
    }
}
