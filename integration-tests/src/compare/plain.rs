//! The two ways of the program that this comparison comes from. A sender is a process of its own ([`send`]), so that its
//! memory can be seen; the screen is a thread of the measuring process.
//!
//! TCP: each frame has a head of 20 bytes (length, number, capture time) in front and is queued, however long the queue is.
//! UDP: a frame is cut into datagrams with a head of 20 bytes (number, capture time, index, count); the screen gives up a
//! frame when a newer one begins.

mod datagrams;
mod queued;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use turbojpeg::PixelFormat;

use super::{Buffer, Frame, Link, Method, RATE, Running};
use crate::TestEnv;
use crate::program::Program;
use crate::wait::pause;

/// The sender's port in a namespace of its own, and the first one tried on loopback.
const PORT: u16 = 5600;

/// How often a waiting thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// What is wrong with the words of [`send`].
pub const USAGE: &str = "sender udp|tcp ADDRESS FOLDER DATAGRAM";

/// The sender's process: sends the pictures of a folder to who asks, until it is killed. `words` are
/// [`USAGE`] without the first.
///
/// # Errors
/// When the words are others, or there is no such socket.
pub fn send(words: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [method, address, folder, datagram] = words else {
        return Err(USAGE.into());
    };

    let address: SocketAddr = address.parse()?;
    let camera = Camera::of(Path::new(folder))?;
    match method.as_str() {
        "udp" => datagrams::send(address, camera, datagram.parse()?)?,
        "tcp" => queued::send(address, camera)?,
        _ => return Err(USAGE.into()),
    }

    Ok(())
}

/// Takes a picture every [`RATE`]th of a second.
struct Camera {
    jpegs: Vec<Vec<u8>>,
    started: Time,
    next: u64,
}

impl Camera {
    fn of(folder: &Path) -> std::io::Result<Self> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;

        files.sort();
        Ok(Self {
            jpegs: files.iter().map(std::fs::read).collect::<Result<_, _>>()?,
            started: clock::now(),
            next: 0,
        })
    }

    /// The next one is the first, and is due now.
    fn restart(&mut self) {
        self.started = clock::now();
        self.next = 0;
    }

    /// The next one with its number and when it was taken, waited for.
    fn take(&mut self) -> (u64, Time, &[u8]) {
        let number = self.next;
        self.next += 1;
        let due = self.started + Duration::from_secs(1) * number as u32 / RATE;
        pause(due.saturating_since(clock::now()));
        let jpeg = &self.jpegs[number as usize % self.jpegs.len()];
        (number, clock::now(), jpeg)
    }
}

/// What a screen's thread tells of itself.
#[derive(Debug, Default)]
struct Screen {
    frames: Mutex<Vec<Frame>>,
    /// The newest frame's number, and 1.
    newest: AtomicU64,
    /// Frames begun and given up.
    incomplete: AtomicU64,
    undecodable: AtomicU64,
    ended: AtomicBool,
}

impl Screen {
    /// Decodes a whole frame, which is what showing one costs.
    fn show(&self, number: u64, captured: Time, jpeg: &[u8]) {
        self.newest.store(number + 1, Ordering::Relaxed);
        if turbojpeg::decompress(jpeg, PixelFormat::RGB).is_err() {
            self.undecodable.fetch_add(1, Ordering::Relaxed);
            return;
        }

        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.push(Frame {
            captured,
            shown: clock::now(),
        });
    }

    fn is_over(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

struct Pair {
    sender: Program,
    screen: Arc<Screen>,
    thread: Option<JoinHandle<()>>,
    started: Time,
    method: Method,
}

pub(super) fn start(
    env: &TestEnv,
    link: &Link,
    method: Method,
    buffer: Buffer,
    pictures: &Path,
) -> Box<dyn Running> {
    let address = link.address(env.relay_address(0).ip(), PORT);
    let word = if method == Method::UdpPlain {
        "udp"
    } else {
        "tcp"
    };
    let datagram = buffer.bytes().unwrap_or(datagrams::ONE_PACKET);
    let sender = env
        .launch("old sender", example())
        .flags(&format!("sender {word} {address}"))
        .flags(&format!("{} {datagram}", pictures.display()))
        .under(&link.sender())
        .start();

    sender.says(&["listens"]);
    let screen = Arc::new(Screen::default());
    let thread = {
        let screen = Arc::clone(&screen);
        link.at_screen(move || match method {
            Method::UdpPlain => datagrams::show(address, buffer, screen),
            _ => queued::show(address, buffer, screen),
        })
    };

    Box::new(Pair {
        sender,
        screen,
        thread: Some(thread),
        started: clock::now(),
        method,
    })
}

impl Running for Pair {
    fn shown(&self) -> Vec<Frame> {
        let frames = self.screen.frames.lock();
        frames.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sender(&self) -> &Program {
        &self.sender
    }

    fn finish(mut self: Box<Self>) -> Vec<(String, u64)> {
        let taken = clock::now().saturating_since(self.started).as_secs_f64() * f64::from(RATE);
        self.end();
        let newest = self.screen.newest.load(Ordering::Relaxed);
        let queued = match self.method {
            // One is always on its way.
            Method::TcpQueued => (taken as u64).saturating_sub(newest + 1),
            _ => 0,
        };

        let counted = [
            ("incomplete", self.screen.incomplete.load(Ordering::Relaxed)),
            (
                "undecodable",
                self.screen.undecodable.load(Ordering::Relaxed),
            ),
            ("still queued", queued),
        ];

        counted
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect()
    }
}

impl Pair {
    fn end(&mut self) {
        self.screen.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A screen that panicked has shown what it has shown.
            let _ = thread.join();
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.end();
    }
}

/// The program that has [`send`].
fn example() -> PathBuf {
    crate::test_env::built_example("compare")
}
