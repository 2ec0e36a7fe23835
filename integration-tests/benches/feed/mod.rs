//! Publishers as simple as can be, so that who takes their frames is what a bench measures: a PUB socket's greeting, and
//! then frames as fast as they are taken or at a rate. One subscriber at a time, and each begins with frame 0.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::message::FrameBuffer;
use fanlight_tests::wait::pause;
use fanlight_tests::zmtp::{claim, greeting, ready};

use crate::sample::header;

/// Kinds of sockets, as ZeroMQ calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rig {
    /// A Unix socket.
    Ipc,
    /// TCP on loopback.
    Tcp,
}

impl Rig {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipc => "ipc",
            Self::Tcp => "tcp",
        }
    }
}

/// Both ends of a connection, whichever its kind.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

enum Listener {
    Ipc(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Ipc(listener) => Box::new(listener.accept()?.0),
            Self::Tcp(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

/// Where a feed is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Ipc(PathBuf),
    Tcp(std::net::SocketAddr),
}

impl Address {
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Ipc(path) => Box::new(UnixStream::connect(path)?),
            Self::Tcp(address) => Box::new(TcpStream::connect(address)?),
        })
    }

    /// As ZeroMQ writes it.
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Self::Ipc(path) => format!("ipc://{}", path.display()),
            Self::Tcp(address) => format!("tcp://{address}"),
        }
    }
}

/// What a feed sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frames {
    /// Bytes of a picture.
    pub(crate) bytes: usize,
    /// Between two frames; none: as fast as they are taken.
    pub(crate) interval: Option<Duration>,
}

/// A publisher on a thread of its own, which ends with this value.
pub(crate) struct Feed {
    pub(crate) address: Address,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Publishes a stream of its own at a socket in `folder` or on a port of its own: a relay takes one of several that have the
    /// same name.
    pub(crate) fn start(
        rig: Rig,
        folder: &Path,
        number: usize,
        frames: Frames,
    ) -> io::Result<Self> {
        let (listener, address) = match rig {
            Rig::Ipc => {
                let path = folder.join(format!("{number}.ipc"));
                (
                    Listener::Ipc(UnixListener::bind(&path)?),
                    Address::Ipc(path),
                )
            }
            Rig::Tcp => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let address = Address::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
        };

        let stream = format!("camera-{number:02}");
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let thread = thread::Builder::new()
            .name(format!("feed-{number}"))
            .spawn(move || {
                while let Ok(subscriber) = listener.accept() {
                    if end.load(Ordering::Relaxed) {
                        return;
                    }

                    // It ends when the subscriber goes.
                    let _ = publish(&stream, frames, subscriber, &end);
                }
            })?;

        Ok(Self {
            address,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // So that a thread that waits for a subscriber looks.
        drop(self.address.connect());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn publish(
    stream: &str,
    frames: Frames,
    mut subscriber: Box<dyn Stream>,
    over: &AtomicBool,
) -> io::Result<()> {
    subscriber.write_all(&[greeting(), ready("PUB")].concat())?;
    let mut due = clock::now();

    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }

        if let Some(interval) = frames.interval {
            pause(due.saturating_since(clock::now()));
            due = due + interval;
        }

        let [prefix, body] = message(stream, number, frames.bytes);
        // As the source does it: one call for both.
        let written = subscriber.write_vectored(&[IoSlice::new(&prefix), IoSlice::new(&body)])?;
        subscriber.write_all(&prefix[written.min(prefix.len())..])?;
        subscriber.write_all(&body[written.saturating_sub(prefix.len())..])?;
    }

    Ok(())
}

/// An encoded frame of the present, and what stands before it on the wire: its topic and its length.
pub(crate) fn message(stream: &str, number: u64, bytes: usize) -> [Bytes; 2] {
    let body = body(stream, number, bytes);
    let topic = format!("{stream}/");
    let flags_and_length = [1, topic.len() as u8];
    let length = claim(body.len() as u64);
    let prefix = [&flags_and_length, topic.as_bytes(), &length].concat();
    [prefix.into(), body]
}

fn body(stream: &str, number: u64, bytes: usize) -> Bytes {
    let mut picture = FrameBuffer::with_capacity(bytes);
    picture.extend_from_slice(&[0xff, 0xd8]);
    picture.resize(bytes - 2);
    picture.extend_from_slice(&[0xff, 0xd9]);
    let mut header = header(number);
    stream.clone_into(&mut header.stream);
    header.captured_ns = clock::now().as_nanos();
    header.clock_id = clock_id();
    picture.finish(header)
}

/// Read once: it takes files.
fn clock_id() -> u64 {
    static ID: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *ID.get_or_init(clock::clock_id)
}
