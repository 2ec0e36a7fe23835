//! The smallest output: a thread that counts the frames of one stream. `docs/adding-an-output.md` explains it.
//!
//! `cargo run -p fanlight-live --example output` publishes a hundred frames to it and prints how many it took.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{Output, OutputServer, StreamTable, Subscribe, start_thread};
use fanlight_proto::limits::{MAX_FRAME_BYTES, SOURCE_STALE};
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, State, StreamName, parse_frame};

/// How long the relay may take to have the stream, and how often it is looked for.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The output, with what it needs to start. One that listens has its bound socket here.
#[derive(Debug)]
struct FrameCounter {
    stream: StreamName,
}

impl OutputServer for FrameCounter {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        start_thread("frame-counter", async move || {
            let output = Output::new(table);
            tokio::select! {
                () = output.run() => {}
                () = count(&output, &self.stream) => {}
                () = shutdown.wait() => {}
            }
            Ok(())
        })
    }
}

/// One client. A real output has one such task for each connection.
async fn count(output: &Output, stream: &StreamName) {
    let mut frames = 0;
    let mut skipped = 0;

    loop {
        let Some(mut subscription) = output.subscribe(stream, Subscribe::default()) else {
            tokio::time::sleep(RETRY_INTERVAL).await;
            continue;
        };

        // Ends when the relay forgets the stream.
        while let Some(arrival) = subscription.next().await {
            frames += 1;
            skipped += arrival.skipped;
            let age_us = arrival.frame.age_us(clock::now());
            println!(
                "{stream}: {frames} frames, {skipped} skipped, {} bytes, age {age_us:?} us",
                arrival.frame.jpeg.len()
            );
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = StreamTable::new(SOURCE_STALE);
    let shutdown = Shutdown::new();
    let counter = FrameCounter {
        stream: "cam".parse()?,
    };
    let thread = Box::new(counter).start(Arc::clone(&table), shutdown.clone())?;

    for number in 0..100 {
        let header = FrameHeader {
            stream: "cam".into(),
            epoch: 1,
            number,
            width: 2,
            height: 1,
            format: Format::Jpeg as i32,
            state: State::Live as i32,
            ..FrameHeader::default()
        };

        let body = FrameBuffer::copy_of(&[0xff, 0xd8, 0xff, 0xd9]).finish(header);
        let frame = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES)?;
        table.publish(0, frame, body, clock::now())?;

        if shutdown.wait_timeout(Duration::from_millis(10)) {
            break;
        }
    }

    shutdown.trigger();
    thread.join().expect("the output does not panic");
    Ok(())
}
