//! A client of the relay's HTTP side that does nothing by itself: what is sent is written in the test, what comes back is
//! taken apart strictly.

mod socket;

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

pub use socket::{Frame, Said, Socket};

use crate::program::Program;
use crate::wait::SOON;

/// Longest answer that is read whole.
const MAX_BODY: u64 = 64 << 20;

/// Where a relay serves HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Site(pub SocketAddr);

/// An answer that has come whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What came after them.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {} {text:?}", self.status))
    }

    /// What the JSON says is wrong.
    #[must_use]
    #[track_caller]
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

impl Site {
    /// Where `relay` says that it serves.
    ///
    /// # Panics
    /// When it does not say so.
    #[must_use]
    #[track_caller]
    pub fn of(relay: &Program) -> Self {
        let line = relay.wait_for_line(" http=");
        let (_, rest) = line
            .text
            .split_once(" http=")
            .expect("the line was chosen by these words");

        let word = rest.split(' ').next().unwrap_or_default();
        Self(
            word.parse()
                .unwrap_or_else(|_| panic!("no address: {}", line.text)),
        )
    }

    /// The address of `path` for other programs.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }

    /// Gets `path`.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    /// Asks for `path` in a connection of its own, which the relay closes after the answer.
    ///
    /// # Panics
    /// When no answer comes.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let all = [headers, &[("Connection", "close")]].concat();
        let (mut answer, mut rest) = self
            .begin(method, path, &all, body)
            .expect("the relay answers");
        if method != "HEAD" {
            rest.read_body(&mut answer).expect("the whole answer comes");
        }

        answer
    }

    /// Begins a multipart stream.
    ///
    /// # Panics
    /// When that is not what comes.
    #[must_use]
    #[track_caller]
    pub fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Parts {
        let (answer, rest) = self
            .begin("GET", path, headers, "")
            .expect("the relay answers");
        let kind = answer.header("content-type");
        let boundary = kind
            .strip_prefix("multipart/x-mixed-replace; boundary=")
            .unwrap_or_else(|| {
                panic!("no multipart answer: {} {kind}", answer.status);
            });

        Parts {
            boundary: format!("--{boundary}").into_bytes(),
            body: Chunks {
                reader: rest.0,
                left: 0,
            },
            buffer: Vec::new(),
            begun: false,
        }
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The answer, when it is another one.
    ///
    /// # Panics
    /// When no answer comes.
    #[track_caller]
    pub fn socket(&self, path: &str, headers: &[(&str, &str)]) -> Result<Socket, Box<Answer>> {
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];

        let (mut answer, mut rest) = self
            .begin("GET", path, &[&upgrade, headers].concat(), "")
            .expect("the relay answers");
        if answer.status != 101 {
            rest.read_body(&mut answer).expect("the whole answer comes");
            return Err(Box::new(answer));
        }

        // RFC 6455 section 1.3 has this key and what it makes.
        assert_eq!(
            answer.header("sec-websocket-accept"),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );

        Ok(Socket::new(rest.0))
    }

    /// Sends a request and reads the head of the answer.
    ///
    /// # Errors
    /// When the connection ends before that, or nothing comes for [`SOON`].
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<(Answer, Rest)> {
        let mut stream = self.connect()?;
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request += &format!("Host: {}\r\n", self.0);
        }

        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }

        if !body.is_empty() {
            request += &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }

        stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
        let mut rest = Rest(BufReader::new(stream));
        let answer = rest.read_head()?;
        Ok((answer, rest))
    }

    /// A connection on which nothing is waited for longer than [`SOON`].
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.0)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// What comes on a connection after the head of an answer.
#[derive(Debug)]
pub struct Rest(BufReader<TcpStream>);

impl Rest {
    /// The connection.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// The head of the next answer.
    ///
    /// # Errors
    /// As [`Site::begin`].
    pub fn read_head(&mut self) -> io::Result<Answer> {
        let status = line(&mut self.0)?;
        let bad = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no HTTP/1.1: {status:?}"),
            )
        };

        let code = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(bad)?;

        let mut headers = Vec::new();
        loop {
            let line = line(&mut self.0)?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };

            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }

        Ok(Answer {
            status: code,
            headers,
            body: Vec::new(),
        })
    }

    /// The body of `answer`, by its length or to the end.
    ///
    /// # Errors
    /// As [`Site::begin`].
    pub fn read_body(&mut self, answer: &mut Answer) -> io::Result<()> {
        if matches!(answer.status, 204 | 304) {
            return Ok(());
        }

        match answer.header("content-length").parse::<u64>() {
            Ok(length) => self
                .0
                .by_ref()
                .take(length.min(MAX_BODY))
                .read_to_end(&mut answer.body)?,
            Err(_) => Chunks {
                reader: &mut self.0,
                left: 0,
            }
            .take(MAX_BODY)
            .read_to_end(&mut answer.body)?,
        };

        Ok(())
    }
}

/// The body of an answer in chunks (RFC 9112 section 7.1).
#[derive(Debug)]
struct Chunks<R> {
    reader: R,
    left: usize,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let size = line(&mut self.reader)?;
            let bad = |_| io::Error::new(io::ErrorKind::InvalidData, format!("no chunk: {size:?}"));
            self.left = usize::from_str_radix(&size, 16).map_err(bad)?;
            if self.left == 0 {
                line(&mut self.reader)?;
                return Ok(0);
            }
        }

        let length = self.left.min(buffer.len());
        let count = self.reader.read(&mut buffer[..length])?;
        self.left -= count;

        if self.left == 0 {
            line(&mut self.reader)?;
        }

        Ok(count)
    }
}

/// A line without its end.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }

    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A multipart stream that goes on.
#[derive(Debug)]
pub struct Parts {
    boundary: Vec<u8>,
    body: Chunks<BufReader<TcpStream>>,
    buffer: Vec<u8>,
    begun: bool,
}

/// One part of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The picture.
    pub body: Vec<u8>,
}

impl Part {
    /// The value of a header; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

impl Parts {
    /// The next part; none at the end. It is complete when the boundary after it has come.
    ///
    /// # Errors
    /// When the connection ends without a last boundary, or nothing comes for [`SOON`].
    ///
    /// # Panics
    /// When something stands where nothing may.
    pub fn next_part(&mut self) -> io::Result<Option<Part>> {
        if !self.begun {
            let boundary = self.boundary.clone();
            assert!(
                self.until(&boundary)?.is_empty(),
                "nothing may stand before the first boundary"
            );
            self.begun = true;
        }

        let end = self.until(b"\r\n")?;
        if end == b"--" {
            return Ok(None);
        }

        assert!(end.is_empty(), "after a boundary the line ends");
        let mut headers = Vec::new();

        loop {
            let line = String::from_utf8(self.until(b"\r\n")?).expect("headers are text");
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };

            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }

        let boundary = [b"\r\n", self.boundary.as_slice()].concat();
        let body = self.until(&boundary)?;
        Ok(Some(Part { headers, body }))
    }

    /// The connection.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.body.reader.get_ref()
    }

    /// What comes before `mark`, which is taken too.
    fn until(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        let mut looked = 0;
        loop {
            let found = self.buffer[looked..]
                .windows(mark.len())
                .position(|window| window == mark);
            if let Some(at) = found {
                let mut taken: Vec<u8> = self.buffer.drain(..looked + at + mark.len()).collect();
                taken.truncate(looked + at);
                return Ok(taken);
            }

            looked = self.buffer.len().saturating_sub(mark.len());
            let mut piece = [0; 64 << 10];
            let count = self.body.read(&mut piece)?;

            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }

            self.buffer.extend_from_slice(&piece[..count]);
        }
    }
}

/// Sets how long a read of `stream` may take.
///
/// # Panics
/// When the connection is of no use.
pub fn limit(stream: &TcpStream, length: Duration) {
    stream
        .set_read_timeout(Some(length))
        .expect("a connection has a limit to be set");
}
