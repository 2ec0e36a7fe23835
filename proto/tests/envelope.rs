//! The seal of the ZeroMQ leg against vectors that another implementation made.

#![expect(clippy::unwrap_used, reason = "what fails in a test fails the test")]

use std::collections::BTreeMap;

use bytes::Bytes;
use fanlight_proto::envelope::{
    FeedKey, FeedbackOpener, FeedbackSealer, HEADER_BYTES, Opener, Sealer, question,
};
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{Answer, Demand, FeedbackReport, parse_frame};

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = include_str!("vectors/envelope.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| (name, bytes(hex)))
        .collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

const ANSWER: Answer = Answer {
    nonce: 0,
    clock_ns: 0x0102_0304_0506_0708,
    clock_id: 0x1112_1314_1516_1718,
    newest_sealed: 6,
    verdicts: Vec::new(),
    status: Vec::new(),
    challenge: Vec::new(),
};

#[test]
fn what_is_sealed_here_is_what_the_vectors_say() {
    let vectors = vectors();
    let key = FeedKey::new(<[u8; 32]>::try_from(&vectors["feed_key"][..]).unwrap());
    let sealer = Sealer::new(&key, vectors["salt"][..].try_into().unwrap());
    let mut room = vec![0; HEADER_BYTES];
    room.extend_from_slice(&vectors["frame_plain"]);
    let frames: Vec<Bytes> = (0..6)
        .map(|_| sealer.frame(b"cam/", room.clone(), HEADER_BYTES))
        .collect();
    assert_eq!(
        sealer.answer(&vectors["question"], ANSWER),
        vectors["answer_sealed"]
    );
    let seventh = sealer.frame(b"cam/", room, HEADER_BYTES);
    assert_eq!(seventh, vectors["frame_sealed"]);
    assert!(
        frames.iter().all(|frame| *frame != seventh),
        "no two frames are sealed alike"
    );
}

#[test]
fn what_the_vectors_say_is_opened_here() {
    let vectors = vectors();
    let nonce: [u8; 16] = std::array::from_fn(|index| index as u8);
    assert_eq!(question(nonce).as_bytes(), vectors["question"]);
    let mut opener = Opener::new(FeedKey::new(
        <[u8; 32]>::try_from(&vectors["feed_key"][..]).unwrap(),
    ));
    assert_eq!(
        opener.answer(&vectors["question"], &vectors["answer_sealed"]),
        Ok(ANSWER)
    );
    let opened = opener
        .frame(
            &vectors["frame_topic"],
            vectors["frame_sealed"].clone().into(),
        )
        .unwrap();
    assert_eq!(opened, vectors["frame_plain"]);
    let frame = parse_frame(&vectors["frame_topic"], opened, MAX_FRAME_BYTES).unwrap();
    assert_eq!(
        (frame.id.epoch, frame.id.number, frame.header.state),
        (7, 5, 2)
    );
}

#[test]
fn words_are_those_of_the_vectors() {
    let vectors = vectors();
    let key = FeedKey::new(<[u8; 32]>::try_from(&vectors["feed_key"][..]).unwrap());
    let demand = Demand {
        stream: "cam".into(),
        viewers: 2,
        clients: 1,
    };
    let feedback = FeedbackReport {
        relay: 0x0102_0304_0506_0708,
        sequence: 1,
        demand: vec![demand],
        viewers: Vec::new(),
    };
    assert_eq!(
        prost::Message::encode_to_vec(&feedback),
        vectors["word_plain"]
    );
    for (key, name) in [(Some(key), "word_topic_sealed"), (None, "word_topic_plain")] {
        let mut feedback_sealer =
            FeedbackSealer::new(key.clone(), vectors["word_salt"][..].try_into().unwrap());
        feedback_sealer.on_answer(&Answer {
            challenge: vectors["challenge"].clone(),
            ..ANSWER
        });
        assert_eq!(
            feedback_sealer.topic(feedback.clone()).unwrap().as_bytes(),
            vectors[name]
        );
        let sealer = key.map(|key| Sealer::new(&key, [1; 16]));
        let mut listener = FeedbackOpener::new(
            sealer.as_ref(),
            vectors["challenge"][..].try_into().unwrap(),
        );
        assert_eq!(listener.hear(&vectors[name]), Ok(feedback.clone()));
    }
}
