//! Peers on the ZeroMQ leg that do not mean well: the bytes of ZMTP 3.0 by hand, and a publisher that misbehaves.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::wait::pause;

/// The frame flags of <https://rfc.zeromq.org/spec/23/>.
const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// The greeting of a peer without security.
#[must_use]
pub fn greeting() -> Vec<u8> {
    let mut bytes = b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL".to_vec();
    bytes.resize(64, 0);
    bytes
}

/// The READY command of a socket of type `kind`.
#[must_use]
pub fn ready(kind: &str) -> Vec<u8> {
    let mut body = b"\x05READY\x0bSocket-Type".to_vec();
    body.extend_from_slice(&(kind.len() as u32).to_be_bytes());
    body.extend_from_slice(kind.as_bytes());
    [&[COMMAND, body.len() as u8][..], &body].concat()
}

/// A subscription to `topic`, which is short.
#[must_use]
pub fn subscribe(topic: &str) -> Vec<u8> {
    [&[0, 1 + topic.len() as u8, 1][..], topic.as_bytes()].concat()
}

/// The header of a frame that claims `length` bytes.
#[must_use]
pub fn claim(length: u64) -> Vec<u8> {
    [&[LONG][..], &length.to_be_bytes()].concat()
}

/// A message of two parts; the first is short.
#[must_use]
pub fn message(topic: &[u8], body: &[u8]) -> Vec<u8> {
    [
        &[MORE, topic.len() as u8],
        topic,
        &claim(body.len() as u64),
        body,
    ]
    .concat()
}

/// Empty frames each of which announces another one.
#[must_use]
pub fn endless(count: usize) -> Vec<u8> {
    [MORE, 0].repeat(count)
}

/// What a PUB socket at `address` publishes to whoever asks, topics and bodies, until `bytes` bytes have come.
///
/// # Errors
/// As `connect(2)` and `read(2)`; also when nothing comes for two seconds.
pub fn listen_in(address: SocketAddr, bytes: usize) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut stream = connect(address)?;
    stream.write_all(&[greeting(), ready("SUB"), subscribe("")].concat())?;
    stream.read_exact(&mut [0; 64])?;
    let (mut heard, mut messages, mut topic) = (0, Vec::new(), None);

    while heard < bytes {
        let (flags, frame) = read_frame(&mut stream)?;
        heard += frame.len();
        match (flags & COMMAND != 0, flags & MORE != 0) {
            (true, _) => {}
            (false, true) => topic = Some(frame),
            (false, false) => messages.extend(topic.take().map(|topic| (topic, frame))),
        }
    }

    Ok(messages)
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut flags = [0];
    stream.read_exact(&mut flags)?;
    let mut length = [0; 8];
    let field = if flags[0] & LONG == 0 { 7..8 } else { 0..8 };
    stream.read_exact(&mut length[field])?;
    let mut frame = vec![0; u64::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok((flags[0], frame))
}

/// A connection to `address` that gives up reading and writing after two seconds.
///
/// # Errors
/// As `connect(2)`.
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

/// Listens in between a relay and a source: relays connect to it instead, and it writes down what the source says.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// Before the source at `source`, for one connection. It lasts as long as the test's process.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn before(source: SocketAddr) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&heard);
        std::thread::spawn(move || {
            let (mut relay, _) = listener.accept().ok()?;
            let mut source = TcpStream::connect(source).ok()?;
            let (mut from_relay, mut to_source) =
                (relay.try_clone().ok()?, source.try_clone().ok()?);
            std::thread::spawn(move || std::io::copy(&mut from_relay, &mut to_source));
            let mut buffer = vec![0; 64 << 10];

            loop {
                let count = source.read(&mut buffer).ok().filter(|count| *count > 0)?;
                let mut heard = notes.lock().unwrap_or_else(PoisonError::into_inner);
                heard.extend_from_slice(&buffer[..count]);
                drop(heard);
                relay.write_all(&buffer[..count]).ok()?;
            }

            #[expect(unreachable_code, reason = "tells the type")]
            Some(())
        });

        Self { address, heard }
    }

    /// Where relays are to connect.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// All that the source has said.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Between words and the end of a connection: nobody tells the other side's end from words it has not read yet.
const TIME_TO_READ: Duration = Duration::from_millis(50);

/// Between the rounds of a publisher that repeats itself: shorter than a relay takes for silence.
const BETWEEN_REPEATS: Duration = Duration::from_millis(30);

/// What a [`FakePublisher`] does with a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Accepts it and says nothing.
    Silence,
    /// Says these bytes and nothing else, and stays.
    Raw(Vec<u8>),
    /// Says what no ZeroMQ socket says.
    Garbage,
    /// Closes it right after the handshake.
    CloseAfterReady,
    /// Sends these bytes after the handshake and closes it when they have been read.
    Say(Vec<u8>),
    /// Announces a frame of so many bytes after the handshake, and sends none.
    Claim(u64),
    /// Announces a frame of so many bytes before the handshake is over.
    EarlyClaim(u64),
    /// Sends half a message and stops.
    Stall,
    /// Sends these bytes after the handshake, again and again, and stays.
    Repeat(Vec<u8>),
}

/// A TCP server that greets like a PUB socket and then misbehaves, each connection in turn as told; the last misdeed
/// is repeated.
#[derive(Debug)]
pub struct FakePublisher {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl FakePublisher {
    /// Listens on loopback. The server lasts as long as the test's process.
    ///
    /// # Panics
    /// When there is no port to be had.
    #[must_use]
    pub fn listen(misdeeds: Vec<Misdeed>) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let misdeed = misdeeds[number.min(misdeeds.len() - 1)].clone();
                std::thread::spawn(move || misbehave(stream, misdeed));
            }
        });

        Self {
            address,
            connections,
        }
    }

    /// Its address as ZeroMQ writes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// How many connections have come.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Errors end the connection, which is all that can become of it.
fn misbehave(mut stream: TcpStream, misdeed: Misdeed) -> Option<()> {
    let mut buffer = [0; 4096];
    match misdeed {
        Misdeed::Silence => {}
        Misdeed::Raw(bytes) => stream.write_all(&bytes).ok()?,
        Misdeed::Garbage => stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok()?,
        Misdeed::EarlyClaim(length) => stream
            .write_all(&[greeting(), claim(length)].concat())
            .ok()?,
        Misdeed::CloseAfterReady => {
            return stream.write_all(&[greeting(), ready("PUB")].concat()).ok();
        }
        Misdeed::Claim(length) => {
            stream
                .write_all(&[greeting(), ready("PUB")].concat())
                .ok()?;
            let _ = stream.read(&mut buffer);
            stream.write_all(&claim(length)).ok()?;
        }
        Misdeed::Say(bytes) => {
            stream
                .write_all(&[greeting(), ready("PUB"), bytes].concat())
                .ok()?;
            pause(TIME_TO_READ);
            let _ = stream.shutdown(Shutdown::Write);
        }
        Misdeed::Repeat(bytes) => {
            stream
                .write_all(&[greeting(), ready("PUB")].concat())
                .ok()?;
            loop {
                stream.write_all(&bytes).ok()?;
                pause(BETWEEN_REPEATS);
            }
        }
        Misdeed::Stall => {
            let half = [
                &greeting()[..],
                &ready("PUB"),
                &[MORE, 4],
                b"cam/",
                &claim(300_000),
                &[7; 1000],
            ]
            .concat();

            stream.write_all(&half).ok()?;
        }
    }

    // Stays until the other side has enough.
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    None
}
