use super::*;
use crate::limits::{FINDING_MARGIN, MAX_FINDINGS, MAX_WIDTH};
use crate::message::{Ball, Finding};

const CHALLENGE: [u8; CHALLENGE_BYTES] = [3; CHALLENGE_BYTES];

fn feed() -> FeedKey {
    FeedKey::new([1; 32])
}

fn sealer() -> Sealer {
    Sealer::new(&feed(), [2; SALT_BYTES])
}

/// A relay that has been told `challenge`.
fn speaker(key: Option<FeedKey>, salt: u8, challenge: [u8; CHALLENGE_BYTES]) -> Speaker {
    let mut speaker = Speaker::new(key, [salt; SALT_BYTES]);
    speaker.on_answer(&Answer {
        challenge: challenge.to_vec(),
        ..Answer::default()
    });
    speaker
}

fn seen(viewer: u64, findings: usize) -> Seen {
    let ball = Some(Ball {
        x: 100.5,
        y: 200.25,
        radius: 20.0,
    });
    let finding = Finding {
        epoch: 7,
        number: 90_000,
        ball,
        confidence: 0.9,
        transit_us: 900,
        ..Finding::default()
    };
    Seen {
        stream: "cam".into(),
        viewer,
        screen: 5,
        name: "lobby".into(),
        address: "192.0.2.1:50000".into(),
        findings: vec![finding; findings],
        ..Seen::default()
    }
}

fn word() -> Word {
    let demand = Demand {
        stream: "cam".into(),
        viewers: 3,
        clients: 1,
    };
    Word {
        relay: 11,
        sequence: 0,
        demand: vec![demand],
        seen: vec![seen(9, 3)],
    }
}

fn numbered(sequence: u64) -> Word {
    Word { sequence, ..word() }
}

#[test]
fn a_word_comes_back_as_it_was_said_sealed_or_not() {
    for key in [None, Some(feed())] {
        let mut speaker = speaker(key.clone(), 4, CHALLENGE);
        let sealer = key.is_some().then(sealer);
        let mut listener = Listener::new(sealer.as_ref(), CHALLENGE);
        for sequence in 1..4 {
            let topic = speaker.topic(word()).unwrap();
            assert!(is_word(topic.as_bytes()) && !super::super::is_question(topic.as_bytes()));
            assert_eq!(listener.hear(topic.as_bytes()), Ok(numbered(sequence)));
        }
    }
}

#[test]
fn a_sealed_word_shows_nothing_on_its_way() {
    let topic = speaker(Some(feed()), 4, CHALLENGE).topic(word()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&topic[1..]).unwrap();
    assert!(!bytes.windows(5).any(|part| part == b"lobby"));
}

#[test]
fn nothing_is_said_before_the_source_has_told_its_challenge() {
    let mut speaker = Speaker::new(None, [4; SALT_BYTES]);
    assert_eq!(speaker.topic(word()), Err(WordError::Unasked));
    // One of an older version answers without a challenge.
    speaker.on_answer(&Answer::default());
    assert!(!speaker.may_speak());
    speaker.on_answer(&Answer {
        challenge: vec![1; 15],
        ..Answer::default()
    });
    assert!(!speaker.may_speak());
}

#[test]
fn a_word_played_again_is_refused_on_the_same_and_on_another_connection() {
    let sealer = sealer();
    let mut speaker = speaker(Some(feed()), 4, CHALLENGE);
    let (first, second) = (
        speaker.topic(word()).unwrap(),
        speaker.topic(word()).unwrap(),
    );
    let mut listener = Listener::new(Some(&sealer), CHALLENGE);
    assert_eq!(listener.hear(second.as_bytes()), Ok(numbered(2)));
    assert_eq!(listener.hear(second.as_bytes()), Err(WordError::Replayed));
    assert_eq!(
        listener.hear(first.as_bytes()),
        Err(WordError::Replayed),
        "it was overtaken"
    );
    let mut other = Listener::new(Some(&sealer), [9; CHALLENGE_BYTES]);
    assert_eq!(other.hear(second.as_bytes()), Err(WordError::Forged));
}

#[test]
fn two_relays_whose_questions_come_by_one_connection_share_no_key_and_one_is_heard() {
    let sealer = sealer();
    let (mut one, mut two) = (
        speaker(Some(feed()), 4, CHALLENGE),
        speaker(Some(feed()), 5, CHALLENGE),
    );
    let (theirs, others) = (one.topic(word()).unwrap(), two.topic(word()).unwrap());
    assert_ne!(
        theirs[50..],
        others[50..],
        "the same nonce under the same key would seal both alike"
    );
    let mut listener = Listener::new(Some(&sealer), CHALLENGE);
    listener.hear(theirs.as_bytes()).unwrap();
    let later = two.topic(word()).unwrap();
    assert_eq!(listener.hear(later.as_bytes()), Err(WordError::Forged));
}

#[test]
fn no_nonce_is_used_twice_when_the_challenge_changes_and_comes_back() {
    let mut speaker = speaker(Some(feed()), 4, CHALLENGE);
    let first = speaker.topic(word()).unwrap();
    for challenge in [[8; CHALLENGE_BYTES], CHALLENGE] {
        speaker.on_answer(&Answer {
            challenge: challenge.to_vec(),
            ..Answer::default()
        });
    }
    let sealer = sealer();
    let mut listener = Listener::new(Some(&sealer), CHALLENGE);
    assert_eq!(listener.hear(first.as_bytes()).unwrap().sequence, 1);
    assert_eq!(
        listener
            .hear(speaker.topic(word()).unwrap().as_bytes())
            .unwrap()
            .sequence,
        2
    );
}

#[test]
fn a_forged_word_is_refused_and_does_not_take_the_relays_place() {
    let sealer = sealer();
    let mut listener = Listener::new(Some(&sealer), CHALLENGE);
    let plain = speaker(None, 4, CHALLENGE).topic(word()).unwrap();
    assert_eq!(listener.hear(plain.as_bytes()), Err(WordError::Plain));
    let stranger = speaker(Some(FeedKey::new([66; 32])), 6, CHALLENGE)
        .topic(word())
        .unwrap();
    assert_eq!(listener.hear(stranger.as_bytes()), Err(WordError::Forged));
    let mut speaker = speaker(Some(feed()), 4, CHALLENGE);
    let good = speaker.topic(word()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(&good[1..]).unwrap();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        let topic = format!("!{}", URL_SAFE_NO_PAD.encode(&bytes));
        listener.hear(topic.as_bytes()).unwrap_err();
    }
    assert_eq!(listener.hear(good.as_bytes()), Ok(numbered(1)));
    assert_eq!(
        Listener::new(None, CHALLENGE).hear(good.as_bytes()),
        Err(WordError::Sealed)
    );
    // An answer of the source is no word, though the key is the same.
    let answer = sealer.answer(b"!", Answer::default());
    let topic = format!("!{}", URL_SAFE_NO_PAD.encode(&answer));
    assert_eq!(listener.hear(topic.as_bytes()), Err(WordError::Unknown));
}

#[test]
fn what_is_no_base64url_or_cut_short_or_too_long_is_refused() {
    let good = speaker(None, 4, CHALLENGE).topic(word()).unwrap();
    let mut listener = Listener::new(None, CHALLENGE);
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
        assert_eq!(listener.hear(bad.as_bytes()), Err(WordError::Text), "{bad}");
    }
    let (sealer, sealed) = (
        sealer(),
        speaker(Some(feed()), 4, CHALLENGE).topic(word()).unwrap(),
    );
    for end in 1..sealed.len() {
        Listener::new(Some(&sealer), CHALLENGE)
            .hear(&sealed.as_bytes()[..end])
            .unwrap_err();
    }
    let long = format!("!{}", "A".repeat(MAX_WORD_TOPIC));
    assert_eq!(listener.hear(long.as_bytes()), Err(WordError::TooLong));
    assert_eq!(listener.hear(b"!"), Err(WordError::Field("sequence")));
    assert_eq!(listener.hear(good.as_bytes()), Ok(numbered(1)));
}

#[test]
fn the_longest_word_fits_its_topic_and_a_longer_one_is_not_said() {
    for key in [None, Some(feed())] {
        let mut speaker = speaker(key.clone(), 4, CHALLENGE);
        let mut word = numbered(1);
        while word.encoded_len() <= MAX_WORD_BYTES {
            word.seen.push(seen(word.seen.len() as u64 + 1, 1));
        }
        assert!(speaker.topic(word.clone()) == Err(WordError::TooLong));
        word.seen.pop();
        let topic = speaker.topic(word.clone()).unwrap();
        assert!(topic.len() <= MAX_WORD_TOPIC);
        let sealer = key.is_some().then(sealer);
        assert!(Listener::new(sealer.as_ref(), CHALLENGE).hear(topic.as_bytes()) == Ok(word));
    }
}

#[test]
fn a_word_out_of_its_bounds_is_refused() {
    let with = |seen: Seen| Word {
        seen: vec![seen],
        ..word()
    };
    let far = Ball {
        x: (MAX_WIDTH + FINDING_MARGIN + 1) as f32,
        y: 0.0,
        radius: 1.0,
    };
    let nan = Ball { x: f32::NAN, ..far };
    let lying = |ball| Seen {
        findings: vec![Finding {
            epoch: 7,
            ball: Some(ball),
            ..Finding::default()
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
            Word {
                demand: vec![demand("no/name")],
                ..word()
            },
        ),
        (
            "demand",
            Word {
                demand: vec![demand("cam"); MAX_STREAMS + 1],
                ..word()
            },
        ),
        (
            "seen",
            Word {
                seen: (1..=MAX_SEEN as u64 + 1).map(|n| seen(n, 0)).collect(),
                ..word()
            },
        ),
        (
            "findings",
            Word {
                seen: vec![seen(1, MAX_FINDINGS + 1)],
                ..word()
            },
        ),
        (
            "findings",
            Word {
                seen: vec![seen(1, 1); MAX_SEEN]
                    .into_iter()
                    .chain([seen(2, 1)])
                    .skip(1)
                    .collect(),
                ..word()
            },
        ),
        (
            "stream",
            with(Seen {
                stream: String::new(),
                ..seen(1, 0)
            }),
        ),
        ("viewer", with(seen(0, 0))),
        (
            "name",
            with(Seen {
                name: "n".repeat(MAX_VIEWER_NAME + 1),
                ..seen(1, 0)
            }),
        ),
        (
            "address",
            with(Seen {
                address: "1".repeat(MAX_ADDRESS + 1),
                ..seen(1, 0)
            }),
        ),
        (
            "screen",
            with(Seen {
                screen: 0,
                ..seen(1, 1)
            }),
        ),
        ("ball", with(lying(far))),
        ("ball", with(lying(nan))),
    ] {
        let bytes = Word {
            sequence: 1,
            ..wrong
        }
        .encode_to_vec();
        let outcome = parse_word(&bytes);
        // So many findings do not fit, however short they are.
        if outcome != Err(WordError::TooLong) {
            assert_eq!(outcome, Err(WordError::Field(field)));
        }
    }
    assert_eq!(parse_word(b"\xff\xff"), Err(WordError::Malformed));
}
