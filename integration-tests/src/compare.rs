//! TCP or UDP: the same pictures to one screen in four ways, at several receive buffers, over several links, as
//! `./dev compare` prints them. Two ways are Fanlight's own programs, two are what the program did that this comparison
//! comes from ([`plain`]).
//!
//! A [`Link`] is made once, and every [`Method`] runs over it at every [`Buffer`], one after the other.

mod fanlight;
mod figures;
mod link;
pub mod plain;

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

pub use figures::{Figures, Frame};
pub use link::{LINKS, Link, LinkKind};

use crate::TestEnv;
use crate::jpeg::with_noise;
use crate::lab::Traffic;
use crate::program::Program;
use crate::wait::{Deadline, pause};

/// Frames a second, as the camera of the old comparison had.
pub const RATE: u32 = 24;

/// Width and height of the pictures.
const SIZE: (u32, u32) = (1280, 720);

/// Levels of noise: with them a picture has about 155 kB, and the stream about 30 Mbit/s.
const NOISE: usize = 27;

/// Different pictures, sent again and again.
const PICTURES: u64 = 8;

/// How long a screen may wait for its first picture before counting begins without it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Between two looks at the sender's memory.
const LOOK: Duration = Duration::from_millis(50);

/// A way for pictures to a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Datagrams of the buffer's size, nothing against loss: a frame that lacks one is given up for the next.
    UdpPlain,
    /// Fanlight's viewer: parity, repair, congestion control.
    Udp,
    /// Fanlight's viewer over the relay's WebSocket: the newest frame when there is room for one.
    Tcp,
    /// Frames with their length in front, all of them, in the order in which they were taken.
    TcpQueued,
}

impl Method {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::UdpPlain, Self::Udp, Self::Tcp, Self::TcpQueued];

    /// In tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpPlain => "UDP, plain",
            Self::Udp => "UDP, Fanlight",
            Self::Tcp => "TCP, Fanlight",
            Self::TcpQueued => "TCP, queued",
        }
    }
}

/// The receive buffer: bytes that one call asks for, and that the socket is asked to hold (SO_RCVBUF; the kernel doubles
/// it and grants at least 2304, see socket(7)). With plain UDP it is also what a datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// So many bytes.
    Bytes(usize),
    /// What program and kernel choose by themselves.
    Default,
}

impl Buffer {
    /// Those of the old comparison, and none.
    pub const ALL: [Self; 4] = [
        Self::Bytes(1000),
        Self::Bytes(10_000),
        Self::Bytes(30_000),
        Self::Default,
    ];

    /// Bytes, if they are asked for.
    #[must_use]
    pub const fn bytes(self) -> Option<usize> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Default => None,
        }
    }
}

impl std::fmt::Display for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Default => f.pad("default"),
        }
    }
}

/// The pictures that every way sends: JPEG files in a folder.
#[derive(Debug)]
pub struct Pictures {
    folder: PathBuf,
    bytes: usize,
}

impl Pictures {
    /// Writes them.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn write(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the folder can be made");
        let mut bytes = 0;
        for number in 0..PICTURES {
            let jpeg = with_noise(number, SIZE.0, SIZE.1, NOISE);
            bytes += jpeg.len();
            std::fs::write(folder.join(format!("{number:03}.jpg")), jpeg)
                .expect("the folder can be written");
        }

        Self {
            folder: folder.to_owned(),
            bytes,
        }
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Mbit/s of the stream, without any header.
    #[must_use]
    pub fn megabits(&self) -> f64 {
        self.bytes as f64 / PICTURES as f64 * 8e-6 * f64::from(RATE)
    }
}

/// Someone who sends and someone who shows, running.
trait Running {
    /// All frames shown so far.
    fn shown(&self) -> Vec<Frame>;

    /// The process whose memory counts.
    fn sender(&self) -> &Program;

    /// Ends it: why frames were not shown, from the first to the last.
    fn finish(self: Box<Self>) -> Vec<(String, u64)>;
}

/// Sends pictures for `length` in one way and says what came of it.
///
/// # Panics
/// When a program cannot be started.
#[must_use]
pub fn measure(
    link: &Link,
    method: Method,
    buffer: Buffer,
    pictures: &Pictures,
    length: Duration,
) -> Figures {
    let env = TestEnv::new();
    let running: Box<dyn Running> = match method {
        Method::UdpPlain | Method::TcpQueued => {
            plain::start(&env, link, method, buffer, pictures.folder())
        }
        Method::Udp | Method::Tcp => fanlight::start(&env, link, method, buffer, pictures.folder()),
    };

    let patience = Deadline::after(PATIENCE);
    while running.shown().is_empty() && !patience.is_over() {
        pause(LOOK);
    }

    let wire = link.traffic();
    let from = clock::now();
    let memory = watch_memory(running.sender(), length);
    let to = clock::now();
    let wire = link.traffic().zip(wire).map(|(now, then)| now.since(then));
    let frames = running.shown();
    let lost = running.finish();
    Figures::of(&frames, (from, to), memory, wire, lost)
}

/// The sender's most resident memory within `length`, in bytes.
fn watch_memory(sender: &Program, length: Duration) -> u64 {
    let end = Deadline::after(length);
    let mut most = 0;
    while !end.is_over() {
        most = most.max(sender.usage().resident);
        pause(LOOK.min(end.left()));
    }

    most
}

/// What was sent within a second.
fn per_second(traffic: Traffic, (from, to): (Time, Time)) -> (f64, f64) {
    let seconds = to.saturating_since(from).as_secs_f64();
    (
        traffic.packets as f64 / seconds,
        traffic.bytes as f64 * 8e-6 / seconds,
    )
}
