//! Reads the pictures of a source that publishes in the clear, as any Rust program can, with the `zeromq` crate:
//!
//! ```sh
//! cargo run -p fanlight-source --example subscribe -- ipc:///run/fanlight/source.ipc cam
//! ```

use anyhow::Context as _;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::parse_frame;
use zeromq::{Socket as _, SocketRecv as _, SubSocket};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().context("say where the source publishes")?;
    let stream = arguments.next().unwrap_or_else(|| "cam".into());

    let mut socket = SubSocket::new();
    // A subscription is a prefix: without the slash `cam1` would match `cam10`.
    socket.subscribe(&format!("{stream}/")).await?;
    socket.connect(&endpoint).await?;

    loop {
        let message = socket.recv().await?;
        let topic = message.get(0).context("a message has a topic")?;
        let body = message.get(1).context("a message has a frame")?.clone();
        let frame = parse_frame(topic, body, MAX_FRAME_BYTES)?;
        let (number, bytes) = (frame.id.number, frame.jpeg.len());
        println!("{}: frame {number}, JPEG of {bytes} bytes", frame.stream);
    }
}
