//! The ways to take in a frame that are measured against each other.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_DATAGRAM;
use fanlight_relay::udp::Socket;
use fanlight_viewer::engine::{Engine, Output};
use fanlight_viewer::udp::{self, GroBatches};
use tokio::runtime::Runtime;

use crate::bare::Batch;
use crate::engine_harness::{EngineHarness, Service};
use crate::sample::PICTURE;
use crate::serving::Serving;

/// What a viewer asks the kernel to keep.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Between two frames, as far as the engine knows.
const FRAME_TIME: Duration = Duration::from_millis(33);

const SEALED: Service = Service {
    parity: false,
    sealed: true,
};

/// One way to take in a frame.
pub(crate) struct Reader<'a> {
    /// As it is printed.
    pub(crate) name: &'static str,
    /// What it is compared with.
    pub(crate) against: &'static str,
    /// Sends it a frame: how many datagrams.
    pub(crate) send: Box<dyn FnMut() -> u64 + 'a>,
    /// Takes in what was sent: how many datagrams. None of them when they did not make a frame.
    pub(crate) read: Box<dyn FnMut() -> u64 + 'a>,
}

/// All readers, fed by `relay`, which is bound to `from`.
pub(crate) fn all<'a>(
    runtime: &'a Runtime,
    relay: &'a Socket,
    from: SocketAddr,
) -> io::Result<Vec<Reader<'a>>> {
    let _inside = runtime.enter();
    let feed = Feed { runtime, relay };
    Ok(vec![
        feed.trains("viewer", "viewer", from, Service::OPEN, true)?,
        feed.singles("recv", "viewer", from, Service::OPEN, true)?,
        feed.trains("viewer-sealed", "viewer", from, SEALED, true)?,
        feed.singles("recv-sealed", "viewer-sealed", from, SEALED, true)?,
        feed.trains("read-trains", "read-trains", from, Service::OPEN, false)?,
        feed.batches("read-batches", "read-trains", from)?,
        feed.singles("read-each", "read-trains", from, Service::OPEN, false)?,
    ])
}

/// Where frames come from.
#[derive(Clone, Copy)]
struct Feed<'a> {
    runtime: &'a Runtime,
    relay: &'a Socket,
}

impl<'a> Feed<'a> {
    /// The viewer's own way.
    fn trains(
        self,
        name: &'static str,
        against: &'static str,
        from: SocketAddr,
        service: Service,
        places: bool,
    ) -> io::Result<Reader<'a>> {
        let socket = udp::Socket::connect(from, RECEIVE_BUFFER, None)?;
        let (send, mut place) = self.frames(service, socket.local_addr()?, places);
        let runtime = self.runtime;
        let mut trains = GroBatches::default();
        let read = move || {
            drain(runtime, &socket, &mut trains, |datagram| {
                place.take(datagram);
            });

            place.finish()
        };

        Ok(Reader {
            name,
            against,
            send,
            read: Box::new(read),
        })
    }

    /// One datagram, one call.
    fn singles(
        self,
        name: &'static str,
        against: &'static str,
        from: SocketAddr,
        service: Service,
        places: bool,
    ) -> io::Result<Reader<'a>> {
        let socket = connected(from)?;
        let (send, mut place) = self.frames(service, socket.local_addr()?, places);
        let mut buffer = [0; MAX_DATAGRAM];
        let read = move || {
            while let Ok(length) = socket.recv(&mut buffer) {
                place.take(&mut buffer[..length]);
            }

            place.finish()
        };

        Ok(Reader {
            name,
            against,
            send,
            read: Box::new(read),
        })
    }

    /// Many datagrams, one call, but no trains.
    fn batches(
        self,
        name: &'static str,
        against: &'static str,
        from: SocketAddr,
    ) -> io::Result<Reader<'a>> {
        let socket = connected(from)?;
        let (send, mut place) = self.frames(Service::OPEN, socket.local_addr()?, false);
        let mut batch = Batch::new();
        let read = move || {
            while let Some(count) = batch.read(socket.as_fd()) {
                place.datagrams += count as u64;
            }

            place.finish()
        };

        Ok(Reader {
            name,
            against,
            send,
            read: Box::new(read),
        })
    }

    /// What sends a frame to the viewer at `address`, and what becomes of it there.
    fn frames(
        self,
        service: Service,
        address: SocketAddr,
        places: bool,
    ) -> (Box<dyn FnMut() -> u64 + 'a>, Place) {
        let (engine_harness, mut viewers) = EngineHarness::open(service, &[address], PICTURE);
        let mut serving = Serving::new(self.runtime, self.relay, engine_harness);
        let engine = viewers.remove(&address).filter(|_| places);
        (
            Box::new(move || serving.frame()),
            Place {
                engine,
                datagrams: 0,
                now: clock::now(),
            },
        )
    }
}

/// What becomes of datagrams that are read.
struct Place {
    /// None: nothing.
    engine: Option<Engine>,
    datagrams: u64,
    now: Time,
}

impl Place {
    fn take(&mut self, datagram: &mut [u8]) {
        self.datagrams += 1;
        if let Some(engine) = &mut self.engine {
            engine.on_datagram(self.now, 0, datagram);
        }
    }

    /// How many datagrams there were since the last time; none when they should have made a frame and have not.
    fn finish(&mut self) -> u64 {
        let datagrams = std::mem::take(&mut self.datagrams);
        self.now = self.now + FRAME_TIME;
        let Some(engine) = &mut self.engine else {
            return datagrams;
        };

        let mut frames = 0;
        while let Some(output) = engine.poll_output() {
            if let Output::Frame(arrived) = output {
                frames += 1;
                engine.recycle(arrived.whole.body);
            }
        }

        datagrams * frames
    }
}

/// Waits as the viewer does until something is there, and reads until nothing is.
pub(crate) fn drain(
    runtime: &Runtime,
    socket: &udp::Socket,
    trains: &mut GroBatches,
    mut each: impl FnMut(&mut [u8]),
) {
    runtime.block_on(poll_fn(|context| socket.poll_readable(context)));
    while let Ok(count) = socket.receive(trains) {
        trains.datagrams(count).for_each(&mut each);
    }
}

/// A plain socket that hears `from` only.
fn connected(from: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.connect(from)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
