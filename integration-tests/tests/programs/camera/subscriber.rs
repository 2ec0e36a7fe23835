//! The host's side: subscribes to the source in the guest and checks whatever comes.

use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{CheckedFrame, State, parse_frame};
use fanlight_tests::jpeg;
use fanlight_tests::wait::Deadline;
use tokio::runtime::Runtime;
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

/// Everything in the guest runs in software emulation, and a test machine is busy: nothing is awaited for less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A subscription to the stream `cam`.
pub(crate) struct Subscriber {
    runtime: Runtime,
    endpoint: String,
    socket: Option<SubSocket>,
}

/// What came, and when.
pub(crate) struct Arrival {
    pub(crate) time: Time,
    pub(crate) frame: CheckedFrame,
}

/// What the webcam wrote into a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) sequence: u64,
    pub(crate) captured: Time,
    pub(crate) brightness: u64,
}

impl Subscriber {
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            runtime: runtime(),
            endpoint,
            socket: None,
        }
    }

    /// The next frame or heartbeat; the connection is made anew when it breaks.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Arrival {
        let deadline = Deadline::after(PATIENCE);
        while !deadline.is_over() {
            let endpoint = self.endpoint.clone();
            let socket = self.socket.take();
            let received = self.runtime.block_on(async move {
                let attempt = Duration::from_secs(2);
                tokio::time::timeout(attempt, receive(socket, &endpoint))
                    .await
                    .ok()?
            });

            if let Some((socket, topic, body)) = received {
                self.socket = Some(socket);
                let frame = parse_frame(&topic, body, MAX_FRAME_BYTES).unwrap();

                if !frame.jpeg.is_empty() {
                    // Panics unless the picture can be decoded without a warning.
                    let _ = jpeg::read_number(&frame.jpeg);
                }

                return Arrival {
                    time: clock::now(),
                    frame,
                };
            }

            // With the runtime goes whatever the broken socket left running.
            self.runtime = runtime();
        }

        panic!("nothing came from the source within {PATIENCE:?}");
    }

    /// The next `count` pictures.
    #[track_caller]
    pub(crate) fn pictures(&mut self, count: usize) -> Vec<Arrival> {
        let deadline = Deadline::after(PATIENCE * 2);
        let mut pictures = Vec::new();

        while pictures.len() < count {
            let arrival = self.next();
            let header = &arrival.frame.header;
            assert!(
                !deadline.is_over(),
                "{} of {count} pictures came; now: {}",
                pictures.len(),
                header.reason
            );

            if !arrival.frame.jpeg.is_empty() {
                pictures.push(arrival);
            }
        }

        pictures
    }

    /// The first arrival that tells of `state`.
    #[track_caller]
    pub(crate) fn until(&mut self, state: State) -> Arrival {
        let deadline = Deadline::after(PATIENCE);
        loop {
            let arrival = self.next();
            if arrival.frame.header.state() == state {
                return arrival;
            }

            let header = &arrival.frame.header;
            assert!(
                !deadline.is_over(),
                "waiting for {state:?}: it is {:?}, {}",
                header.state(),
                header.reason
            );
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Receives one message. The socket comes back only if nothing went wrong: a broken one is not mended.
async fn receive(socket: Option<SubSocket>, endpoint: &str) -> Option<(SubSocket, Bytes, Bytes)> {
    let mut socket = match socket {
        Some(socket) => socket,
        None => {
            let mut socket = SubSocket::new();
            socket.subscribe("cam/").await.ok()?;
            socket.connect(endpoint).await.ok()?;
            socket
        }
    };

    let message = socket.recv().await.ok()?;
    let [topic, body] =
        <[Bytes; 2]>::try_from(message.into_vec()).expect("a message has two parts");
    Some((socket, topic, body))
}

impl Arrival {
    /// Reads the comment that fakecam puts behind SOI.
    #[track_caller]
    pub(crate) fn stamp(&self) -> Stamp {
        stamp(self.comment())
    }

    /// The picture as it was before fakecam put the comment in.
    #[track_caller]
    pub(crate) fn original(&self) -> Vec<u8> {
        let jpeg = &self.frame.jpeg;
        [&jpeg[..2], &jpeg[6 + self.comment().len()..]].concat()
    }

    #[track_caller]
    fn comment(&self) -> &str {
        let jpeg = &self.frame.jpeg;
        assert_eq!(
            &jpeg[..4],
            [0xff, 0xd8, 0xff, 0xfe],
            "the picture begins with the webcam's comment"
        );

        let length = usize::from(u16::from_be_bytes([jpeg[4], jpeg[5]]));
        std::str::from_utf8(&jpeg[6..4 + length]).unwrap()
    }
}

fn stamp(comment: &str) -> Stamp {
    let mut numbers = comment
        .split(' ')
        .filter_map(|word| word.split_once('=')?.1.parse::<u64>().ok());
    let mut next = || numbers.next().unwrap_or_else(|| panic!("{comment:?}"));
    Stamp {
        sequence: next(),
        captured: Time::from_nanos(next()),
        brightness: next(),
    }
}
