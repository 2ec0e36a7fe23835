//! TCP with everything queued: frames with their length in front, in the order in which they were taken.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use fanlight_proto::clock::Time;
use rustix::net::{AddressFamily, SocketType, sockopt};

use super::{Buffer, Camera, LOOK, Screen};

/// Length, number and capture time, big-endian.
const HEAD: usize = 4 + 8 + 8;

/// Where the old program ran out of memory, this one ends.
const MAX_QUEUED_BYTES: usize = 512 << 20;

/// One read, when the buffer is not set.
const READ: usize = 64 << 10;

/// No picture of the comparison is larger.
const MAX_JPEG: usize = 4 << 20;

#[derive(Default)]
struct Queue {
    frames: Mutex<(VecDeque<Vec<u8>>, usize)>,
    grown: Condvar,
}

/// Takes pictures from the moment that a screen is there.
pub(super) fn send(address: SocketAddr, mut camera: Camera) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listens on {address}");
    let (stream, _) = listener.accept()?;
    let queue = Arc::new(Queue::default());
    let writing = Arc::clone(&queue);
    std::thread::spawn(move || write(stream, &writing));

    camera.restart();
    loop {
        let (number, captured, jpeg) = camera.take();
        let mut frame = Vec::with_capacity(HEAD + jpeg.len());
        frame.extend((jpeg.len() as u32).to_be_bytes());
        frame.extend(number.to_be_bytes());
        frame.extend(captured.as_nanos().to_be_bytes());
        frame.extend(jpeg);

        let mut queued = queue.frames.lock().unwrap_or_else(PoisonError::into_inner);
        queued.1 += frame.len();
        if queued.1 > MAX_QUEUED_BYTES {
            return Err(std::io::Error::other("the queue has no more room"));
        }

        queued.0.push_back(frame);
        queue.grown.notify_one();
    }
}

/// Until the screen is gone.
fn write(mut stream: TcpStream, queue: &Queue) {
    loop {
        let frame = {
            let mut queued = queue.frames.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(frame) = queued.0.pop_front() {
                    queued.1 -= frame.len();
                    break frame;
                }

                let woken = queue.grown.wait(queued);
                queued = woken.unwrap_or_else(PoisonError::into_inner);
            }
        };

        if stream.write_all(&frame).is_err() {
            return;
        }
    }
}

/// Starts the screen's thread; its socket is made here.
pub(super) fn show(address: SocketAddr, buffer: Buffer, screen: Arc<Screen>) -> JoinHandle<()> {
    let stream = connect(address, buffer).expect("the sender listens");
    stream
        .set_read_timeout(Some(LOOK))
        .expect("a socket can wait for a time");
    std::thread::spawn(move || read(stream, buffer.bytes().unwrap_or(READ), &screen))
}

/// The receive buffer is set before the connection is made, since it decides the window's scale (tcp(7)).
fn connect(address: SocketAddr, buffer: Buffer) -> std::io::Result<TcpStream> {
    let socket: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    if let Some(bytes) = buffer.bytes() {
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }

    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// Until the sender or the measurement is over.
fn read(mut stream: TcpStream, chunk: usize, screen: &Screen) {
    let mut head = [0; HEAD];
    let mut jpeg = Vec::new();
    while fill(&mut stream, &mut head, chunk, screen) {
        let (length, rest) = head.split_first_chunk().expect("a head has 20 bytes");
        let (number, captured) = rest.split_first_chunk().expect("a head has 20 bytes");
        let length = u32::from_be_bytes(*length) as usize;
        assert!(length <= MAX_JPEG, "a frame of {length} bytes");

        jpeg.resize(length, 0);
        if !fill(&mut stream, &mut jpeg, chunk, screen) {
            return;
        }

        let captured = captured.try_into().expect("a head has 20 bytes");
        screen.show(
            u64::from_be_bytes(*number),
            Time::from_nanos(u64::from_be_bytes(captured)),
            &jpeg,
        );
    }
}

/// Reads `into` full, at most `chunk` bytes a call. False when it is over.
fn fill(stream: &mut TcpStream, into: &mut [u8], chunk: usize, screen: &Screen) -> bool {
    let mut filled = 0;
    while filled < into.len() {
        let end = into.len().min(filled + chunk);
        match stream.read(&mut into[filled..end]) {
            Ok(0) => return false,
            Ok(read) => filled += read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }

        if screen.is_over() {
            return false;
        }
    }

    true
}
