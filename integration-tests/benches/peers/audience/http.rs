//! A client of MJPEG over HTTP.

use std::io;
use std::sync::Arc;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::Seat;
use crate::pictures::taken;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Asks for `path` and takes parts until the server has enough.
pub(super) async fn receive(
    stream: std::net::TcpStream,
    path: &str,
    seat: Arc<Seat>,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut stream = BufReader::with_capacity(CHUNK, TcpStream::from_std(stream)?);
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())
        .await?;
    let mut line = String::new();
    let mut length = 0;
    let mut picture = Vec::new();
    let mut told = None;

    while stream.read_line(&mut line).await? > 0 {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }

        if name.eq_ignore_ascii_case("x-timestamp") {
            told = value.trim().parse().ok();
        }

        // The response's own header ends with an empty line as well, and has no length.
        if line.trim().is_empty() && length > 0 {
            picture.resize(length, 0);
            stream.read_exact(&mut picture).await?;
            // Where nobody wrote the time into the picture, the part's header has it.
            let written = taken(&picture).filter(|time| *time > Time::default());
            seat.note(written.or_else(|| told.take().map(captured)));
            length = 0;
        }

        line.clear();
    }

    Ok(())
}

/// The moment that a part's header tells, in seconds since 1970.
fn captured(seconds: f64) -> Time {
    let nanos = (seconds * 1e9) as i64 - clock::wall_offset_ns();
    Time::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
