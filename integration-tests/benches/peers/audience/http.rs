//! A client of MJPEG over HTTP.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::Seat;
use crate::pictures::taken;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// Asks for `path` and takes parts until the server has enough.
pub(super) async fn receive(stream: std::net::TcpStream, path: &str, seat: Arc<Seat>) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut stream = BufReader::with_capacity(CHUNK, TcpStream::from_std(stream)?);
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: bench\r\n\r\n").as_bytes()).await?;
    let (mut line, mut length, mut picture) = (String::new(), 0, Vec::new());
    while stream.read_line(&mut line).await? > 0 {
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        // The response's own header ends with an empty line as well, and has no length.
        if line.trim().is_empty() && length > 0 {
            picture.resize(length, 0);
            stream.read_exact(&mut picture).await?;
            seat.note(taken(&picture));
            length = 0;
        }
        line.clear();
    }
    Ok(())
}
