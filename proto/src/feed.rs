//! What a relay and a source tell each other beside the frames, and how anyone asks a source for its status.
//!
//! A relay sends [`ToSource`] messages upstream: feedback, and probes of the source's clock. The source answers a probe
//! with an [`Answer`] under [`ANSWER_TOPIC`]. Any ZeroMQ subscriber gets an `Answer` with the source's status by a
//! subscription to a [`status_topic`], under that topic.

use bytes::Bytes;
use prost::Message as _;

use crate::detections::{check_canary_status, check_list};
use crate::limits::{MAX_REASON, MAX_STREAMS, MAX_VIEWER_NAME};
use crate::message::{
    Answer, ClockProbe, ControlAnswer, ControlRequest, Demand, FeedbackReport, RefusedStreams,
    StreamName, ToSource, ViewerReport, to_source, truncate_reason,
};

/// Longest encoded feedback, unless who watches how many streams takes most of it: upstream it is a message of at most
/// [`MAX_UPSTREAM`](crate::zmtp::MAX_UPSTREAM).
pub const MAX_FEEDBACK_BYTES: usize = 9 << 10;

/// Viewers in one feedback: a viewer without detections takes about seventy bytes at least.
pub const MAX_VIEWER_REPORTS: usize = 128;

/// Detections in one feedback: that many of the usual length fit.
pub const MAX_FEEDBACK_DETECTIONS: usize = 128;

/// Streams in one message that says which are not taken: a source has two.
pub const MAX_REFUSED_STREAMS: usize = 8;

/// Longest name of a relay, in bytes: a host's name has 64, an address at most 30 more.
pub const MAX_RELAY_NAME: usize = 96;

/// Controls that one request sets: a camera's exposure, white balance, focus and position together.
pub const MAX_CONTROLS_SET: usize = 16;

/// Longest name of a control, in bytes: V4L2 has 31.
pub const MAX_CONTROL_NAME: usize = 64;

/// Longest address of a viewer, as text: one of IPv6 with its scope and port has 60 bytes.
pub const MAX_ADDRESS: usize = 64;

/// Verdicts in one answer: what a wall of screens and its canaries need.
pub const MAX_VERDICTS: usize = 500;

/// Largest encoded answer without a status: [`MAX_VERDICTS`] of at most 48 bytes, the clock, and what later versions may
/// add.
pub const MAX_ANSWER_BYTES: usize = 24 << 10;

/// Longest status of a source, in bytes: a thousand rows at 2.5 kB, and room.
pub const MAX_STATUS_BYTES: usize = 3 << 20;

/// The topic of answers to clock probes. No stream name can equal it.
pub const ANSWER_TOPIC: &[u8] = b"?";

/// Bytes of the nonce in a status topic.
pub const NONCE_BYTES: usize = 16;

/// Ends a status topic.
const STATUS: &[u8] = b"/status";

/// Why feedback is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// Longer than [`MAX_FEEDBACK_BYTES`].
    #[error("it is longer than a feedback may be")]
    TooLong,
    /// No `ToSource` in protobuf.
    #[error("it is malformed")]
    Malformed,
    /// A field is out of its bounds.
    #[error("its field {0} is out of bounds")]
    Field(&'static str),
}

/// What a relay asks of a source.
#[derive(Clone, Debug, PartialEq)]
pub enum FromRelay {
    /// Take note of who watches, and what they saw.
    Feedback(FeedbackReport),
    /// Answer, with this nonce.
    ClockProbe(u64),
    /// Some streams are not taken.
    Refused(RefusedStreams),
    /// Set the camera's controls, and tell them.
    Controls(ControlRequest),
}

/// An upstream message that says `report`.
#[must_use]
pub fn encode_feedback(report: FeedbackReport) -> Vec<u8> {
    to_source(to_source::Message::Feedback(report))
}

/// An upstream message that asks for an answer with this random `nonce`.
#[must_use]
pub fn encode_clock_probe(nonce: u64) -> Vec<u8> {
    to_source(to_source::Message::ClockProbe(ClockProbe { nonce }))
}

/// An upstream message that says which streams are not taken, cut to its bounds.
#[must_use]
pub fn encode_refused(mut refused: RefusedStreams) -> Vec<u8> {
    let length = refused.relay.floor_char_boundary(MAX_RELAY_NAME);
    refused.relay.truncate(length);
    refused.streams.truncate(MAX_REFUSED_STREAMS);
    refused
        .streams
        .iter_mut()
        .for_each(|stream| truncate_reason(&mut stream.reason));
    to_source(to_source::Message::Refused(refused))
}

/// An upstream message that asks for the camera's controls. What is out of bounds is for the source to refuse.
#[must_use]
pub fn encode_controls(mut request: ControlRequest) -> Vec<u8> {
    let length = request.by.floor_char_boundary(MAX_RELAY_NAME);
    request.by.truncate(length);
    to_source(to_source::Message::Controls(request))
}

fn to_source(message: to_source::Message) -> Vec<u8> {
    ToSource {
        message: Some(message),
    }
    .encode_to_vec()
}

/// Reads an upstream message and checks every bound.
///
/// # Errors
/// Which bound it breaks.
pub fn parse_to_source(bytes: &[u8]) -> Result<FromRelay, FeedbackError> {
    // A tag and a length stand before the report.
    if bytes.len() > MAX_FEEDBACK_BYTES + 4 {
        return Err(FeedbackError::TooLong);
    }

    let message = ToSource::decode(bytes).map_err(|_| FeedbackError::Malformed)?;
    match message.message {
        Some(to_source::Message::Feedback(report)) => {
            check(&report).map_err(FeedbackError::Field)?;
            Ok(FromRelay::Feedback(report))
        }
        Some(to_source::Message::ClockProbe(probe)) => Ok(FromRelay::ClockProbe(probe.nonce)),
        Some(to_source::Message::Refused(refused)) => {
            check_refused(&refused).map_err(FeedbackError::Field)?;
            Ok(FromRelay::Refused(refused))
        }
        Some(to_source::Message::Controls(request)) => {
            check_controls(&request).map_err(FeedbackError::Field)?;
            Ok(FromRelay::Controls(request))
        }
        None => Err(FeedbackError::Malformed),
    }
}

/// The body of a message that says `answer`.
#[must_use]
pub fn encode_answer(answer: &Answer) -> Bytes {
    answer.encode_to_vec().into()
}

/// The body of a message under [`ANSWER_TOPIC`] that says `answer`, without the controls for which there is no room.
#[must_use]
pub fn encode_control_answer(mut controls: ControlAnswer) -> Bytes {
    truncate_reason(&mut controls.refusal);
    // A tag and a length stand before it.
    while controls.encoded_len() > MAX_ANSWER_BYTES - 8 {
        controls.controls.pop();
    }

    encode_answer(&Answer {
        controls: Some(controls),
        ..Answer::default()
    })
}

/// The answer in the body of a message under [`ANSWER_TOPIC`] or a status topic; `None` when it is malformed, or says
/// more than it may.
#[must_use]
pub fn parse_answer(topic: &[u8], body: &[u8]) -> Option<Answer> {
    let status = is_status_topic(topic);
    let longest = MAX_ANSWER_BYTES + if status { MAX_STATUS_BYTES } else { 0 };
    if body.len() > longest {
        return None;
    }

    let answer = Answer::decode(body).ok()?;
    let fits = answer.verdicts.len() <= MAX_VERDICTS
        && answer.source_clocks.len() <= MAX_STREAMS
        && (status || answer.status.is_empty());
    fits.then_some(answer)
}

/// The topic of the status question that the random `nonce` names: `?`, 32 hexadecimal digits, and `/status`.
#[must_use]
pub fn status_topic(nonce: [u8; NONCE_BYTES]) -> String {
    format!("?{:032x}/status", u128::from_be_bytes(nonce))
}

/// Whether a subscription to `topic` asks for the status: to be answered once under that topic, and not to be kept.
#[must_use]
pub fn is_status_topic(topic: &[u8]) -> bool {
    let digits = topic
        .strip_suffix(STATUS)
        .and_then(|rest| rest.strip_prefix(b"?"));
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    digits.is_some_and(|digits| digits.len() == 2 * NONCE_BYTES && digits.iter().all(is_digit))
}

fn bound(holds: bool, field: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(field) }
}

fn check_refused(refused: &RefusedStreams) -> Result<(), &'static str> {
    bound(refused.relay.len() <= MAX_RELAY_NAME, "relay")?;
    bound(refused.streams.len() <= MAX_REFUSED_STREAMS, "streams")?;
    refused.streams.iter().try_for_each(|refused| {
        bound(refused.stream.parse::<StreamName>().is_ok(), "stream")?;
        bound(refused.reason.len() <= MAX_REASON, "reason")
    })
}

fn check_controls(request: &ControlRequest) -> Result<(), &'static str> {
    bound(request.by.len() <= MAX_RELAY_NAME, "by")?;
    bound(request.set.len() <= MAX_CONTROLS_SET, "set")?;
    let mut names = request.set.iter().map(|set| set.name.len());
    bound(names.all(|length| length <= MAX_CONTROL_NAME), "name")
}

fn check(feedback: &FeedbackReport) -> Result<(), &'static str> {
    bound(feedback.demand.len() <= MAX_STREAMS, "demand")?;
    let names = feedback.demand.iter().map(|Demand { stream, .. }| stream);
    let mut names = names.chain(
        feedback
            .viewers
            .iter()
            .map(|ViewerReport { stream, .. }| stream),
    );

    names.try_for_each(|name| bound(name.parse::<StreamName>().is_ok(), "stream"))?;
    bound(feedback.viewers.len() <= MAX_VIEWER_REPORTS, "seen")?;
    bound(
        feedback
            .viewers
            .iter()
            .map(|seen| seen.detections.len())
            .sum::<usize>()
            <= MAX_FEEDBACK_DETECTIONS,
        "detections",
    )?;

    for seen in &feedback.viewers {
        bound(seen.viewer != 0, "viewer")?;
        bound(seen.name.len() <= MAX_VIEWER_NAME, "name")?;
        bound(seen.address.len() <= MAX_ADDRESS, "address")?;
        bound(seen.detections.is_empty() || seen.screen != 0, "screen")?;
        check_list(&seen.detections)?;
        seen.canary_status
            .as_ref()
            .map_or(Ok(()), check_canary_status)?;
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Control, ControlValue, RefusedStream, ViewerReport};

    #[test]
    fn what_a_relay_says_is_read_as_it_was_said() {
        let report = FeedbackReport {
            relay: 7,
            ..FeedbackReport::default()
        };

        let said = encode_feedback(report.clone());
        assert_eq!(parse_to_source(&said), Ok(FromRelay::Feedback(report)));
        assert_eq!(
            parse_to_source(&encode_clock_probe(9)),
            Ok(FromRelay::ClockProbe(9))
        );

        assert_eq!(parse_to_source(b""), Err(FeedbackError::Malformed));
        assert_eq!(parse_to_source(b"\xff"), Err(FeedbackError::Malformed));
    }

    #[test]
    fn what_a_relay_says_of_streams_that_it_does_not_take_is_cut_to_its_bounds() {
        let stream = |name: &str| RefusedStream {
            stream: name.into(),
            reason: "é".repeat(4096),
        };

        let refused = RefusedStreams {
            relay: "r".repeat(4096),
            streams: vec![stream("cam"); 4096],
        };
        let said = encode_refused(refused);
        let Ok(FromRelay::Refused(read)) = parse_to_source(&said) else {
            panic!("{:?}", parse_to_source(&said))
        };
        assert_eq!(read.streams.len(), MAX_REFUSED_STREAMS);

        let bad = RefusedStreams {
            streams: vec![stream("a/b")],
            ..RefusedStreams::default()
        };
        let refused = parse_to_source(&encode_refused(bad));
        assert_eq!(refused, Err(FeedbackError::Field("stream")));
    }

    #[test]
    fn a_request_for_too_many_controls_or_a_longer_name_than_there_can_be_is_refused() {
        let request = |count, length| ControlRequest {
            by: "é".repeat(4096),
            set: vec![
                ControlValue {
                    name: "n".repeat(length),
                    value: -1,
                };
                count
            ],
            ..ControlRequest::default()
        };
        let parsed = |request| parse_to_source(&encode_controls(request));

        let Ok(FromRelay::Controls(read)) = parsed(request(MAX_CONTROLS_SET, MAX_CONTROL_NAME))
        else {
            panic!("it is within all bounds")
        };
        assert_eq!(read.set[0].value, -1);
        let refused = parsed(request(MAX_CONTROLS_SET + 1, 1));
        assert_eq!(refused, Err(FeedbackError::Field("set")));
        let refused = parsed(request(1, MAX_CONTROL_NAME + 1));
        assert_eq!(refused, Err(FeedbackError::Field("name")));
    }

    #[test]
    fn an_answer_about_controls_fits_however_many_there_are() {
        let control = Control {
            name: "n".repeat(100),
            ..Control::default()
        };
        let answer = ControlAnswer {
            request: 7,
            refusal: "é".repeat(4096),
            controls: vec![control; 4096],
        };
        let body = encode_control_answer(answer);
        let told = parse_answer(ANSWER_TOPIC, &body).unwrap().controls.unwrap();
        assert!(told.request == 7 && told.controls.len() > 100);
    }

    #[test]
    fn feedback_out_of_bounds_is_refused() {
        let report = FeedbackReport {
            viewers: vec![ViewerReport {
                stream: "a/b".into(),
                ..ViewerReport::default()
            }],
            ..FeedbackReport::default()
        };

        let refused = parse_to_source(&encode_feedback(report));
        assert_eq!(refused, Err(FeedbackError::Field("stream")));
    }

    #[test]
    fn only_a_status_topic_asks_for_the_status_and_only_its_answer_has_one() {
        let topic = status_topic([0xab; NONCE_BYTES]);
        assert!(is_status_topic(topic.as_bytes()));

        for other in [
            "",
            "?",
            "?/status",
            "cam/status",
            &topic[1..],
            &topic.to_uppercase(),
        ] {
            assert!(!is_status_topic(other.as_bytes()), "{other}");
        }

        let answer = Answer {
            status: b"{}".to_vec(),
            ..Answer::default()
        };

        let body = answer.encode_to_vec();
        assert_eq!(parse_answer(topic.as_bytes(), &body), Some(answer));
        assert_eq!(parse_answer(ANSWER_TOPIC, &body), None);
    }
}
