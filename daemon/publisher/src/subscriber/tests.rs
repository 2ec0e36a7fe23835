use fanlight_daemon::testing::stream_sockets;
use fanlight_proto::clock::Time;

use super::super::newest::{Content, Newest};
use super::super::send_queue::{MAX_CAUGHT_UP, MAX_PONGS};
use super::*;

fn message(topic: &'static str, body: &'static str) -> Message {
    Message {
        topic: topic.into(),
        body: body.into(),
    }
}

/// One with these subscriptions, and its end of the connection.
fn subscriber(prefixes: &[&str]) -> (Subscriber, StreamSocket) {
    let (ours, theirs) = stream_sockets();
    let subscriber = Subscriber::new(ours, encoder());

    for prefix in prefixes {
        say(&subscriber, subscription(prefix), &Newest::default());
    }

    (subscriber, theirs)
}

fn subscription(prefix: &str) -> Event {
    Event::Subscribe(Bytes::copy_from_slice(prefix.as_bytes()))
}

/// It says this when `newest` has been published.
fn say(subscriber: &Subscriber, event: Event, newest: &Newest) {
    let mut queue = subscriber.queue();
    queue.on_event(Time::default(), event, newest).unwrap();
}

fn drain(subscriber: &Subscriber) -> Vec<Bytes> {
    let next = || match subscriber.queue().next()? {
        Next::Rest(rest) => Some(rest.body),
        Next::Pong(context) => Some(context),
        Next::Message(message) => Some(message.body),
        Next::Answer(question) => panic!("nobody asked {question:?}"),
    };
    std::iter::from_fn(next).collect()
}

const SENT: Offered = Offered {
    sent: 2,
    dropped: false,
};
const QUEUED: Offered = Offered {
    sent: 0,
    dropped: false,
};
const DROPPED: Offered = Offered {
    sent: 0,
    dropped: true,
};

#[tokio::test]
async fn a_full_queue_drops_the_oldest_of_its_own_topic() {
    let (subscriber, _theirs) = subscriber(&[""]);
    let offered = ["a1", "a2", "a3"].map(|body| subscriber.offer(&message("a/", body), false));
    assert_eq!(offered, [QUEUED, QUEUED, DROPPED]);
    assert_eq!(
        subscriber.offer(&message("b/", "b1"), true),
        QUEUED,
        "there are others before it"
    );

    assert_eq!(subscriber.offer(&message("a/", "a4"), true), DROPPED);
    assert_eq!(drain(&subscriber), ["a3", "b1", "a4"]);
}

#[tokio::test]
async fn only_what_is_subscribed_to_is_queued() {
    let (subscriber, _theirs) = subscriber(&["cam1/", "cam1/"]);
    subscriber.offer(&message("cam10/", "no"), false);
    subscriber.offer(&message("cam1/", "yes"), false);
    assert_eq!(drain(&subscriber), ["yes"]);
    say(
        &subscriber,
        Event::Cancel(Bytes::from_static(b"cam1/")),
        &Newest::default(),
    );

    assert!(subscriber.is_subscribed(), "it had subscribed twice");
    say(
        &subscriber,
        Event::Cancel(Bytes::from_static(b"cam1/")),
        &Newest::default(),
    );

    assert!(!subscriber.is_subscribed());
}

#[tokio::test]
async fn who_subscribes_again_and_again_gets_the_newest_a_bounded_number_of_times() {
    let mut newest = Newest::default();
    newest.put(Time::default(), Content::Frame, message("a/", "frame"));
    let (subscriber, _theirs) = subscriber(&[]);
    let mut caught_up = 0;

    for _ in 0..10 * MAX_CAUGHT_UP {
        say(&subscriber, subscription("a/"), &newest);
        say(&subscriber, subscription(""), &newest);
        caught_up += drain(&subscriber).len();
        for prefix in ["a/", ""] {
            let cancel = Event::Cancel(Bytes::from_static(prefix.as_bytes()));
            say(&subscriber, cancel, &newest);
        }
    }

    assert_eq!(caught_up, MAX_CAUGHT_UP);
}

#[tokio::test]
async fn pongs_are_few_and_come_before_frames() {
    let (subscriber, _theirs) = subscriber(&[""]);
    subscriber.offer(&message("a/", "frame"), false);

    for _ in 0..100 {
        say(
            &subscriber,
            Event::Ping(Bytes::from_static(b"x")),
            &Newest::default(),
        );
    }

    assert!(matches!(subscriber.queue().next(), Some(Next::Pong(context)) if context == "x"));
    assert_eq!(drain(&subscriber).len(), MAX_PONGS - 1 + 1);
}

#[tokio::test]
async fn what_nothing_is_before_is_written_at_once_and_the_task_finds_nothing() {
    let (subscriber, theirs) = subscriber(&["a/"]);
    assert_eq!(
        subscriber.offer(&message("b/", "b1"), true),
        QUEUED,
        "it is not subscribed to"
    );

    assert_eq!(subscriber.offer(&message("a/", "a1"), true), SENT);
    assert_eq!(subscriber.offer(&message("a/", "a2"), true), SENT);
    assert!(drain(&subscriber).is_empty());
    let mut read = [0; 100];
    let count = theirs.read(&mut read).await.unwrap();
    assert_eq!(&read[..count], b"\x01\x02a/\0\x02a1\x01\x02a/\0\x02a2");
}

#[tokio::test]
async fn while_one_writes_the_other_does_not() {
    let (subscriber, _theirs) = subscriber(&[""]);
    subscriber.offer(&message("a/", "a1"), false);
    assert!(
        matches!(subscriber.queue().next(), Some(Next::Message(message)) if message.body == "a1")
    );
    assert_eq!(
        subscriber.offer(&message("a/", "a2"), true),
        QUEUED,
        "the task is writing"
    );

    assert_eq!(drain(&subscriber), ["a2"]);
    subscriber.queue().writer = Writer::Publisher;
    assert_eq!(
        subscriber.offer(&message("a/", "a3"), true),
        QUEUED,
        "another thread is writing"
    );

    assert!(drain(&subscriber).is_empty());
    subscriber.queue().writer = Writer::Nobody;
    assert_eq!(drain(&subscriber), ["a3"]);
}

#[tokio::test]
async fn the_rest_of_what_there_is_no_room_for_is_left_to_the_task_and_goes_first() {
    let (subscriber, theirs) = subscriber(&[""]);
    let picture: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
    let large = Message {
        topic: "a/".into(),
        body: picture.clone().into(),
    };

    let Offered {
        sent,
        dropped: false,
    } = subscriber.offer(&large, true)
    else {
        panic!("it was the first")
    };

    assert!(sent > 0 && sent < picture.len());
    assert_eq!(subscriber.offer(&message("b/", "b1"), true), QUEUED);
    let rest = subscriber.queue().next();

    let Some(Next::Rest(Encoded { prefix, body: rest })) = rest else {
        panic!("a part is to be sent")
    };

    assert_eq!(
        (prefix, drain(&subscriber)),
        (Bytes::new(), vec![Bytes::from_static(b"b1")])
    );

    let mut read = Vec::new();
    while read.len() < 2 + 2 + 9 + sent {
        theirs.read_onto(&mut read, 1 << 20).await.unwrap();
    }

    read.extend_from_slice(&rest);
    assert!(read[2 + 2 + 9..] == picture);
}

#[tokio::test]
async fn a_connection_that_is_gone_is_for_the_task_to_find() {
    let (subscriber, theirs) = subscriber(&[""]);
    drop(theirs);
    assert_eq!(subscriber.offer(&message("a/", "a1"), true), QUEUED);
    assert_eq!(drain(&subscriber), ["a1"]);
}

/// Of a connection in the clear.
fn encoder() -> Encoder {
    let theirs = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL";
    let mut handshake = Handshake::publisher(Arc::new(AcceptedSecurity::null()), [0; 32]);
    handshake.buffer().extend_from_slice(theirs);
    handshake.buffer().resize(64, 0);
    handshake
        .buffer()
        .extend_from_slice(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03SUB");
    handshake
        .advance()
        .unwrap()
        .expect("the handshake is whole")
        .encoder
}
