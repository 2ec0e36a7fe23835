//! What a source is told, through the ZeroMQ library.

use fanlight_proto::envelope::{FeedbackOpener, Sealer, plain_answer};
use fanlight_proto::message::{
    Answer, Demand, Detection, FeedbackReport, Verdict, ViewerReport, ViewerVerdict,
};

use super::feed::short_message;
use super::*;

const CHALLENGE: [u8; 16] = [6; 16];

/// What a source reads.
#[derive(Debug)]
enum Heard {
    Question(String),
    Feedback(Vec<u8>),
}

/// Reads subscriptions from `stream` until it ends.
fn read(mut stream: TcpStream) -> mpsc::Receiver<Heard> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        while let Some((flags, body)) = read_frame(&mut stream) {
            let heard = match &body[..] {
                [1, topic @ ..] if flags & 4 == 0 && topic.starts_with(b"?") => {
                    Heard::Question(String::from_utf8(topic.to_vec()).unwrap())
                }
                [1, topic @ ..] if flags & 4 == 0 && topic.starts_with(b"!") => {
                    Heard::Feedback(topic.to_vec())
                }
                _ => continue,
            };
            if tell.send(heard).is_err() {
                return;
            }
        }
    });
    told
}

fn read_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut flags = [0];
    stream.read_exact(&mut flags).ok()?;
    let mut length = [0; 8];
    let from = if flags[0] & 2 == 0 { 7 } else { 0 };
    stream.read_exact(&mut length[from..]).ok()?;
    let mut body = vec![0; usize::try_from(u64::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((flags[0], body))
}

/// A source that tells `answer` to each question, publishes heartbeats, and passes on the topics of feedback with the
/// number of their connection. The first connection ends after `feedback` of them.
fn source(
    answer: impl Fn(&str) -> Bytes + Send + 'static,
    feedback: usize,
) -> (String, mpsc::Receiver<(usize, Vec<u8>)>) {
    let (tell, told) = mpsc::channel();
    let (endpoint, connections) = fake(move |count, mut stream| {
        greet(&stream);
        let heard = read(stream.try_clone().unwrap());
        let mut number = 0;
        let mut left = if count == 0 { feedback } else { usize::MAX };
        while left > 0 {
            let said = match heard.recv_timeout(Duration::from_millis(20)) {
                Ok(Heard::Question(topic)) => short_message(topic.as_bytes(), &answer(&topic)),
                Ok(Heard::Feedback(topic)) => {
                    left -= 1;
                    let _ = tell.send((count, topic));
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    number += 1;
                    message(b"cam/", &heartbeat("cam", 1, number))
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            if stream.write_all(&said).is_err() {
                return;
            }
        }
    });
    // It goes on telling of connections to nobody, and so the receiver has to live.
    std::mem::forget(connections);
    (endpoint, told)
}

fn answer() -> Answer {
    Answer {
        clock_id: 99,
        challenge: CHALLENGE.to_vec(),
        ..Answer::default()
    }
}

fn feedback(viewers: u32) -> FeedbackReport {
    let demand = vec![Demand {
        stream: "cam".into(),
        viewers,
        clients: 0,
    }];
    FeedbackReport {
        relay: 7,
        demand,
        ..FeedbackReport::default()
    }
}

fn viewers(feedback: &FeedbackReport) -> u32 {
    feedback.demand[0].viewers
}

#[tokio::test]
async fn a_word_is_said_sealed_or_not_and_numbered() {
    for sealed in [false, true] {
        let sealer = || sealed.then(|| Sealer::new(&FeedKey::new([7; 32]), [1; 16]));
        let answerer = sealer();
        let answered = move |topic: &str| match &answerer {
            Some(sealer) => sealer.answer(topic.as_bytes(), answer()),
            None => plain_answer(&answer()),
        };
        let (endpoint, told) = source(answered, usize::MAX);
        let subscription = if sealed {
            Subscription::sealed(&endpoint)
        } else {
            Subscription::to(&endpoint)
        };
        let mut listener = FeedbackOpener::new(sealer().as_ref(), CHALLENGE);
        for round in 0..20 {
            // Long ones too.
            let seen = (0..round * 5).map(|n| ViewerReport {
                stream: "cam".into(),
                viewer: n + 1,
                ..ViewerReport::default()
            });
            subscription.outbox.put(FeedbackReport {
                viewers: seen.collect(),
                ..feedback(round as u32)
            });
            let (_, topic) = told.recv_timeout(DEADLINE).expect("the feedback comes");
            let heard = listener.hear(&topic).unwrap();
            assert_eq!(
                (viewers(&heard), heard.sequence, heard.relay),
                (round as u32, round + 1, 7)
            );
        }
    }
}

#[tokio::test]
async fn a_source_that_has_not_asked_for_words_is_told_none() {
    // One of an older version answers without a challenge, one of another make does not answer.
    let (older, told_older) = source(
        |_| {
            plain_answer(&Answer {
                challenge: Vec::new(),
                ..answer()
            })
        },
        usize::MAX,
    );
    let subscription = Subscription::to(&older);
    subscription.outbox.put(feedback(1));
    for _ in 0..3 {
        subscription.next_clock().await;
        subscription.outbox.put(feedback(1));
    }
    subscription.next().await;
    assert!(told_older.try_recv().is_err());
    let mut publisher = PubSocket::new();
    let bound = publisher
        .bind("tcp://127.0.0.1:0")
        .await
        .unwrap()
        .to_string();
    let subscription = Subscription::to(&bound);
    subscription.outbox.put(feedback(1));
    let frames = async {
        for _ in 0..50 {
            subscription.next().await;
        }
    };
    tokio::select! {
        () = frames => {}
        never = publish_forever(&mut publisher, "cam/", |n| frame("cam", 9, n, 1000)) => match never {},
    }
    assert!(
        subscription.outbox.put(feedback(2)).is_some(),
        "the first waits still"
    );
}

#[tokio::test]
async fn who_watches_is_told_again_on_a_new_connection_and_nothing_else() {
    let (endpoint, told) = source(|_| plain_answer(&answer()), 1);
    let subscription = Subscription::to(&endpoint);
    let reports = vec![ViewerReport {
        stream: "cam".into(),
        viewer: 1,
        ..ViewerReport::default()
    }];
    subscription.outbox.put(FeedbackReport {
        viewers: reports,
        ..feedback(5)
    });
    let (first, _) = told.recv_timeout(DEADLINE).unwrap();
    let (second, topic) = told.recv_timeout(DEADLINE).unwrap();
    let heard = FeedbackOpener::new(None, CHALLENGE).hear(&topic).unwrap();
    assert_eq!(
        (
            first,
            second,
            viewers(&heard),
            heard.viewers.len(),
            heard.sequence
        ),
        (0, 1, 5, 0, 1)
    );
}

#[tokio::test]
async fn verdicts_come_with_the_answers_and_sooner_while_detections_flow() {
    let verdict = ViewerVerdict {
        viewer: 4,
        verdict: Some(Verdict {
            error: 0.5,
            ..Verdict::default()
        }),
    };
    let (endpoint, told) = source(
        move |_| {
            plain_answer(&Answer {
                verdicts: vec![verdict],
                ..answer()
            })
        },
        usize::MAX,
    );
    let subscription = Subscription::to(&endpoint);
    let next = async || subscription.wait_for(|feed| feed.next_verdicts()).await;
    // After the quick questions it is asked once a second; with detections, twice.
    for _ in 0..9 {
        assert_eq!(timeout(DEADLINE, next()).await.unwrap(), (0, vec![verdict]));
    }
    let start = clock::now();
    for _ in 0..3 {
        let detections = vec![Detection {
            epoch: 1,
            ..Detection::default()
        }];
        let reports = vec![ViewerReport {
            stream: "cam".into(),
            viewer: 4,
            screen: 1,
            detections,
            ..ViewerReport::default()
        }];
        subscription.outbox.put(FeedbackReport {
            viewers: reports,
            ..feedback(1)
        });
        told.recv_timeout(DEADLINE).unwrap();
        timeout(DEADLINE, next()).await.unwrap();
    }
    let took = clock::now().saturating_since(start);
    assert!(took < Duration::from_millis(2500), "{took:?}");
}
