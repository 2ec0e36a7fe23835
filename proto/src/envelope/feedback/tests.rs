use super::*;
use crate::limits::{DETECTION_MARGIN, MAX_DETECTIONS, MAX_WIDTH};
use crate::message::{Ball, Detection};

const CHALLENGE: [u8; CHALLENGE_BYTES] = [3; CHALLENGE_BYTES];

fn feed() -> FeedKey {
    FeedKey::new([1; 32])
}

fn sealer() -> Sealer {
    Sealer::new(&feed(), [2; SALT_BYTES])
}

/// A relay that has been told `challenge`.
fn feedback_sealer(
    key: Option<FeedKey>,
    salt: u8,
    challenge: [u8; CHALLENGE_BYTES],
) -> FeedbackSealer {
    let mut feedback_sealer = FeedbackSealer::new(key, [salt; SALT_BYTES]);
    feedback_sealer.on_answer(&Answer {
        challenge: challenge.to_vec(),
        ..Answer::default()
    });
    feedback_sealer
}

fn seen(viewer: u64, detections: usize) -> ViewerReport {
    let ball = Some(Ball {
        x: 100.5,
        y: 200.25,
        radius: 20.0,
    });
    let detection = Detection {
        epoch: 7,
        number: 90_000,
        ball,
        confidence: 0.9,
        transit_us: 900,
        ..Detection::default()
    };
    ViewerReport {
        stream: "cam".into(),
        viewer,
        screen: 5,
        name: "lobby".into(),
        address: "192.0.2.1:50000".into(),
        detections: vec![detection; detections],
        ..ViewerReport::default()
    }
}

fn feedback() -> FeedbackReport {
    let demand = Demand {
        stream: "cam".into(),
        viewers: 3,
        clients: 1,
    };
    FeedbackReport {
        relay: 11,
        sequence: 0,
        demand: vec![demand],
        viewers: vec![seen(9, 3)],
    }
}

fn numbered(sequence: u64) -> FeedbackReport {
    FeedbackReport {
        sequence,
        ..feedback()
    }
}

#[test]
fn a_word_comes_back_as_it_was_said_sealed_or_not() {
    for key in [None, Some(feed())] {
        let mut feedback_sealer = feedback_sealer(key.clone(), 4, CHALLENGE);
        let sealer = key.is_some().then(sealer);
        let mut listener = FeedbackOpener::new(sealer.as_ref(), CHALLENGE);
        for sequence in 1..4 {
            let topic = feedback_sealer.topic(feedback()).unwrap();
            assert!(is_feedback(topic.as_bytes()) && !super::super::is_question(topic.as_bytes()));
            assert_eq!(listener.hear(topic.as_bytes()), Ok(numbered(sequence)));
        }
    }
}

#[test]
fn a_sealed_word_shows_nothing_on_its_way() {
    let topic = feedback_sealer(Some(feed()), 4, CHALLENGE)
        .topic(feedback())
        .unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&topic[1..]).unwrap();
    assert!(!bytes.windows(5).any(|part| part == b"lobby"));
}

#[test]
fn nothing_is_said_before_the_source_has_told_its_challenge() {
    let mut feedback_sealer = FeedbackSealer::new(None, [4; SALT_BYTES]);
    assert_eq!(
        feedback_sealer.topic(feedback()),
        Err(FeedbackError::Unasked)
    );
    // One of an older version answers without a challenge.
    feedback_sealer.on_answer(&Answer::default());
    assert!(!feedback_sealer.may_speak());
    feedback_sealer.on_answer(&Answer {
        challenge: vec![1; 15],
        ..Answer::default()
    });
    assert!(!feedback_sealer.may_speak());
}

#[test]
fn a_word_played_again_is_refused_on_the_same_and_on_another_connection() {
    let sealer = sealer();
    let mut feedback_sealer = feedback_sealer(Some(feed()), 4, CHALLENGE);
    let (first, second) = (
        feedback_sealer.topic(feedback()).unwrap(),
        feedback_sealer.topic(feedback()).unwrap(),
    );
    let mut listener = FeedbackOpener::new(Some(&sealer), CHALLENGE);
    assert_eq!(listener.hear(second.as_bytes()), Ok(numbered(2)));
    assert_eq!(
        listener.hear(second.as_bytes()),
        Err(FeedbackError::Replayed)
    );
    assert_eq!(
        listener.hear(first.as_bytes()),
        Err(FeedbackError::Replayed),
        "it was overtaken"
    );
    let mut other = FeedbackOpener::new(Some(&sealer), [9; CHALLENGE_BYTES]);
    assert_eq!(other.hear(second.as_bytes()), Err(FeedbackError::Forged));
}

#[test]
fn two_relays_whose_questions_come_by_one_connection_share_no_key_and_one_is_heard() {
    let sealer = sealer();
    let (mut one, mut two) = (
        feedback_sealer(Some(feed()), 4, CHALLENGE),
        feedback_sealer(Some(feed()), 5, CHALLENGE),
    );
    let (theirs, others) = (
        one.topic(feedback()).unwrap(),
        two.topic(feedback()).unwrap(),
    );
    assert_ne!(
        theirs[50..],
        others[50..],
        "the same nonce under the same key would seal both alike"
    );
    let mut listener = FeedbackOpener::new(Some(&sealer), CHALLENGE);
    listener.hear(theirs.as_bytes()).unwrap();
    let later = two.topic(feedback()).unwrap();
    assert_eq!(listener.hear(later.as_bytes()), Err(FeedbackError::Forged));
}

#[test]
fn no_nonce_is_used_twice_when_the_challenge_changes_and_comes_back() {
    let mut feedback_sealer = feedback_sealer(Some(feed()), 4, CHALLENGE);
    let first = feedback_sealer.topic(feedback()).unwrap();
    for challenge in [[8; CHALLENGE_BYTES], CHALLENGE] {
        feedback_sealer.on_answer(&Answer {
            challenge: challenge.to_vec(),
            ..Answer::default()
        });
    }
    let sealer = sealer();
    let mut listener = FeedbackOpener::new(Some(&sealer), CHALLENGE);
    assert_eq!(listener.hear(first.as_bytes()).unwrap().sequence, 1);
    assert_eq!(
        listener
            .hear(feedback_sealer.topic(feedback()).unwrap().as_bytes())
            .unwrap()
            .sequence,
        2
    );
}

#[test]
fn a_forged_word_is_refused_and_does_not_take_the_relays_place() {
    let sealer = sealer();
    let mut listener = FeedbackOpener::new(Some(&sealer), CHALLENGE);
    let plain = feedback_sealer(None, 4, CHALLENGE)
        .topic(feedback())
        .unwrap();
    assert_eq!(listener.hear(plain.as_bytes()), Err(FeedbackError::Plain));
    let stranger = feedback_sealer(Some(FeedKey::new([66; 32])), 6, CHALLENGE)
        .topic(feedback())
        .unwrap();
    assert_eq!(
        listener.hear(stranger.as_bytes()),
        Err(FeedbackError::Forged)
    );
    let mut feedback_sealer = feedback_sealer(Some(feed()), 4, CHALLENGE);
    let good = feedback_sealer.topic(feedback()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&good[1..]).unwrap();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        let topic = format!("!{}", URL_SAFE_NO_PAD.encode(&bytes));
        listener.hear(topic.as_bytes()).unwrap_err();
    }
    assert_eq!(listener.hear(good.as_bytes()), Ok(numbered(1)));
    assert_eq!(
        FeedbackOpener::new(None, CHALLENGE).hear(good.as_bytes()),
        Err(FeedbackError::Sealed)
    );
    // An answer of the source is no feedback, though the key is the same.
    let answer = sealer.answer(b"!", Answer::default());
    let topic = format!("!{}", URL_SAFE_NO_PAD.encode(&answer));
    assert_eq!(listener.hear(topic.as_bytes()), Err(FeedbackError::Unknown));
}

#[test]
fn what_is_no_base64url_or_cut_short_or_too_long_is_refused() {
    let good = feedback_sealer(None, 4, CHALLENGE)
        .topic(feedback())
        .unwrap();
    let mut listener = FeedbackOpener::new(None, CHALLENGE);
    for bad in [
        "!=",
        "!a",
        "!a+b/",
        "!ab c",
        "!\u{e4}",
        &format!("{good}="),
        &format!("{good}\n"),
        "?",
        "",
    ] {
        assert_eq!(
            listener.hear(bad.as_bytes()),
            Err(FeedbackError::Text),
            "{bad}"
        );
    }
    let (sealer, sealed) = (
        sealer(),
        feedback_sealer(Some(feed()), 4, CHALLENGE)
            .topic(feedback())
            .unwrap(),
    );
    for end in 1..sealed.len() {
        FeedbackOpener::new(Some(&sealer), CHALLENGE)
            .hear(&sealed.as_bytes()[..end])
            .unwrap_err();
    }
    let long = format!("!{}", "A".repeat(MAX_FEEDBACK_TOPIC));
    assert_eq!(listener.hear(long.as_bytes()), Err(FeedbackError::TooLong));
    assert_eq!(listener.hear(b"!"), Err(FeedbackError::Replayed));
    assert_eq!(listener.hear(good.as_bytes()), Ok(numbered(1)));
}

#[test]
fn the_longest_word_fits_its_topic_and_a_longer_one_is_not_said() {
    for key in [None, Some(feed())] {
        let mut feedback_sealer = feedback_sealer(key.clone(), 4, CHALLENGE);
        let mut feedback = numbered(1);
        while feedback.encoded_len() <= MAX_FEEDBACK_BYTES {
            feedback
                .viewers
                .push(seen(feedback.viewers.len() as u64 + 1, 1));
        }
        assert!(feedback_sealer.topic(feedback.clone()) == Err(FeedbackError::TooLong));
        feedback.viewers.pop();
        let topic = feedback_sealer.topic(feedback.clone()).unwrap();
        assert!(topic.len() <= MAX_FEEDBACK_TOPIC);
        let sealer = key.is_some().then(sealer);
        assert!(
            FeedbackOpener::new(sealer.as_ref(), CHALLENGE).hear(topic.as_bytes()) == Ok(feedback)
        );
    }
}

#[test]
fn a_word_out_of_its_bounds_is_refused() {
    let with = |seen: ViewerReport| FeedbackReport {
        viewers: vec![seen],
        ..feedback()
    };
    let far = Ball {
        x: (MAX_WIDTH + DETECTION_MARGIN + 1) as f32,
        y: 0.0,
        radius: 1.0,
    };
    let nan = Ball { x: f32::NAN, ..far };
    let lying = |ball| ViewerReport {
        detections: vec![Detection {
            epoch: 7,
            ball: Some(ball),
            ..Detection::default()
        }],
        ..seen(1, 0)
    };
    let demand = |name: &str| Demand {
        stream: name.into(),
        ..Demand::default()
    };
    for (field, wrong) in [
        (
            "stream",
            FeedbackReport {
                demand: vec![demand("no/name")],
                ..feedback()
            },
        ),
        (
            "demand",
            FeedbackReport {
                demand: vec![demand("cam"); MAX_STREAMS + 1],
                ..feedback()
            },
        ),
        (
            "seen",
            FeedbackReport {
                viewers: (1..=MAX_VIEWER_REPORTS as u64 + 1)
                    .map(|n| seen(n, 0))
                    .collect(),
                ..feedback()
            },
        ),
        (
            "detections",
            FeedbackReport {
                viewers: vec![seen(1, MAX_DETECTIONS + 1)],
                ..feedback()
            },
        ),
        (
            "detections",
            FeedbackReport {
                viewers: vec![seen(1, 1); MAX_VIEWER_REPORTS]
                    .into_iter()
                    .chain([seen(2, 1)])
                    .skip(1)
                    .collect(),
                ..feedback()
            },
        ),
        (
            "stream",
            with(ViewerReport {
                stream: String::new(),
                ..seen(1, 0)
            }),
        ),
        ("viewer", with(seen(0, 0))),
        (
            "name",
            with(ViewerReport {
                name: "n".repeat(MAX_VIEWER_NAME + 1),
                ..seen(1, 0)
            }),
        ),
        (
            "address",
            with(ViewerReport {
                address: "1".repeat(MAX_ADDRESS + 1),
                ..seen(1, 0)
            }),
        ),
        (
            "screen",
            with(ViewerReport {
                screen: 0,
                ..seen(1, 1)
            }),
        ),
        ("ball", with(lying(far))),
        ("ball", with(lying(nan))),
    ] {
        let bytes = FeedbackReport {
            sequence: 1,
            ..wrong
        }
        .encode_to_vec();
        let outcome = parse_feedback(&bytes);
        // So many detections do not fit, however short they are.
        if outcome != Err(FeedbackError::TooLong) {
            assert_eq!(outcome, Err(FeedbackError::Field(field)));
        }
    }
    assert_eq!(parse_feedback(b"\xff\xff"), Err(FeedbackError::Malformed));
}
