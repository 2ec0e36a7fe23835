//! What a relay and a source say to each other beside frames, with a source that speaks the codec.

use std::os::fd::AsFd as _;

use fanlight_daemon::feed_connection::{Connection, ConnectionError};
use fanlight_proto::feed::{ANSWER_TOPIC, FromRelay, encode_answer, parse_to_source};
use fanlight_proto::message::{
    Answer, Demand, FeedbackReport, Verdict, ViewerReport, ViewerVerdict,
};
use fanlight_proto::zmtp::{AcceptedSecurity, Event};

use super::*;

const AHEAD: Duration = Duration::from_secs(123_456);

fn answer_of(clock_id: u64) -> Answer {
    Answer {
        clock_ns: (clock::now() + AHEAD).as_nanos(),
        clock_id,
        ..Answer::default()
    }
}

fn accept_all() -> AcceptedSecurity {
    AcceptedSecurity::null()
}

fn accept_key(byte: u8) -> AcceptedSecurity {
    let shared_key = Some(FeedKey::new([byte; 32]));
    AcceptedSecurity {
        shared_key,
        ..AcceptedSecurity::default()
    }
}

/// A source that answers probes by `answer`, publishes each 10 ms what `next` makes, and tells the feedback that comes,
/// with the number of its connection. The first connection ends after `reports` of them.
fn source(
    security: AcceptedSecurity,
    reports: usize,
    answer: impl Fn() -> Option<Answer> + Send + 'static,
    next: impl Fn(u64) -> Bytes + Send + 'static,
) -> (
    String,
    mpsc::Receiver<(usize, FeedbackReport)>,
    mpsc::Receiver<usize>,
) {
    let security = Arc::new(security);
    let (tell, told) = mpsc::channel();
    let (endpoint, connections) = fake(move |count, stream| {
        let left = if count == 0 { reports } else { usize::MAX };
        let shutdown = Shutdown::new();
        let Ok(connection) = Connection::accept(stream, Arc::clone(&security), &shutdown) else {
            return;
        };

        let tell = |report| drop(tell.send((count, report)));
        // An error is the relay that left.
        let _ = serve(connection, left, &answer, &next, tell);
    });

    (endpoint, told, connections)
}

fn serve(
    mut connection: Connection,
    mut left: usize,
    answer: impl Fn() -> Option<Answer>,
    next: impl Fn(u64) -> Bytes,
    tell: impl Fn(FeedbackReport),
) -> Result<(), ConnectionError> {
    let shutdown = Shutdown::new();
    let publish = |connection: &mut Connection, topic: &[u8], body: Bytes| {
        let deadline = clock::now() + DEADLINE;
        let mut rest = Bytes::new();
        let first = |encoder: &mut fanlight_proto::zmtp::Encoder| {
            let encoded = encoder.message(topic, body);
            rest = encoded.body;
            encoded.prefix
        };

        connection.send(first, deadline, &shutdown)?;
        connection.send(|_| rest, deadline, &shutdown)
    };

    let mut number = 0;
    let mut due = clock::now();

    while left > 0 {
        match connection.next()? {
            Some(Event::Upstream(message)) => match parse_to_source(&message).unwrap() {
                FromRelay::Feedback(report) => {
                    left -= 1;
                    tell(report);
                }
                FromRelay::ClockProbe(nonce) => {
                    if let Some(answer) = answer() {
                        let body = encode_answer(&Answer { nonce, ..answer });
                        publish(&mut connection, ANSWER_TOPIC, body)?;
                    }
                }
                FromRelay::Refused(_) | FromRelay::Controls(_) => {}
            },
            Some(_) => {}
            None if clock::now() >= due => {
                due = clock::now() + Duration::from_millis(10);
                number += 1;
                publish(&mut connection, b"cam/", next(number))?;
            }
            None => connection.wait(None, due, &Shutdown::new())?,
        }
    }

    Ok(())
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

#[tokio::test]
async fn the_clock_of_a_source_on_another_host_is_known_within_a_millisecond() {
    let answer = || Some(answer_of(99));
    let (endpoint, _told, _connections) = source(accept_all(), usize::MAX, answer, |n| {
        frame("cam", 1, n, 100_000)
    });
    let subscription = Subscription::to(&endpoint);
    let mut best = subscription.next_clock().await;

    for _ in 0..7 {
        let clock = subscription.next_clock().await;
        let ahead = i64::try_from(AHEAD.as_nanos()).unwrap();
        let wrong = clock.offset_ns.abs_diff(ahead);
        assert_eq!(clock.clock_id, 99);
        assert!(wrong <= u64::from(clock.error_us) * 1000, "{clock:?}");
        best = if clock.error_us < best.error_us {
            clock
        } else {
            best
        };
    }

    println!("the best is wrong by {} us at most", best.error_us);
    assert_eq!(subscription.next().await.frame.stream.as_str(), "cam");
}

#[tokio::test]
async fn a_source_that_answers_nothing_is_heard_all_the_same_and_has_our_clock_if_it_says_so() {
    let own = clock::clock_id();
    let said = move |n| {
        let header = FrameHeader {
            clock_id: own,
            ..header("cam", 1, n)
        };
        FrameBuffer::with_capacity(0).finish(header)
    };

    let (endpoint, _told, _connections) = source(accept_all(), usize::MAX, || None, said);
    let subscription = Subscription::to(&endpoint);
    subscription.next().await;
    let expected = SourceClock {
        clock_id: own,
        offset_ns: 0,
        error_us: 0,
    };

    assert_eq!(subscription.next_clock().await, expected);
}

#[tokio::test]
async fn a_sealed_source_is_heard_in_order_and_answers() {
    let answer = || Some(answer_of(99));
    let next = |n| frame("cam", 1, n, if n % 3 == 1 { 200_000 } else { 1000 });
    let (endpoint, _told, _connections) = source(accept_key(7), usize::MAX, answer, next);
    let subscription = Subscription::sealed(&endpoint);
    let mut last = 0;

    for _ in 0..30 {
        let number = subscription.next().await.frame.id.number;
        assert!(number > last, "{number} after {last}");
        last = number;
    }

    assert_eq!(subscription.next_clock().await.clock_id, 99);
}

#[tokio::test]
async fn a_source_with_another_key_or_none_is_not_heard_nor_one_with_a_key_without_ours() {
    let next = |n| heartbeat("cam", 1, n);
    for accepted in [accept_key(8), accept_all()] {
        let (endpoint, _told, connections) = source(accepted, usize::MAX, || None, next);
        assert!(
            Subscription::sealed(&endpoint)
                .hears_nothing(connections)
                .await
        );
    }

    let (endpoint, _told, connections) = source(accept_key(7), usize::MAX, || None, next);
    assert!(Subscription::to(&endpoint).hears_nothing(connections).await);
}

#[tokio::test]
async fn feedback_comes_sealed_or_not_and_numbered() {
    for sealed in [false, true] {
        let accepted = if sealed { accept_key(7) } else { accept_all() };
        let (endpoint, told, _connections) =
            source(accepted, usize::MAX, || None, |n| heartbeat("cam", 1, n));
        let subscription = if sealed {
            Subscription::sealed(&endpoint)
        } else {
            Subscription::to(&endpoint)
        };

        for round in 0..20 {
            // Long ones too.
            let viewers = (0..round * 5).map(|n| ViewerReport {
                stream: "cam".into(),
                viewer: n + 1,
                ..ViewerReport::default()
            });

            let report = FeedbackReport {
                viewers: viewers.collect(),
                ..feedback(round as u32)
            };

            subscription.feedback.put(report.clone());
            let (_, heard) = told.recv_timeout(DEADLINE).expect("the feedback comes");
            assert_eq!(
                heard,
                FeedbackReport {
                    sequence: round + 1,
                    ..report
                }
            );
        }
    }
}

#[tokio::test]
async fn a_plain_publisher_is_told_nothing() {
    let mut publisher = PubSocket::new();
    let bound = publisher
        .bind("tcp://127.0.0.1:0")
        .await
        .unwrap()
        .to_string();

    let subscription = Subscription::to(&bound);
    subscription.feedback.put(feedback(1));
    let frames = async {
        for _ in 0..50 {
            subscription.next().await;
        }
    };

    tokio::select! {
        () = frames => {}
        never = publish_forever(&mut publisher, "cam/", |n| frame("cam", 9, n, 1000)) => match never {},
    }

    let waiting = subscription.feedback.put(feedback(2));
    assert!(waiting.is_some(), "the first waits still");
}

#[tokio::test]
async fn who_watches_is_told_again_on_a_new_connection_and_nothing_else() {
    let (endpoint, told, _connections) =
        source(accept_all(), 1, || None, |n| heartbeat("cam", 1, n));
    let subscription = Subscription::to(&endpoint);
    let viewers = vec![ViewerReport {
        stream: "cam".into(),
        viewer: 1,
        ..ViewerReport::default()
    }];

    subscription.feedback.put(FeedbackReport {
        viewers,
        ..feedback(5)
    });

    let (first, _) = told.recv_timeout(DEADLINE).unwrap();
    let (second, heard) = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!((first, second), (0, 1));
    assert_eq!(
        heard,
        FeedbackReport {
            sequence: 1,
            ..feedback(5)
        }
    );
}

#[tokio::test]
async fn verdicts_come_with_the_answers_and_sooner_while_detections_flow() {
    let verdict = Some(Verdict {
        error: 0.5,
        ..Verdict::default()
    });

    let verdict = ViewerVerdict { viewer: 4, verdict };
    let answer = move || {
        Some(Answer {
            verdicts: vec![verdict],
            ..answer_of(99)
        })
    };

    let (endpoint, told, _connections) =
        source(accept_all(), usize::MAX, answer, |n| heartbeat("cam", 1, n));
    let subscription = Subscription::to(&endpoint);
    let next = async || subscription.wait_for(|feed| feed.next_verdicts()).await;
    // After the quick probes there is one a second; with detections, two.
    for _ in 0..9 {
        assert_eq!(next().await, (0, vec![verdict]));
    }

    for _ in 0..3 {
        let viewers = vec![ViewerReport {
            stream: "cam".into(),
            viewer: 4,
            screen: 1,
            detections: vec![Bytes::new()],
            ..ViewerReport::default()
        }];

        subscription.feedback.put(FeedbackReport {
            viewers,
            ..feedback(1)
        });

        told.recv_timeout(DEADLINE).unwrap();
        assert_eq!(next().await, (0, vec![verdict]));
    }
}

#[test]
fn the_feedback_queue_wakes_by_its_descriptor() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let queue = FeedbackQueue::new().unwrap();
    let is_readable = || {
        let mut awaited = [PollFd::from_borrowed_fd(queue.as_fd(), PollFlags::IN)];
        poll(
            &mut awaited,
            Some(&Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .unwrap()
            == 1
    };

    assert!(!is_readable());
    queue.put(feedback(1));
    queue.put(feedback(2));
    assert!(is_readable());
    assert_eq!(queue.take(), Some(feedback(2)));
    assert!(!is_readable());
}
