//! What is asked of a source, and what its seal is good for, through the ZeroMQ library.

use fanlight_proto::envelope::{Sealer, plain_answer};
use fanlight_proto::message::Answer;

use super::*;

/// The topics of the questions that come on `stream`, until it ends.
fn questions(mut stream: TcpStream) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut header = [0; 2];
        while stream.read_exact(&mut header).is_ok() {
            let mut body = vec![0; header[1].into()];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let question = body
                .strip_prefix(&[1])
                .filter(|topic| topic.starts_with(b"?"));
            if question.is_some_and(|topic| {
                tell.send(String::from_utf8(topic.to_vec()).unwrap())
                    .is_err()
            }) {
                return;
            }
        }
    });
    told
}

/// A source that gives each question to `answer` and each 10 ms publishes what `next` makes.
fn answering(
    mut stream: &TcpStream,
    answer: impl Fn(&str) -> Option<Bytes>,
    mut next: impl FnMut(u64) -> Option<Bytes>,
) {
    greet(stream);
    let questions = questions(stream.try_clone().unwrap());
    let mut number = 0;
    loop {
        let said = match questions.recv_timeout(Duration::from_millis(10)) {
            Ok(topic) => answer(&topic).map(|body| short_message(topic.as_bytes(), &body)),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                number += 1;
                next(number).map(|body| message(b"cam/", &body))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        if said.is_some_and(|bytes| stream.write_all(&bytes).is_err()) {
            return;
        }
    }
}

pub(super) fn short_message(topic: &[u8], body: &[u8]) -> Vec<u8> {
    [
        &[1, u8::try_from(topic.len()).unwrap()],
        topic,
        &[0, u8::try_from(body.len()).unwrap()],
        body,
    ]
    .concat()
}

fn sealed_frame(sealer: &Sealer, number: u64) -> Bytes {
    FrameBuffer::with_capacity(0).seal(header("cam", 1, number), b"cam/", sealer)
}

/// Large messages go past the library, and small ones through it. One that was overtaken would be refused.
#[tokio::test]
async fn sealed_messages_are_taken_in_their_order_whatever_their_size() {
    const COUNT: u64 = 200;
    let (endpoint, _connections) = fake(|count, mut stream| {
        if count > 0 {
            return wait_for_end(&stream);
        }
        greet(&stream);
        let sealer = Sealer::new(&FeedKey::new([7; 32]), [1; 16]);
        let questions = questions(stream.try_clone().unwrap());
        let Ok(topic) = questions.recv_timeout(DEADLINE) else {
            return;
        };
        let mut said = short_message(
            topic.as_bytes(),
            &sealer.answer(topic.as_bytes(), answer_of(99)),
        );
        for number in 0..COUNT {
            let (jpeg, header) = picture(
                "cam",
                1,
                number,
                if number % 3 == 1 { 100_000 } else { 1_000 },
            );
            said.extend(message(
                b"cam/",
                &FrameBuffer::copy_of(&jpeg).seal(header, b"cam/", &sealer),
            ));
        }
        let _ = stream.write_all(&said);
        wait_for_end(&stream);
    });
    let subscription = Subscription::sealed(&endpoint);
    let mut heard = 0;
    while heard < COUNT {
        let arrival = subscription.next().await;
        heard += 1 + arrival.superseded + arrival.unwatched;
    }
    assert_eq!(heard, COUNT);
}

const AHEAD: Duration = Duration::from_secs(123_456);

fn answer_of(clock_id: u64) -> Answer {
    Answer {
        clock_ns: (clock::now() + AHEAD).as_nanos(),
        clock_id,
        ..Answer::default()
    }
}

#[tokio::test]
async fn the_clock_of_a_source_on_another_host_is_known_within_a_millisecond() {
    let (endpoint, _connections) = fake(|_, stream| {
        answering(
            &stream,
            |_| Some(plain_answer(&answer_of(99))),
            |n| Some(frame("cam", 1, n, 100_000)),
        );
    });
    let subscription = Subscription::to(&endpoint);
    let mut best = subscription.next_clock().await;
    for _ in 0..7 {
        let clock = subscription.next_clock().await;
        let wrong = clock
            .offset_ns
            .abs_diff(i64::try_from(AHEAD.as_nanos()).unwrap());
        eprintln!("wrong by {wrong} ns, error {} us", clock.error_us);
        assert_eq!(clock.clock_id, 99);
        assert!(wrong <= u64::from(clock.error_us) * 1000, "{clock:?}");
        best = if clock.error_us < best.error_us {
            clock
        } else {
            best
        };
    }
    assert!(best.error_us <= 1000, "{best:?}");
    assert_eq!(subscription.next().await.frame.stream.as_str(), "cam");
}

#[tokio::test]
async fn a_source_that_answers_nothing_is_heard_all_the_same_and_has_our_clock_if_it_says_so() {
    let own = clock::clock_id();
    let (endpoint, _connections) = fake(move |_, stream| {
        let said = |n| {
            FrameBuffer::with_capacity(0).finish(FrameHeader {
                clock_id: own,
                ..header("cam", 1, n)
            })
        };
        answering(&stream, |_| None, |n| Some(said(n)));
    });
    let subscription = Subscription::to(&endpoint);
    subscription.next().await;
    assert_eq!(
        subscription.next_clock().await,
        SourceClock {
            clock_id: own,
            offset_ns: 0,
            error_us: 0
        }
    );
}

#[tokio::test]
async fn a_sealed_source_is_heard_as_soon_as_it_has_answered() {
    let (endpoint, _connections) = fake(|_, stream| {
        let sealer = Sealer::new(&FeedKey::new([7; 32]), [1; 16]);
        answering(
            &stream,
            |topic| Some(sealer.answer(topic.as_bytes(), answer_of(99))),
            |n| Some(sealed_frame(&sealer, n)),
        );
    });
    let subscription = Subscription::sealed(&endpoint);
    let first = subscription.next().await.frame.id.number;
    assert!(subscription.next().await.frame.id.number > first);
    assert_eq!(subscription.next_clock().await.clock_id, 99);
}

#[tokio::test]
async fn who_plays_a_recording_is_aborted_and_nothing_of_it_is_heard() {
    let sealer = Sealer::new(&FeedKey::new([7; 32]), [1; 16]);
    let recorded_answer = sealer.answer(b"?", answer_of(99));
    let recording: Vec<_> = (0..50).map(|n| sealed_frame(&sealer, n)).collect();
    let (endpoint, connections) = fake(move |_, stream| {
        answering(
            &stream,
            |_| Some(recorded_answer.clone()),
            |n| recording.get(n as usize % 50).cloned(),
        );
    });
    let subscription = Subscription::sealed(&endpoint);
    assert!(subscription.hears_nothing(connections).await);
    assert_eq!(subscription.feed.lock().unwrap().next_clock(), None);
}

#[tokio::test]
async fn a_source_with_another_key_or_none_is_not_heard() {
    let (endpoint, connections) = fake(|_, stream| {
        let sealer = Sealer::new(&FeedKey::new([8; 32]), [1; 16]);
        answering(
            &stream,
            |topic| Some(sealer.answer(topic.as_bytes(), answer_of(99))),
            |n| Some(sealed_frame(&sealer, n)),
        );
    });
    let other = Subscription::sealed(&endpoint)
        .hears_nothing(connections)
        .await;
    let (endpoint, connections) = fake(|_, stream| {
        answering(
            &stream,
            |_| Some(plain_answer(&answer_of(99))),
            |n| Some(heartbeat("cam", 1, n)),
        );
    });
    let none = Subscription::sealed(&endpoint)
        .hears_nothing(connections)
        .await;
    assert!(other && none);
}

#[tokio::test]
async fn sealed_frames_are_not_taken_without_a_key() {
    let (endpoint, _connections) = fake(|_, stream| {
        let sealer = Sealer::new(&FeedKey::new([7; 32]), [1; 16]);
        let either = |n: u64| {
            if n.is_multiple_of(2) {
                heartbeat("cam", 1, n)
            } else {
                sealed_frame(&sealer, n)
            }
        };
        answering(
            &stream,
            |topic| Some(sealer.answer(topic.as_bytes(), answer_of(99))),
            |n| Some(either(n)),
        );
    });
    let subscription = Subscription::to(&endpoint);
    for _ in 0..5 {
        assert_eq!(subscription.next().await.frame.id.number % 2, 0);
    }
    assert_eq!(
        subscription.feed.lock().unwrap().next_clock(),
        None,
        "nor is its answer"
    );
}
