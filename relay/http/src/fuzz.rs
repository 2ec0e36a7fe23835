//! The fuzz targets of HTTP: bytes of a connection, and messages of a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::Message;
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::access::{AccessMode, Authorizer, Grant, Role, TokenFiles};
use fanlight_live::ledger::ConnectionLimits;
use fanlight_live::{Output, StreamTable};
use fanlight_proto::datagram::ToViewer;
use fanlight_proto::frame_message::FrameMessage;
use fanlight_proto::limits::SOURCE_STALE;
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, State, parse_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Builder;

use crate::gateway::{ConnectionHandler, Peer};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::testing::settings;
use crate::ws::{MAX_SUBSCRIPTIONS, Session};
use crate::{AppState, router};

/// How often a connection may go on before it is dropped, as at the end of a relay.
const TURNS: usize = 64;

/// What may be sent to a client at once.
const SENDS: usize = 8;

const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// What a client sends, to a relay whose access the first byte chooses: it is answered by HTTP or not at all, and nothing
/// fails in a way that has no name.
///
/// # Panics
/// When something is wrong with the program.
pub fn http(bytes: &[u8]) {
    let Some((choice, said)) = bytes.split_first() else {
        return;
    };

    let access = match choice % 3 {
        0 => AccessMode::Open,
        1 => AccessMode::Loopback,
        _ => AccessMode::Token,
    };
    // In the order in which they are needed: no task of another run is left over.
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O takes nothing from the system");
    let answers = runtime.block_on(converse(app(access), said));
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."));
    let failed = b"HTTP/1.1 500 ";
    assert!(answers.windows(failed.len()).all(|answer| answer != failed));
}

/// A relay with one stream, `cam`, that has a picture.
fn app(access: AccessMode) -> Arc<AppState> {
    let settings = Settings {
        access,
        basic_plain: true,
        ..settings()
    };

    let header = FrameHeader {
        stream: "cam".into(),
        epoch: 1,
        width: 64,
        height: 48,
        format: Format::Jpeg.into(),
        state: State::Live.into(),
        ..FrameHeader::default()
    };
    let body = FrameBuffer::copy_of(&[0xff, 0xd8, 0xff, 0xd9]).finish(header);
    let frame = parse_frame(b"cam/", body.clone(), 1 << 16).expect("a good frame");
    let table = StreamTable::new(SOURCE_STALE);
    let published = table.publish(0, frame, body, clock::now());
    published.expect("there is room for a stream");

    Arc::new(AppState {
        output: Output::new(table),
        metrics: Metrics::new(),
        problems: tokio::sync::broadcast::Sender::new(1),
        scenes: crate::scenes::Scenes::load(None),
        history: crate::history::History::new(None),
        site: crate::site::Site::load(settings.peers.clone()).expect("nothing is read"),
        authorizer: Authorizer::load(settings.access, TokenFiles::default())
            .expect("no files are read"),
        settings,
        address: SocketAddr::from(([127, 0, 0, 1], 8080)),
        started: clock::now(),
        shutdown: Shutdown::new(),
    })
}

async fn converse(app: Arc<AppState>, said: &[u8]) -> Vec<u8> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let limits = ConnectionLimits::new(1, 1, &[], app.table().refusals().clone());
    let permit = limits.admit(clock::now(), CLIENT).expect("it is the first");
    let peer = Peer {
        address: CLIENT,
        local: app.address.ip(),
        secure: false,
        _permit: Arc::new(permit),
    };

    let handler = ConnectionHandler {
        router: router::router(Arc::clone(&app)),
        app,
        acceptor: None,
    };

    let serving = tokio::spawn(handler.serve(ours, peer));
    let _ = theirs.write_all(&said[..said.len().min(1 << 16)]).await;
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }

    let mut answers = vec![0; 1 << 16];
    let read = tokio::select! {
        biased;
        read = theirs.read(&mut answers) => read.unwrap_or_default(),
        () = tokio::task::yield_now() => 0,
    };
    answers.truncate(read);
    serving.abort();
    answers
}

/// Messages of a WebSocket, each with a byte for its kind and two for its length: subscriptions and answers are bounded, and a
/// viewer is told nothing that it cannot read.
///
/// # Panics
/// When something is wrong with the program.
pub fn websocket(mut bytes: &[u8]) {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without I/O takes nothing from the system");
    let _entered = runtime.enter();
    let grant = Grant::unlimited(Role::Admin);
    let mut session = Session::new(app(AccessMode::Open), grant, CLIENT);

    while let [kind, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (content, rest) = rest.split_at(length.min(rest.len()));
        bytes = rest;
        let message = if kind & 1 == 0 {
            Message::Text(String::from_utf8_lossy(content).as_ref().into())
        } else {
            Message::Binary(content.to_vec().into())
        };

        let Ok(answers) = session.take(&message) else {
            return;
        };
        assert!(answers.len() <= 1 && session.subscriptions.len() <= MAX_SUBSCRIPTIONS);
        answers.iter().for_each(check);

        session.attach();
        for _ in 0..SENDS {
            let due = session.due(clock::now());
            let sent = due.and_then(|due| session.make(due));
            sent.iter().for_each(check);
        }
    }
}

fn check(message: &Message) {
    if let Message::Binary(bytes) = message {
        let control = ToViewer::parse(bytes).is_ok();
        assert!(control || FrameMessage::begins(bytes), "{bytes:?}");
    }
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::testing::replay_corpus;

    #[test]
    fn every_connection_of_the_corpus_is_survived() {
        replay_corpus("http", super::http);
    }

    #[test]
    fn every_websocket_of_the_corpus_is_survived() {
        replay_corpus("websocket", super::websocket);
    }
}
