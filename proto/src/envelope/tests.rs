use super::*;
use crate::limits::MAX_FRAME_BYTES;
use crate::message::{
    Format, FrameBuffer, FrameHeader, Health, State, Verdict, ViewerVerdict, parse_frame,
};

const TOPIC: &[u8] = b"cam/";
const JPEG: &[u8] = &[0xff, 0xd8, 1, 2, 3, 0xff, 0xd9];

fn key(byte: u8) -> FeedKey {
    FeedKey::new([byte; 32])
}

fn sealer(salt: u8) -> Sealer {
    Sealer::new(&key(1), [salt; SALT_BYTES])
}

fn header(number: u64) -> FrameHeader {
    FrameHeader {
        stream: "cam".into(),
        epoch: 7,
        number,
        width: 640,
        height: 480,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        ..FrameHeader::default()
    }
}

fn sealed(sealer: &Sealer, number: u64) -> Bytes {
    FrameBuffer::copy_of(JPEG).seal(header(number), TOPIC, sealer)
}

/// An opener that `sealer` has answered.
fn opener(sealer: &Sealer) -> Opener {
    let mut opener = Opener::new(key(1));
    let topic = question([9; NONCE_BYTES]);
    opener
        .answer(
            topic.as_bytes(),
            &sealer.answer(topic.as_bytes(), Answer::default()),
        )
        .unwrap();
    opener
}

#[test]
fn a_sealed_frame_comes_back_as_it_was_and_shows_nothing_on_its_way() {
    let sealer = sealer(1);
    let mut opener = opener(&sealer);
    let plain = FrameBuffer::copy_of(JPEG).finish(header(5));
    let body = sealed(&sealer, 5);
    assert_eq!(body.len(), plain.len() + SEAL_BYTES);
    for secret in [JPEG, b"cam"] {
        assert!(!body.windows(secret.len()).any(|bytes| bytes == secret));
    }
    let opened = opener.frame(TOPIC, body).unwrap();
    assert_eq!(opened, plain);
    assert_eq!(
        parse_frame(TOPIC, opened, MAX_FRAME_BYTES).unwrap().jpeg,
        JPEG
    );
}

#[test]
fn sealing_moves_no_picture() {
    let mut buffer = FrameBuffer::with_capacity(200_000);
    buffer.resize(200_000);
    let place = buffer.jpeg().as_ptr();
    let body = buffer.seal(header(1), TOPIC, &sealer(1));
    assert_eq!(body[body.len() - TAG_BYTES - 200_000..].as_ptr(), place);
}

#[test]
fn opening_copies_only_what_others_hold_too() {
    let sealer = sealer(1);
    let mut opener = opener(&sealer);
    let alone = sealed(&sealer, 1);
    let place = alone.as_ptr_range();
    assert!(place.contains(&opener.frame(TOPIC, alone).unwrap().as_ptr()));
    let shared = sealed(&sealer, 2);
    let kept = shared.clone();
    assert!(
        !kept
            .as_ptr_range()
            .contains(&opener.frame(TOPIC, shared).unwrap().as_ptr())
    );
    assert!(is_sealed(&kept), "what others hold stays as it was");
}

#[test]
fn a_change_of_any_byte_or_of_the_topic_is_noticed() {
    let sealer = sealer(1);
    let body = sealed(&sealer, 1);
    for position in 0..body.len() {
        let mut bytes = body.to_vec();
        bytes[position] ^= 0x40;
        // An answer from before, so that a greater sequence would do.
        let mut opener = Opener::new(key(1));
        let topic = question([9; NONCE_BYTES]);
        let proof =
            Sealer::new(&key(1), [1; SALT_BYTES]).answer(topic.as_bytes(), Answer::default());
        opener.answer(topic.as_bytes(), &proof).unwrap();
        opener.frame(TOPIC, bytes.into()).unwrap_err();
    }
    let mut opener = Opener::new(key(1));
    let topic = question([9; NONCE_BYTES]);
    let proof = Sealer::new(&key(1), [1; SALT_BYTES]).answer(topic.as_bytes(), Answer::default());
    opener.answer(topic.as_bytes(), &proof).unwrap();
    assert_eq!(
        opener.frame(b"other/", body.clone()),
        Err(OpenError::Forged)
    );
    assert_eq!(
        opener.frame(&[b'x'; 500], body.clone()),
        Err(OpenError::Forged)
    );
    opener.frame(TOPIC, body).unwrap();
}

#[test]
fn a_recording_is_refused_whole_or_in_part() {
    let old = sealer(1);
    let recording: Vec<Bytes> = (0..5).map(|number| sealed(&old, number)).collect();
    let mut before_any_answer = Opener::new(key(1));
    assert_eq!(
        before_any_answer.frame(TOPIC, recording[0].clone()),
        Err(OpenError::Unproven)
    );
    let live = sealer(2);
    let mut opener = opener(&live);
    assert_eq!(
        opener.frame(TOPIC, recording[0].clone()),
        Err(OpenError::Unproven)
    );
    // The forger has the source itself answer for the recording, and still it is older than the answer.
    let mut fooled = self::opener(&old);
    for body in &recording {
        assert_eq!(fooled.frame(TOPIC, body.clone()), Err(OpenError::Replayed));
    }
    fooled.frame(TOPIC, sealed(&old, 5)).unwrap();
    let body = sealed(&live, 6);
    opener.frame(TOPIC, body.clone()).unwrap();
    assert_eq!(opener.frame(TOPIC, body), Err(OpenError::Replayed));
}

#[test]
fn an_answer_proves_only_the_question_it_was_given_to() {
    let sealer = sealer(1);
    let (asked, other) = (question([1; NONCE_BYTES]), question([2; NONCE_BYTES]));
    let answer = sealer.answer(
        asked.as_bytes(),
        Answer {
            clock_ns: 5,
            clock_id: 6,
            ..Answer::default()
        },
    );
    let mut opener = Opener::new(key(1));
    assert_eq!(
        opener.answer(other.as_bytes(), &answer),
        Err(OpenError::Forged)
    );
    assert_eq!(
        Opener::new(key(2)).answer(asked.as_bytes(), &answer),
        Err(OpenError::Forged)
    );
    assert_eq!(
        opener.answer(asked.as_bytes(), b"\x09plain"),
        Err(OpenError::Plain)
    );
    assert_eq!(
        opener.answer(asked.as_bytes(), &sealed(&sealer, 1)),
        Err(OpenError::Unknown)
    );
    assert_eq!(
        opener.answer(asked.as_bytes(), &answer[..answer.len() - 1]),
        Err(OpenError::Forged)
    );
    assert!(!opener.is_proven());
    assert_eq!(
        opener.answer(asked.as_bytes(), &answer).unwrap().clock_ns,
        5
    );
    assert!(opener.is_proven());
}

#[test]
fn frames_go_on_through_later_answers() {
    let sealer = sealer(1);
    let mut opener = opener(&sealer);
    for number in 0..4 {
        let waiting = sealed(&sealer, number);
        let topic = question([number as u8; NONCE_BYTES]);
        let answer = opener
            .answer(
                topic.as_bytes(),
                &sealer.answer(topic.as_bytes(), Answer::default()),
            )
            .unwrap();
        assert_eq!(answer.newest_sealed, number + 1);
        opener.frame(TOPIC, waiting).unwrap();
    }
}

#[test]
fn questions_are_told_from_streams() {
    let topic = question([0xab; NONCE_BYTES]);
    assert!(topic.len() == 33 && is_question(topic.as_bytes()));
    for other in [
        "",
        "?",
        "cam/",
        &topic[..32],
        &topic.to_uppercase(),
        &format!("{topic}0"),
        &topic.replace('?', "!"),
    ] {
        assert!(!is_question(other.as_bytes()), "{other}");
    }
}

#[test]
fn a_question_how_things_stand_is_told_from_the_other() {
    let (plain, status) = (
        question([0xab; NONCE_BYTES]),
        status_question([0xab; NONCE_BYTES]),
    );
    assert_eq!(status, format!("{plain}/status"));
    assert!(is_question(status.as_bytes()) && is_status_question(status.as_bytes()));
    assert!(!is_status_question(plain.as_bytes()));
    for other in [
        "/status",
        "?/status",
        "cam/status",
        &format!("{status}/status"),
        &status[1..],
    ] {
        assert!(
            !is_question(other.as_bytes()) && !is_status_question(other.as_bytes()),
            "{other}"
        );
    }
}

#[test]
fn an_answer_says_no_more_than_was_asked() {
    let (plain, status) = (
        question([1; NONCE_BYTES]),
        status_question([1; NONCE_BYTES]),
    );
    let longest = Answer {
        status: vec![b' '; MAX_STATUS_BYTES],
        ..Answer::default()
    };
    let verdicts = |count| Answer {
        verdicts: vec![wordiest(); count],
        challenge: vec![9; 16],
        ..wordy()
    };
    let sealer = sealer(1);
    for (topic, answer, taken) in [
        (&plain, verdicts(MAX_VERDICTS), true),
        (&plain, verdicts(MAX_VERDICTS + 1), false),
        (
            &plain,
            Answer {
                status: b"{}".to_vec(),
                ..Answer::default()
            },
            false,
        ),
        (
            &status,
            Answer {
                verdicts: verdicts(MAX_VERDICTS).verdicts,
                ..longest
            },
            true,
        ),
        (
            &status,
            Answer {
                status: vec![b' '; MAX_STATUS_BYTES + MAX_ANSWER_BYTES],
                ..Answer::default()
            },
            false,
        ),
    ] {
        let expected = if taken {
            Ok(answer.clone())
        } else {
            Err(OpenError::Answer)
        };
        assert!(parse_answer(topic.as_bytes(), &plain_answer(&answer)) == expected);
        let sealed = sealer.answer(topic.as_bytes(), answer);
        assert_eq!(
            Opener::new(key(1))
                .answer(topic.as_bytes(), &sealed)
                .is_ok(),
            taken
        );
    }
}

fn wordy() -> Answer {
    Answer {
        clock_ns: u64::MAX,
        clock_id: u64::MAX,
        newest_sealed: u64::MAX,
        ..Answer::default()
    }
}

fn wordiest() -> ViewerVerdict {
    let verdict = Verdict {
        health: Health::Blind as i32,
        error: 1.5,
        mean: 1.5,
        max: 1.5,
        deviation: 1.5,
        latency_us: u32::MAX,
        count: u32::MAX,
    };
    ViewerVerdict {
        viewer: u64::MAX,
        verdict: Some(verdict),
    }
}

#[test]
fn no_frame_of_prost_looks_sealed() {
    assert!(!is_sealed(&FrameBuffer::copy_of(JPEG).finish(header(1))));
    assert!(!is_sealed(b""));
}

#[test]
fn a_key_is_not_shown() {
    assert_eq!(format!("{:?}", key(0x77)), "FeedKey");
    assert!(!format!("{:?}", Sealer::new(&key(0x77), [1; SALT_BYTES])).contains("119"));
}
