//! Reads what comes to some sockets, in a thread of its own that is not measured.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use rustix::event::{Timespec, epoll};
use socket2::SockRef;

/// What a viewer asks the kernel to keep.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Bytes of one read: with UDP GRO a train comes in one piece.
const TRAIN: usize = 1 << 16;

/// Sockets that one call to the kernel tells of.
const READY: usize = 64;

/// How often it looks whether it is to end.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The thread. It ends with this value.
pub(super) struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Reader {
    /// Reads all of `sockets`, which stay the caller's.
    pub(super) fn start(sockets: &[UdpSocket]) -> io::Result<Self> {
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut read = Vec::with_capacity(sockets.len());
        for (number, socket) in (0..).zip(sockets) {
            SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
            socket.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(number);
            epoll::add(&ready, socket, data, epoll::EventFlags::IN)?;
            read.push(socket.try_clone()?);
        }

        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; TRAIN];
            let mut events = Vec::with_capacity(READY);
            while !stopped.load(Relaxed) {
                events.clear();
                let room = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(&ready, room, Some(&PAUSE))?;
                for event in &events {
                    let socket = &read[event.data.u64() as usize];
                    while socket.recv(&mut buffer).is_ok() {}
                }
            }

            Ok(())
        });

        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = ended {
            eprintln!("the receivers were no longer read: {error}");
        }
    }
}
