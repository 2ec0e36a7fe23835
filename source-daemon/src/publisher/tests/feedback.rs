//! What relays say upstream, and what comes of it; and who floods or forges it.

use fanlight_proto::clock::Time;
use fanlight_proto::envelope::{
    FeedKey, FeedbackError, FeedbackSealer, MAX_FEEDBACK_TOPIC, MAX_STATUS_BYTES, MAX_VERDICTS,
    Opener, parse_answer, question, status_question,
};
use fanlight_proto::feed::{self, encode_clock_probe, encode_feedback};
use fanlight_proto::message::{Answer, Demand, FeedbackReport, Verdict, ViewerVerdict};

use super::super::feedback::{Dropped, WORDS_PER_SECOND, Words};
use super::*;

/// Remembers what it is told.
#[derive(Debug, Default)]
struct Notebook {
    feedback: Mutex<Vec<(u64, FeedbackReport)>>,
    subscriptions: Mutex<Vec<(u64, Vec<Vec<u8>>)>>,
    gone: Mutex<Vec<u64>>,
    verdicts: Mutex<Vec<ViewerVerdict>>,
    status: Mutex<Vec<u8>>,
}

impl Ear for Notebook {
    fn on_subscriptions(&self, _: Time, peer: u64, topics: &[Vec<u8>]) {
        self.subscriptions
            .lock()
            .unwrap()
            .push((peer, topics.to_vec()));
    }

    fn on_feedback(&self, _: Time, peer: u64, feedback: FeedbackReport) {
        self.feedback.lock().unwrap().push((peer, feedback));
    }

    fn on_gone(&self, _: Time, peer: u64) {
        self.gone.lock().unwrap().push(peer);
    }

    fn verdicts(&self, _: Time, _: u64) -> Vec<ViewerVerdict> {
        self.verdicts.lock().unwrap().clone()
    }

    fn status(&self, _: Time) -> Vec<u8> {
        self.status.lock().unwrap().clone()
    }
}

fn feed() -> FeedKey {
    FeedKey::new([7; 32])
}

fn listening(sealed: bool) -> (Publisher, Arc<Notebook>) {
    let ear = Arc::new(Notebook::default());
    let security = AcceptedSecurity {
        null: !sealed,
        shared_key: sealed.then(feed),
        keys: None,
    };
    let endpoints = ["tcp://127.0.0.1:0".parse().unwrap()];
    (
        Publisher::bind(&endpoints, security, Arc::clone(&ear) as Arc<dyn Ear>).unwrap(),
        ear,
    )
}

fn feedback(viewers: u32) -> FeedbackReport {
    FeedbackReport {
        relay: 5,
        demand: vec![Demand {
            stream: "cam".into(),
            viewers,
            clients: 0,
        }],
        ..FeedbackReport::default()
    }
}

/// A frame that subscribes to `topic`, or takes it back.
fn frame(subscribe: bool, topic: &str) -> Vec<u8> {
    [
        &[2][..],
        &(1 + topic.len() as u64).to_be_bytes(),
        &[u8::from(subscribe)],
        topic.as_bytes(),
    ]
    .concat()
}

/// One more connection, which has asked and been answered.
async fn relay(publisher: &Publisher, key: Option<FeedKey>) -> (TcpStream, FeedbackSealer) {
    let topic = question([1; 16]);
    let mut stream = peer(publisher, &[handshake(), asking(&topic)].concat()).await;
    stream.read_exact(&mut [0; HANDSHAKE_BYTES]).await.unwrap();
    let (told, body) = read_answer(&mut stream).await;
    let answer = match key.clone() {
        Some(key) => Opener::new(key).answer(told.as_bytes(), &body).unwrap(),
        None => parse_answer(told.as_bytes(), &body).unwrap(),
    };
    let mut feedback_sealer = FeedbackSealer::new(key, [9; 16]);
    feedback_sealer.on_answer(&answer);
    assert!(feedback_sealer.may_speak());
    (stream, feedback_sealer)
}

#[tokio::test]
async fn what_the_relays_library_says_is_heard_and_is_no_subscription() {
    let (publisher, ear) = listening(false);
    let (_, mut feedback_sealer) = relay(&publisher, None).await;
    let mut socket = subscribe(&publisher.endpoints()[0]).await;
    until("it has subscribed", || publisher.stats().subscribers == 1).await;
    for viewers in 0..200 {
        let topic = feedback_sealer.topic(feedback(viewers)).unwrap();
        socket.subscribe(&topic).await.unwrap();
        socket.unsubscribe(&topic).await.unwrap();
        // Not faster than may be taken.
        sleep(Duration::from_millis(20)).await;
    }
    until("all feedback are heard", || {
        publisher.stats().feedback == 200
    })
    .await;
    let heard = ear.feedback.lock().unwrap().clone();
    assert!(
        heard
            .iter()
            .map(|(_, feedback)| feedback.demand[0].viewers)
            .eq(0..200)
    );
    let library = heard[0].0;
    publisher.publish(TOPIC, numbered(1, 8));
    assert_eq!(receive(&mut socket).await.0, 1);
    let subscriptions = ear.subscriptions.lock().unwrap().clone();
    assert!(subscriptions.contains(&(library, vec![b"cam/".to_vec()])));
    assert!(
        subscriptions
            .iter()
            .flat_map(|(_, topics)| topics)
            .all(|topic| topic == b"cam/"),
        "{subscriptions:?}"
    );
    drop(socket);
    until("it has gone", || {
        ear.gone.lock().unwrap().contains(&library)
    })
    .await;
    assert_eq!(
        (publisher.stats().refused, publisher.stats().words_dropped),
        (0, 0)
    );
}

#[tokio::test]
async fn a_peer_that_says_no_word_is_known_by_its_subscriptions() {
    let (publisher, ear) = listening(false);
    let mut plain = peer(
        &publisher,
        &[&handshake()[..], b"\0\x05\x01cam/", b"\0\x05\x01two/"].concat(),
    )
    .await;
    let told = |topics: &[&[u8]]| {
        let topics = topics.iter().map(|topic| topic.to_vec()).collect();
        ear.subscriptions.lock().unwrap().last() == Some(&(1, topics))
    };
    until("both are told", || told(&[b"cam/", b"two/"])).await;
    plain.write_all(b"\0\x05\0cam/").await.unwrap();
    until("one is left", || told(&[b"two/"])).await;
    // Taken back what was never asked for is no news.
    plain
        .write_all(b"\0\x05\0xxx/\0\x05\x01one/")
        .await
        .unwrap();
    until("one has come", || told(&[b"two/", b"one/"])).await;
    drop(plain);
    until("it has gone", || ear.gone.lock().unwrap()[..] == [1]).await;
}

#[tokio::test]
async fn sealed_words_are_heard_and_forged_and_recorded_ones_are_not() {
    let (publisher, ear) = listening(true);
    let (mut stream, mut feedback_sealer) = relay(&publisher, Some(feed())).await;
    let good = feedback_sealer.topic(feedback(1)).unwrap();
    stream.write_all(&frame(true, &good)).await.unwrap();
    until("it is heard", || publisher.stats().feedback == 1).await;
    let (mut other, mut others) = relay(&publisher, Some(feed())).await;
    let mut without_key = FeedbackSealer::new(None, [1; 16]);
    without_key.on_answer(&Answer {
        challenge: vec![1; 16],
        ..Answer::default()
    });
    let mut damaged = others.topic(feedback(3)).unwrap().into_bytes();
    damaged[80] = if damaged[80] == b'A' { b'B' } else { b'A' };
    let forged = [
        ("played again", false, good.clone()),
        ("recorded on another connection", true, good),
        (
            "not sealed",
            false,
            without_key.topic(feedback(66)).unwrap(),
        ),
        ("damaged", true, String::from_utf8(damaged).unwrap()),
        ("not base64", true, "!####".into()),
        ("empty", true, "!".into()),
    ];
    for (dropped, (what, on_other, topic)) in (1..).zip(forged) {
        let stream = if on_other { &mut other } else { &mut stream };
        stream.write_all(&frame(true, &topic)).await.unwrap();
        until(what, || publisher.stats().words_dropped == dropped).await;
    }
    other
        .write_all(&frame(true, &others.topic(feedback(2)).unwrap()))
        .await
        .unwrap();
    until("the good one is heard", || publisher.stats().feedback == 2).await;
    let heard: Vec<_> = ear
        .feedback
        .lock()
        .unwrap()
        .iter()
        .map(|(_, feedback)| feedback.demand[0].viewers)
        .collect();
    assert_eq!(heard, [1, 2]);
    assert_eq!(
        (publisher.stats().refused, publisher.stats().subscribers),
        (0, 0)
    );
}

#[tokio::test]
async fn without_a_key_a_sealed_word_is_dropped() {
    let mut words = Words::new(None, [3; 16]);
    let mut feedback_sealer = FeedbackSealer::new(Some(feed()), [1; 16]);
    feedback_sealer.on_answer(&Answer {
        challenge: vec![3; 16],
        ..Answer::default()
    });
    let topic = feedback_sealer.topic(feedback(1)).unwrap();
    assert_eq!(
        words.take(Time::from_nanos(1), topic.as_bytes()),
        Err(Dropped::Wrong(FeedbackError::Sealed))
    );
}

#[tokio::test]
async fn who_floods_with_words_is_heard_so_often_and_the_others_lose_no_frame() {
    let (publisher, ear) = listening(false);
    let (mut good, mut feedback_sealer) = relay(&publisher, None).await;
    let mut keen = subscribe(&publisher.endpoints()[0]).await;
    until("it has subscribed", || publisher.stats().subscribers == 1).await;
    let (flood, mut flooding) = relay(&publisher, None).await;
    let (mut reader, mut writer) = flood.into_split();
    let drain = tokio::spawn(async move {
        while reader
            .read(&mut [0; 4096])
            .await
            .is_ok_and(|count| count > 0)
        {}
    });
    let flood = tokio::spawn(async move {
        let long = frame(true, &format!("!{}", "A".repeat(MAX_FEEDBACK_TOPIC - 1)));
        loop {
            let mut bytes: Vec<u8> = (0..50)
                .flat_map(|n| frame(true, &flooding.topic(feedback(n)).unwrap()))
                .collect();
            bytes.extend_from_slice(&long);
            bytes.extend(asking(&status_question([2; 16])));
            bytes.extend(b"\0\x03\x01ab\0\x03\0ab".repeat(50));
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut ticks = interval(Duration::from_millis(10));
    let start = tokio::time::Instant::now();
    for number in 0..300 {
        ticks.tick().await;
        publisher.publish(TOPIC, numbered(number, 200_000));
        let sent = tokio::time::Instant::now();
        assert_eq!(receive(&mut keen).await, (number, 200_000));
        assert!(
            sent.elapsed() < Duration::from_secs(1),
            "frame {number} took {:?}",
            sent.elapsed()
        );
        if number % 10 == 0 {
            good.write_all(&frame(
                true,
                &feedback_sealer
                    .topic(feedback(1000 + number as u32))
                    .unwrap(),
            ))
            .await
            .unwrap();
        }
    }
    let spans = start.elapsed().as_secs() + 2;
    until("the honest one is heard", || {
        let feedback = ear.feedback.lock().unwrap();
        feedback
            .iter()
            .filter(|(_, feedback)| feedback.demand[0].viewers >= 1000)
            .count()
            == 30
    })
    .await;
    let stats = publisher.stats();
    assert!(
        !flood.is_finished(),
        "the one that floods is contained, not cut off"
    );
    flood.abort();
    drain.abort();
    let flooded = ear.feedback.lock().unwrap().len() as u64 - 30;
    assert!(
        (1..=spans * u64::from(WORDS_PER_SECOND)).contains(&flooded),
        "{flooded} feedback in {spans} s"
    );
    assert!(stats.words_dropped > 1000, "{stats:?}");
    assert_eq!((stats.dropped, stats.refused), (0, 0), "{stats:?}");
}

#[tokio::test]
async fn a_word_that_is_too_long_ends_the_connection() {
    let (publisher, _) = listening(false);
    let topic = format!("!{}", "A".repeat(MAX_FEEDBACK_TOPIC));
    assert!(is_cut_off(peer(&publisher, &[handshake(), frame(true, &topic)].concat()).await).await);
    until("it is refused", || publisher.stats().refused == 1).await;
}

#[tokio::test]
async fn verdicts_come_with_the_time_and_how_things_stand_to_who_asks_for_it() {
    for sealed in [false, true] {
        let (publisher, ear) = listening(sealed);
        let verdict = ViewerVerdict {
            viewer: 9,
            verdict: Some(Verdict {
                error: 0.25,
                ..Verdict::default()
            }),
        };
        *ear.verdicts.lock().unwrap() = vec![verdict; MAX_VERDICTS + 1];
        *ear.status.lock().unwrap() = vec![b' '; MAX_STATUS_BYTES];
        let mut stream = peer(&publisher, &handshake()).await;
        stream.read_exact(&mut [0; HANDSHAKE_BYTES]).await.unwrap();
        for (topic, bytes) in [
            (question([1; 16]), 0),
            (status_question([2; 16]), MAX_STATUS_BYTES),
        ] {
            stream.write_all(&asking(&topic)).await.unwrap();
            let (told, body) = read_answer(&mut stream).await;
            assert_eq!(told, topic);
            let answer = match sealed {
                true => Opener::new(feed()).answer(told.as_bytes(), &body).unwrap(),
                false => parse_answer(told.as_bytes(), &body).unwrap(),
            };
            assert_eq!(
                (answer.verdicts.len(), answer.status.len()),
                (MAX_VERDICTS, bytes)
            );
            assert_eq!(answer.verdicts[0], verdict);
        }
        // One that is too long is not told, and the time is all the same.
        ear.status.lock().unwrap().push(b' ');
        stream
            .write_all(&asking(&status_question([3; 16])))
            .await
            .unwrap();
        let (_, body) = read_answer(&mut stream).await;
        assert!(body.len() < MAX_STATUS_BYTES);
    }
}

/// A relay of the new way, which has subscribed.
async fn new_relay(publisher: &Publisher, security: &Security) -> (TcpStream, Established) {
    let (mut stream, mut relay) = connect(publisher, security).await;
    stream
        .write_all(&relay.encoder.subscribe(b"cam/"))
        .await
        .unwrap();
    (stream, relay)
}

#[tokio::test]
async fn upstream_messages_bring_feedback_and_probes_and_are_no_subscriptions() {
    for (sealed, security) in [(false, Security::Null), (true, Security::SharedKey(feed()))] {
        let (publisher, ear) = listening(sealed);
        let (mut stream, mut relay) = new_relay(&publisher, &security).await;
        for viewers in 0..20 {
            let said = relay.encoder.upstream(&encode_feedback(feedback(viewers)));
            stream.write_all(&said).await.unwrap();
        }
        until("all feedback is heard", || publisher.stats().feedback == 20).await;
        let heard = ear.feedback.lock().unwrap().clone();
        assert!(
            heard
                .iter()
                .map(|(_, report)| report.demand[0].viewers)
                .eq(0..20)
        );

        let said = relay.encoder.upstream(&encode_clock_probe(99));
        stream.write_all(&said).await.unwrap();
        let (topic, body) = next_message(&mut stream, &mut relay.decoder).await;
        let answer = feed::parse_answer(&topic, &body).unwrap();
        assert_eq!(topic, feed::ANSWER_TOPIC);
        assert_eq!((answer.nonce, answer.clock_id), (99, clock::clock_id()));
        assert_eq!(
            ear.subscriptions.lock().unwrap().last().unwrap().1,
            [b"cam/"]
        );
        let stats = publisher.stats();
        assert_eq!((stats.refused, stats.words_dropped), (0, 0));
    }
}

#[tokio::test]
async fn malformed_feedback_and_feedback_in_the_clear_beside_a_key_are_dropped() {
    let (publisher, ear) = listening(true);
    let (mut sealed, mut relay) = new_relay(&publisher, &Security::SharedKey(feed())).await;
    sealed
        .write_all(&relay.encoder.upstream(b"\xff\xff"))
        .await
        .unwrap();
    until("it is dropped", || publisher.stats().words_dropped == 1).await;

    let (mut plain, mut stranger) = new_relay(&publisher, &Security::Null).await;
    let said = stranger.encoder.upstream(&encode_feedback(feedback(5)));
    plain.write_all(&said).await.unwrap();
    until("it is dropped", || publisher.stats().words_dropped == 2).await;
    assert!(ear.feedback.lock().unwrap().is_empty());
    assert_eq!(publisher.stats().refused, 0);
}
