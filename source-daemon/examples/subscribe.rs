//! Reads the pictures of a source that publishes in the clear, as any Rust program can, with the `zeromq` crate:
//!
//! ```sh
//! cargo run -p fanlight-source --example subscribe -- ipc:///run/fanlight/streams/cam.ipc cam 10
//! ```
//!
//! The last number is of frames, after which it ends; without it it goes on.

use anyhow::Context as _;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::parse_frame;
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().context("say where the source publishes")?;
    let stream = arguments.next().unwrap_or_else(|| "cam".into());
    let count = arguments
        .next()
        .map_or(Ok(usize::MAX), |text| text.parse())?;

    let mut socket = SubSocket::new();
    // A subscription is a prefix: without the slash `cam1` would match `cam10`.
    socket.subscribe(&format!("{stream}/")).await?;
    socket.connect(&endpoint).await?;

    let mut seen = 0;
    while seen < count {
        let message = socket.recv().await?;
        let topic = message.get(0).context("a message has a topic")?;
        let body = message.get(1).context("a message has a frame")?.clone();
        let frame = parse_frame(topic, body, MAX_FRAME_BYTES)?;
        // Without a JPEG it is a heartbeat.
        if frame.jpeg.is_empty() {
            continue;
        }

        let (number, bytes) = (frame.id.number, frame.jpeg.len());
        // Of this host's monotonic clock, when the source runs here.
        let age = clock::now().saturating_since(Time::from_nanos(frame.header.captured_ns));
        println!(
            "{}: frame {number}, JPEG of {bytes} bytes, captured {age:.1?} ago",
            frame.stream
        );
        seen += 1;
    }

    Ok(())
}
