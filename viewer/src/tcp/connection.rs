//! One connection to a relay, which is opened again whenever it ends.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::keys::KeyPath;
use fanlight_proto::clock::Time;
use fanlight_proto::frame_message::HEADER_BYTES;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::client::client_with_config;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::HeaderValue;
use tungstenite::http::header::AUTHORIZATION;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, Message, WebSocket};

use super::failure::Failure;
use super::stream::Stream;
use super::{Options, RelayUrl};

/// TCP must be connected within this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Then TLS and WebSocket must be open within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// A relay says something several times a second. A connection that is silent for so long is given up: what the network
/// lost would be sent again within a second.
const SILENCE: Duration = Duration::from_millis(1500);

/// Pause before the next attempt, at first and, doubling, at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));

/// Bytes that wait to be written at most: control messages of many seconds. What is beyond is lost, as in a network.
const MAX_UNSENT_BYTES: usize = 64 << 10;

/// Messages read in one turn.
const MESSAGES_A_TURN: usize = 32;

/// What happened to a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// It is open.
    Connected,
    /// A binary message came.
    Message(Bytes),
    /// A part of one came.
    Part,
    /// It was open, and is no more.
    Disconnected,
    /// It could not be opened.
    Failed(Failure),
}

/// The attempt to open one.
type Opening = Pin<Box<dyn Future<Output = Result<Socket, Failure>>>>;

/// See the module.
pub(crate) struct Connection {
    url: RelayUrl,
    options: Options,
    state: State,
    pause: Duration,
}

enum State {
    Waiting { until: Time },
    Opening(Opening),
    Opened(Result<Socket, Failure>),
    Open(Socket),
}

/// An open WebSocket.
struct Socket {
    tcp: Arc<TcpStream>,
    socket: WebSocket<Stream>,
    /// When anything last came.
    heard: Time,
    /// What was written waits for room.
    unsent: bool,
    /// There may be more to read than the last turn did.
    more: bool,
    broken: bool,
}

impl Connection {
    pub(crate) fn new(url: RelayUrl, options: Options) -> Self {
        Self {
            url,
            options,
            state: State::Waiting {
                until: Time::default(),
            },
            pause: PAUSE.0,
        }
    }

    /// When [`Connection::turn`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match &self.state {
            State::Waiting { until } => Some(*until),
            State::Open(socket) => Some(socket.heard + SILENCE),
            State::Opening(_) | State::Opened(_) => None,
        }
    }

    /// Ready when there is something to do.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Waiting { .. } => Poll::Pending,
            State::Opened(_) => Poll::Ready(()),
            State::Opening(opening) => opening.as_mut().poll(context).map(|opened| {
                self.state = State::Opened(opened);
            }),
            State::Open(socket) => socket.poll(context),
        }
    }

    /// Opens it when it is `wanted`, closes it when it is not, and reads what has come.
    pub(crate) fn turn(&mut self, now: Time, wanted: bool, take: &mut dyn FnMut(Event)) {
        if !wanted {
            if matches!(self.state, State::Open(_)) {
                take(Event::Disconnected);
            }
            self.state = State::Waiting { until: now };
            return;
        }

        match &mut self.state {
            State::Waiting { until } if *until <= now => {
                let opening = open(self.url.clone(), self.options.clone());
                self.state = State::Opening(Box::pin(opening));
            }
            State::Opened(_) => self.take_opened(now, take),
            State::Open(socket) => {
                socket.read(now, take);
                if socket.broken || socket.heard + SILENCE <= now {
                    take(Event::Disconnected);
                    self.wait(now);
                }
            }
            State::Waiting { .. } | State::Opening(_) => {}
        }
    }

    /// Sends a control datagram, if it is open.
    pub(crate) fn send(&mut self, datagram: Vec<u8>) {
        self.write(Message::Binary(datagram.into()));
    }

    /// Lets `count` more frames of `subscription` come.
    pub(crate) fn give_credit(&mut self, subscription: u32, count: u32) {
        for _ in 0..count {
            let credit = format!(r#"{{"type":"credit","id":{subscription}}}"#);
            self.write(Message::Text(credit.into()));
        }
    }

    fn write(&mut self, message: Message) {
        if let State::Open(socket) = &mut self.state {
            let sent = socket.socket.send(message);
            socket.note(sent);
        }
    }

    fn take_opened(&mut self, now: Time, take: &mut dyn FnMut(Event)) {
        let former = State::Waiting { until: now };
        match std::mem::replace(&mut self.state, former) {
            State::Opened(Ok(socket)) => {
                self.state = State::Open(socket);
                self.pause = PAUSE.0;
                take(Event::Connected);
            }
            State::Opened(Err(failure)) => {
                take(Event::Failed(failure));
                self.wait(now);
            }
            state => self.state = state,
        }
    }

    fn wait(&mut self, now: Time) {
        self.state = State::Waiting {
            until: now + self.pause,
        };
        self.pause = (self.pause * 2).min(PAUSE.1);
    }
}

impl Socket {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.more || self.broken {
            return Poll::Ready(());
        }

        let readable = self.tcp.poll_read_ready(context).is_ready();
        if readable || (self.unsent && self.tcp.poll_write_ready(context).is_ready()) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn read(&mut self, now: Time, take: &mut dyn FnMut(Event)) {
        let before = self.socket.get_ref().received();
        self.more = true;
        for _ in 0..MESSAGES_A_TURN {
            match self.socket.read() {
                Ok(message) => {
                    if let Message::Binary(bytes) = message {
                        take(Event::Message(bytes));
                    }
                }
                Err(error) => {
                    self.more = false;
                    self.note(Err(error));
                    break;
                }
            }
        }

        // Of a large frame on a slow link nothing but parts may come for seconds.
        if self.socket.get_ref().received() > before {
            self.heard = now;
            take(Event::Part);
        }

        // Also what answers pings.
        let flushed = self.socket.flush();
        self.unsent = false;
        self.note(flushed);
    }

    /// Notes whether something could be done now, later or never again.
    fn note(&mut self, done: Result<(), Error>) {
        match done {
            Ok(()) => self.unsent = false,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = true;
            }
            Err(Error::WriteBufferFull(_)) => {}
            Err(_) => self.broken = true,
        }
    }
}

/// Opens a connection.
async fn open(url: RelayUrl, options: Options) -> Result<Socket, Failure> {
    let connecting = connect(&url, options.receive_buffer);
    let tcp = match timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(tcp)) => Arc::new(tcp),
        Ok(Err(error)) => return Err(Failure::of_connecting(&url, &error)),
        Err(_) => return Err(Failure::no_answer(&url)),
    };

    let _ = tcp.set_nodelay(true);
    let shaking = shake_hands(&url, &options, Arc::clone(&tcp));
    let shaken = timeout(HANDSHAKE_TIMEOUT, shaking).await;
    Ok(Socket {
        tcp,
        socket: shaken.map_err(|_| Failure::no_answer(&url))??,
        heard: clock::now(),
        unsent: false,
        more: true,
        broken: false,
    })
}

/// Connects to the first address of the host that answers. The receive buffer is set before, since it decides how the
/// window is scaled (tcp(7)).
async fn connect(url: &RelayUrl, receive_buffer: Option<usize>) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::NotFound);
    for address in lookup_host((url.host.as_str(), url.port)).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };

        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(u32::try_from(bytes).unwrap_or(u32::MAX))?;
        }

        match socket.connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failure = error,
        }
    }

    Err(failure)
}

/// TLS, if the address says so, and the upgrade to a WebSocket.
async fn shake_hands(
    url: &RelayUrl,
    options: &Options,
    tcp: Arc<TcpStream>,
) -> Result<WebSocket<Stream>, Failure> {
    let tls = options.tls.clone().filter(|_| url.secure);
    let stream = Stream::new(Arc::clone(&tcp), &url.host, tls)
        .map_err(|error| Failure::of_tls(url, &error))?;

    let failed = |error: &Error| Failure::of_handshake(url, options.token.is_some(), error);
    let mut request = url
        .uri
        .clone()
        .into_client_request()
        .map_err(|error| failed(&error))?;
    let token = options.token.as_ref().map(KeyPath::token).transpose();
    if let Some(token) = token.map_err(|error| Failure::Rejected(error.to_string()))?
        && let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", token.as_str()))
    {
        bearer.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }

    let limits = WebSocketConfig::default()
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_UNSENT_BYTES)
        .max_message_size(Some(MAX_FRAME_BYTES + HEADER_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES + HEADER_BYTES));

    let mut attempt = client_with_config(request, stream, Some(limits));
    loop {
        match attempt {
            Ok((socket, _)) => return Ok(socket),
            Err(HandshakeError::Failure(error)) => return Err(failed(&error)),
            Err(HandshakeError::Interrupted(begun)) => {
                // The request is short: it is the answer that is waited for.
                let readable = tcp.readable().await;
                readable.map_err(|error| Failure::of_connecting(url, &error))?;
                attempt = begun.handshake();
            }
        }
    }
}
