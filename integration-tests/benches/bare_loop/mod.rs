//! The least that a frame can take from publisher to the last shard: three threads, a unix socket and UDP, nothing else.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER, DataHeader};
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::FrameId;
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::shard::packetize;
use fanlight_tests::wait::pause;
use quinn_udp::UdpSocketState;

use crate::measure::{cpu_nanos, median};
use crate::raw::Table;

/// Datagrams of the bare loop's trains.
const TRAIN: usize = 54;

/// Bytes of one read: with UDP GRO a train comes in one piece.
const READ: usize = 1 << 16;

/// What a viewer asks the kernel to keep.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Longest that a datagram is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What stands before the shards of the bare loop.
const HEADER: DataHeader = DataHeader {
    alias: 1,
    index: 0,
    shards: 0,
    parity: 0,
    key: None,
    length: 0,
    id: FrameId {
        epoch: 1,
        number: 1,
    },
    received_us: 0,
    lost_upstream: 0,
    lost_in_relay: 0,
    sequence: 1,
};

/// What was seen of the bare loop.
pub(crate) struct BareLoop {
    /// The median time of a frame in microseconds.
    pub(crate) time: Option<f64>,
    pub(crate) lost: usize,
    /// Microseconds of processor time that the thread in the middle spent for each frame.
    pub(crate) relay_cpu: f64,
}

/// What the bare loop's receiver does with a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It reads it.
    Bare,
    /// It checks each datagram and puts the frame together, in memory that is there, with a viewer's code.
    Viewer,
}

/// From one thread by a unix socket to a second, and from that by UDP to a third, which sleeps until then as the second does.
pub(crate) fn transit(
    frames: usize,
    jpeg: &[u8],
    frame_time: Duration,
    reading: Reading,
) -> Result<BareLoop, Box<dyn Error>> {
    let (mut publisher, mut relay) = UnixStream::pair()?;
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    UdpSocketState::new((&receiver).into())?;
    receiver.set_nonblocking(false)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    socket2::SockRef::from(&receiver).set_recv_buffer_size(RECEIVE_BUFFER)?;

    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let mut datagrams = Vec::new();
    packetize(HEADER, jpeg, &mut datagrams);
    let expected = datagrams.len();
    let targets = [receiver.local_addr()?];
    let mut frame = jpeg.to_vec();

    let sending = thread::spawn(move || -> io::Result<u64> {
        // Made by the thread that uses it: it is full of pointers.
        let mut table = Table::new(datagrams, DATA_BYTES, TRAIN, &targets);
        let began = cpu_nanos();
        for _ in 0..frames {
            relay.read_exact(&mut frame)?;
            table.send(sender.as_fd())?;
        }
        Ok(cpu_nanos() - began)
    });

    let (came, ends) = mpsc::channel();
    let receiving = thread::spawn(move || {
        let mut buffer = vec![0; READ];
        let mut reassembly = (reading == Reading::Viewer).then(|| Reassembly::new(MAX_FRAME_BYTES));
        for _ in 0..frames {
            let mut got = 0;
            // What does not come any more was lost.
            while got < expected {
                match receiver.recv(&mut buffer) {
                    Ok(bytes) => {
                        got += bytes;
                        let reassembly = reassembly.iter_mut();
                        reassembly
                            .for_each(|reassembly| put_together(reassembly, &buffer[..bytes]));
                    }
                    Err(_) => break,
                }
            }

            // The next frame has the same number.
            reassembly.iter_mut().for_each(Reassembly::on_other_stream);
            // Who waits for it ends only after this thread.
            let _ = came.send((got == expected).then(clock::now));
        }
    });

    let mut times = Vec::with_capacity(frames);
    for _ in 0..frames {
        pause(frame_time);
        let began = clock::now();
        publisher.write_all(jpeg)?;
        let ended = ends.recv()?;
        times.extend(ended.map(|ended| ended.saturating_since(began).as_secs_f64() * 1e6));
    }

    let spent = sending.join().expect("the sending thread does not panic")?;
    receiving
        .join()
        .expect("the receiving thread does not panic");
    Ok(BareLoop {
        lost: frames - times.len(),
        time: median(times),
        relay_cpu: spent as f64 / 1e3 / frames as f64,
    })
}

/// Takes a train as a viewer does.
fn put_together(reassembly: &mut Reassembly, train: &[u8]) {
    let now = clock::now();
    for datagram in train.chunks(DATA_BYTES) {
        if let Some(Ok(header)) = DataHeader::of_media(datagram)
            && let Some(whole) = reassembly.on_shard(now, &header, &datagram[DATA_HEADER..])
        {
            reassembly.recycle(whole.body);
        }
    }
}
