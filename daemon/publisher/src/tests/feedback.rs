//! What relays say upstream, and what comes of it; and who floods or forges it.

use fanlight_proto::clock::Time;
use fanlight_proto::feed::{
    MAX_STATUS_BYTES, MAX_VERDICTS, encode_clock_probe, encode_feedback, parse_answer, status_topic,
};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::message::{Demand, FeedbackReport, RefusedStreams, Verdict, ViewerVerdict};
use fanlight_proto::zmtp::MAX_UPSTREAM;

use super::super::upstream_limiter::MESSAGES_PER_SECOND;
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

impl FeedbackSink for Notebook {
    fn on_subscriptions(&self, _: Time, peer: u64, topics: &[Vec<u8>]) {
        self.subscriptions.lock().push((peer, topics.to_vec()));
    }

    fn on_feedback(&self, _: Time, peer: u64, feedback: FeedbackReport) {
        self.feedback.lock().push((peer, feedback));
    }

    fn on_refused(&self, _: Time, _: u64, _: RefusedStreams) {}

    fn on_gone(&self, _: Time, peer: u64) {
        self.gone.lock().push(peer);
    }

    fn verdicts(&self, _: Time, _: u64) -> Vec<ViewerVerdict> {
        self.verdicts.lock().clone()
    }

    fn status(&self, _: Time) -> Vec<u8> {
        self.status.lock().clone()
    }
}

fn feed() -> FeedKey {
    FeedKey::new([7; 32])
}

fn listening(sealed: bool) -> (Publisher, Arc<Notebook>) {
    let sink = Arc::new(Notebook::default());
    let security = AcceptedSecurity {
        null: !sealed,
        shared_key: sealed.then(feed),
        keys: None,
    };

    let endpoints = ["tcp://127.0.0.1:0".parse().unwrap()];
    (
        Publisher::bind(
            &endpoints,
            security,
            Arc::clone(&sink) as Arc<dyn FeedbackSink>,
        )
        .unwrap(),
        sink,
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

#[tokio::test]
async fn a_peer_that_says_no_word_is_known_by_its_subscriptions() {
    let (publisher, sink) = listening(false);
    let mut plain = peer(
        &publisher,
        &[&handshake()[..], b"\0\x05\x01cam/", b"\0\x05\x01two/"].concat(),
    )
    .await;

    let told = |topics: &[&[u8]]| {
        let topics = topics.iter().map(|topic| topic.to_vec()).collect();
        sink.subscriptions.lock().last() == Some(&(1, topics))
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
    until("it has gone", || sink.gone.lock()[..] == [1]).await;
}

/// A relay that has subscribed.
async fn relay(publisher: &Publisher, security: &Security) -> (TcpStream, Established) {
    let (mut stream, mut relay) = connect(publisher, security).await;
    let subscribe = relay.encoder.subscribe(b"cam/");
    stream.write_all(&subscribe).await.unwrap();
    (stream, relay)
}

async fn say(stream: &mut TcpStream, relay: &mut Established, message: &[u8]) {
    stream
        .write_all(&relay.encoder.upstream(message))
        .await
        .unwrap();
}

#[tokio::test]
async fn upstream_messages_bring_feedback_and_probes_and_are_no_subscriptions() {
    for (sealed, security) in [(false, Security::Null), (true, Security::SharedKey(feed()))] {
        let (publisher, sink) = listening(sealed);
        let (mut stream, mut peer) = relay(&publisher, &security).await;
        for viewers in 0..20 {
            say(&mut stream, &mut peer, &encode_feedback(feedback(viewers))).await;
        }

        until("all feedback is heard", || publisher.stats().feedback == 20).await;
        let heard = sink.feedback.lock().clone();
        assert!(
            heard
                .iter()
                .map(|(_, report)| report.demand[0].viewers)
                .eq(0..20)
        );

        say(&mut stream, &mut peer, &encode_clock_probe(99)).await;
        let (topic, body) = next_message(&mut stream, &mut peer.decoder).await;
        let answer = parse_answer(&topic, &body).unwrap();
        assert_eq!((answer.nonce, answer.clock_id), (99, clock::clock_id()));
        assert_eq!(sink.subscriptions.lock().last().unwrap().1, [b"cam/"]);

        drop(stream);
        until("it has gone", || sink.gone.lock().len() == 1).await;
        let stats = publisher.stats();
        assert_eq!((stats.refused, stats.feedback_dropped), (0, 0));
    }
}

#[tokio::test]
async fn malformed_feedback_is_dropped_and_the_next_is_heard() {
    let (publisher, sink) = listening(false);
    let (mut stream, mut peer) = relay(&publisher, &Security::Null).await;
    let mut lie = feedback(66);
    lie.demand[0].stream = "../cam".into();
    let forged = [
        Vec::new(),
        vec![0xff; 9],
        vec![0; 5000],
        encode_feedback(lie),
    ];

    for (dropped, message) in (1..).zip(forged) {
        say(&mut stream, &mut peer, &message).await;
        until("it is dropped", || {
            publisher.stats().feedback_dropped == dropped
        })
        .await;
    }

    say(&mut stream, &mut peer, &encode_feedback(feedback(1))).await;
    until("the good one is heard", || publisher.stats().feedback == 1).await;
    assert_eq!(sink.feedback.lock()[0].1, feedback(1));
    assert_eq!(publisher.stats().refused, 0);
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let (publisher, _) = listening(false);
    let (mut stream, mut peer) = relay(&publisher, &Security::Null).await;
    say(&mut stream, &mut peer, &[0; MAX_UPSTREAM]).await;
    assert!(is_cut_off(stream).await);
    until("it is refused", || publisher.stats().refused == 1).await;
}

#[tokio::test]
async fn who_floods_is_heard_so_often_and_the_others_lose_no_frame() {
    let (publisher, sink) = listening(false);
    let (mut good, mut honest) = relay(&publisher, &Security::Null).await;
    let (flood, mut flooding) = connect(&publisher, &Security::Null).await;
    let (mut reader, mut writer) = flood.into_split();
    let drain = tokio::spawn(async move {
        while reader
            .read(&mut [0; 4096])
            .await
            .is_ok_and(|count| count > 0)
        {}
    });

    let flood = tokio::spawn(async move {
        loop {
            let mut bytes = Vec::new();
            for n in 0..50 {
                bytes.extend(flooding.encoder.upstream(&encode_feedback(feedback(n))));
            }

            bytes.extend(flooding.encoder.upstream(&[0xff; MAX_UPSTREAM - 1]));
            bytes.extend(flooding.encoder.subscribe(status_topic([2; 16]).as_bytes()));

            for _ in 0..50 {
                bytes.extend(flooding.encoder.upstream(&encode_clock_probe(1)));
                bytes.extend(flooding.encoder.subscribe(b"ab"));
                bytes.extend(flooding.encoder.cancel(b"ab"));
            }

            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });

    until("the good one has subscribed", || {
        publisher.stats().subscribers >= 1
    })
    .await;

    let mut ticks = interval(Duration::from_millis(10));
    let start = tokio::time::Instant::now();

    for number in 0..300 {
        ticks.tick().await;
        publisher.publish(TOPIC, numbered(number, 200_000));
        let (_, body) = next_message(&mut good, &mut honest.decoder).await;
        assert_eq!(body[..8], number.to_be_bytes());

        if number % 10 == 0 {
            let report = encode_feedback(feedback(1000 + number as u32));
            say(&mut good, &mut honest, &report).await;
        }
    }

    let spans = start.elapsed().as_secs() + 2;
    let honest = |(_, report): &&(u64, FeedbackReport)| report.demand[0].viewers >= 1000;
    until("the honest one is heard", || {
        sink.feedback.lock().iter().filter(honest).count() == 30
    })
    .await;

    let stats = publisher.stats();
    assert!(
        !flood.is_finished(),
        "the one that floods is contained, not cut off"
    );

    flood.abort();
    drain.abort();
    let flooded = sink.feedback.lock().len() as u64 - 30;
    let most = spans * u64::from(MESSAGES_PER_SECOND);
    assert!(
        (1..=most).contains(&flooded),
        "{flooded} reports in {spans} s"
    );

    assert!(stats.feedback_dropped > 1000, "{stats:?}");
    assert_eq!(stats.refused, 0, "{stats:?}");
}

#[tokio::test]
async fn verdicts_come_with_every_answer_and_the_status_to_who_asks_for_it() {
    for (sealed, security) in [(false, Security::Null), (true, Security::SharedKey(feed()))] {
        let (publisher, sink) = listening(sealed);
        let verdict = Some(Verdict {
            error: 0.25,
            ..Verdict::default()
        });

        let verdict = ViewerVerdict { viewer: 9, verdict };
        *sink.verdicts.lock() = vec![verdict; MAX_VERDICTS + 1];
        *sink.status.lock() = vec![b' '; MAX_STATUS_BYTES];
        let (mut stream, mut peer) = connect(&publisher, &security).await;

        say(&mut stream, &mut peer, &encode_clock_probe(5)).await;
        let (topic, body) = next_message(&mut stream, &mut peer.decoder).await;
        let answer = parse_answer(&topic, &body).unwrap();
        assert_eq!(
            (answer.verdicts.len(), answer.status.len()),
            (MAX_VERDICTS, 0)
        );

        assert_eq!(answer.verdicts[0], verdict);

        let asked = status_topic([2; 16]);
        let subscribe = peer.encoder.subscribe(asked.as_bytes());
        stream.write_all(&subscribe).await.unwrap();
        let (topic, body) = next_message(&mut stream, &mut peer.decoder).await;
        assert_eq!(topic, asked);
        let answer = parse_answer(&topic, &body).unwrap();
        assert_eq!(answer.status.len(), MAX_STATUS_BYTES);

        // One that is too long is not told, and the time is all the same.
        sink.status.lock().push(b' ');
        let subscribe = peer.encoder.subscribe(status_topic([3; 16]).as_bytes());
        stream.write_all(&subscribe).await.unwrap();
        let (_, body) = next_message(&mut stream, &mut peer.decoder).await;
        assert!(body.len() < MAX_STATUS_BYTES);
        assert_eq!(
            publisher.stats().subscribers,
            0,
            "a question is no subscription"
        );
    }
}
