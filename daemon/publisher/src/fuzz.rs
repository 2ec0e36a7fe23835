//! The fuzz target of what subscribers say.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use fanlight_daemon::stream_socket::StreamSocket;
use fanlight_proto::clock::Time;
use fanlight_proto::feed::{MAX_FEEDBACK_DETECTIONS, MAX_REFUSED_STREAMS, MAX_VIEWER_REPORTS};
use fanlight_proto::message::{FeedbackReport, RefusedStreams, ViewerVerdict};
use fanlight_proto::zmtp::{AcceptedSecurity, Handshake, MAX_TOPIC, Security};
use tokio::runtime::{Builder, Runtime};

use super::answers::Answerer;
use super::send_queue::MAX_SUBSCRIPTIONS;
use super::{FeedbackSink, Hub, subscriber};

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        Builder::new_current_thread().enable_all().build().expect("there are descriptors left")
    );
}

/// What a peer says, by a socket: with an odd first byte after a good handshake. What the source is told obeys every bound, all
/// that the peer gets can be read, and nothing of it stays when it has gone.
///
/// # Panics
/// When something is wrong with the program.
pub fn publisher(bytes: &[u8]) {
    let Some((choice, said)) = bytes.split_first() else {
        return;
    };

    let (ours, mut theirs) = UnixStream::pair().expect("there are descriptors left");
    let begun = choice & 1 == 1;
    if begun {
        theirs.write_all(&greeting()).expect("there is room");
    }
    // What does not fit at once is left out.
    theirs.set_nonblocking(true).expect("every socket can");
    let _ = theirs.write(said);
    theirs.shutdown(Shutdown::Write).expect("it is connected");

    let hub = Hub::new(Answerer::new(Arc::new(Bounds)), AcceptedSecurity::null());
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            ours.set_nonblocking(true).expect("every socket can");
            let socket = StreamSocket::new(ours).expect("there is room to watch it");
            let place = hub.places.enter(None);
            subscriber::serve(socket, "fuzz", &place, &hub).await;
        });
    });

    assert!(hub.subscribers().is_empty() && hub.places.count() == 0);
    let mut answers = Vec::new();
    // An error is one of the connection, which ended with words unread.
    let _ = theirs.read_to_end(&mut answers);
    if begun {
        read_answers(&answers);
    }
}

/// Greeting and READY of a subscriber.
fn greeting() -> Vec<u8> {
    let mut subscriber = Handshake::subscriber(&Security::Null, [1; 32]);
    let mut publisher = Handshake::publisher(Arc::new(AcceptedSecurity::null()), [1; 32]);
    let mut said = Vec::new();

    loop {
        let established = subscriber.advance().expect("both speak ZMTP");
        let words = subscriber.output();
        said.extend_from_slice(&words);
        if established.is_some() {
            return said;
        }
        publisher.buffer().extend_from_slice(&words);
        publisher.advance().expect("both speak ZMTP");
        subscriber.buffer().extend_from_slice(&publisher.output());
    }
}

fn read_answers(answers: &[u8]) {
    let mut handshake = Handshake::subscriber(&Security::Null, [1; 32]);
    handshake.buffer().extend_from_slice(answers);
    let established = handshake.advance().expect("a publisher speaks ZMTP");
    let Some(mut established) = established else {
        return;
    };
    while established
        .decoder
        .next()
        .expect("a publisher speaks ZMTP")
        .is_some()
    {}
}

/// Takes what relays say, if it obeys every bound.
#[derive(Debug)]
struct Bounds;

impl FeedbackSink for Bounds {
    fn on_subscriptions(&self, _: Time, _: u64, topics: &[Vec<u8>]) {
        assert!(topics.len() <= MAX_SUBSCRIPTIONS);
        assert!(topics.iter().all(|topic| topic.len() <= MAX_TOPIC));
    }

    fn on_feedback(&self, _: Time, _: u64, feedback: FeedbackReport) {
        assert!(feedback.viewers.len() <= MAX_VIEWER_REPORTS);
        let detections = feedback
            .viewers
            .iter()
            .map(|viewer| viewer.detections.len());
        assert!(detections.sum::<usize>() <= MAX_FEEDBACK_DETECTIONS);
    }

    fn on_refused(&self, _: Time, _: u64, refused: RefusedStreams) {
        assert!(refused.streams.len() <= MAX_REFUSED_STREAMS);
    }

    fn on_gone(&self, _: Time, _: u64) {}

    fn verdicts(&self, _: Time, _: u64) -> Vec<ViewerVerdict> {
        Vec::new()
    }

    fn status(&self, _: Time) -> Vec<u8> {
        b"{}".to_vec()
    }
}

#[cfg(test)]
#[test]
fn every_conversation_of_subscribers_of_the_corpus_is_survived() {
    fanlight_daemon::testing::replay_corpus("publisher", publisher);
}
