//! From an address to the bytes of a stream: requests, redirections and credentials.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;

use fanlight_daemon::clock;
use fanlight_daemon::digest_auth::hex;
use fanlight_proto::clock::Time;

use super::connection::Connection;
use super::head::{BadHead, Chunks, Head, parse};
use super::{HttpInput, credentials};
use crate::camera::CameraError;
use crate::camera::address::CameraAddress;
use crate::jpeg::splitter::{MAX_PUSH, Splitter};

/// Most requests of one opening: three redirections, each of which may ask who it is.
const MAX_REQUESTS: usize = 8;

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Body {
    connection: Connection,
    chunks: Option<Chunks>,
    buffer: Box<[u8]>,
    /// Bytes of `buffer` that came with the head.
    unread: Range<usize>,
}

/// Asks until there is a stream.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn open(input: &HttpInput) -> Result<Body, CameraError> {
    let mut camera = input.address.clone();
    let password = camera.password(input.password.as_ref());
    let password = password.map_err(|error| CameraError::Failed(error.to_string()))?;
    let mut shown = None;

    for _ in 0..MAX_REQUESTS {
        let (head, body) = ask(input, &camera, shown.as_deref())?;
        match head.status {
            200 => return check_kind(&camera, &head).map(|()| body),
            301..=303 | 307 | 308 => {
                let location = head.location.as_deref().unwrap_or_default();
                camera = camera.join(location).map_err(|_| {
                    CameraError::Failed(format!("{camera} sends on to no address of HTTP"))
                })?;
                shown = None;
            }
            401 if shown.is_none() => {
                let password = password.as_deref().unwrap_or_default();
                shown = Some(credentials_for(&camera, &head, password)?);
            }
            _ => return Err(refusal(&camera, head.status)),
        }
    }

    Err(CameraError::Failed(format!(
        "{} sends on without end",
        input.address
    )))
}

fn credentials_for(
    camera: &CameraAddress,
    head: &Head,
    password: &str,
) -> Result<String, CameraError> {
    if camera.user.is_empty() {
        return Err(CameraError::Failed(format!(
            "{camera} asks for a user and a password: write USER@ before its host, and name a file with the password by \
             input_password"
        )));
    }

    let client = hex(&clock::random_bytes::<8>());
    let known = (camera.user.as_str(), password);
    credentials::answer(&head.challenges, known, &camera.path, &client).ok_or_else(|| {
        let text =
            format!("{camera} asks for a password in a way that is neither Basic nor Digest");
        CameraError::Failed(text)
    })
}

/// What an answer that brings no stream means.
fn refusal(camera: &CameraAddress, status: u16) -> CameraError {
    match status {
        401 => CameraError::Failed(format!("{camera} refuses the password")),
        403 => CameraError::Failed(format!("{camera} allows this user no stream (403)")),
        404 => CameraError::Failed(format!("{camera}: the camera has nothing there (404)")),
        429 | 503 => CameraError::Busy(format!(
            "{camera} has no room for one more who watches ({status})"
        )),
        _ => CameraError::Failed(format!("{camera} answers with an error ({status})")),
    }
}

/// Whether the body can hold a stream. What a camera calls it is only believed when it says that it is something else.
fn check_kind(camera: &CameraAddress, head: &Head) -> Result<(), CameraError> {
    let (kind, _) = head.content_type.split_once('/').unwrap_or_default();
    match kind {
        "image" => Err(CameraError::Failed(format!(
            "{camera} is not a stream of JPEGs but a single picture: use the address of the camera's MJPEG stream"
        ))),
        "text" | "audio" => Err(not_a_stream(camera, &head.content_type)),
        _ if head.content_type.ends_with("/json") => Err(not_a_stream(camera, &head.content_type)),
        _ => Ok(()),
    }
}

pub(super) fn not_a_stream(camera: &CameraAddress, what: &str) -> CameraError {
    CameraError::Failed(format!(
        "{camera} is not a stream of JPEGs: it sends {what}"
    ))
}

/// One request, and the head of its answer.
fn ask(
    input: &HttpInput,
    camera: &CameraAddress,
    shown: Option<&str>,
) -> Result<(Head, Body), CameraError> {
    let mut connection = Connection::open(camera, &input.trust, input.stall_limit)?;
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::TimedOut => {
            CameraError::Stalled(format!("{camera} takes the connection but does not answer"))
        }
        _ => CameraError::Unplugged(format!("{camera} cannot be reached: {error}")),
    };

    let request = request(camera, shown);
    connection
        .write(request.as_bytes())
        .map_err(|error| failed(&error))?;

    let until = clock::now() + input.stall_limit;
    let mut buffer = vec![0; MAX_PUSH].into_boxed_slice();
    let mut length = 0;
    loop {
        let count = connection.read(until, &mut buffer[length..]);
        let count = count.map_err(|error| failed(&error))?;
        if count == 0 {
            let text = format!("{camera} ends the connection without an answer");
            return Err(CameraError::Failed(text));
        }

        length += count;
        let parsed = parse(&buffer[..length]).map_err(|BadHead| {
            CameraError::Failed(format!("what answers at {camera} does not speak HTTP"))
        })?;
        if let Some((head, begin)) = parsed {
            let body = Body {
                connection,
                chunks: head.is_chunked.then(Chunks::default),
                buffer,
                unread: begin..length,
            };
            return Ok((head, body));
        }
    }
}

fn request(camera: &CameraAddress, shown: Option<&str>) -> String {
    let (path, host) = (&camera.path, camera.authority());
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fanlight\r\nAccept: multipart/x-mixed-replace, */*\r\n\
         Connection: close\r\n"
    );
    if let Some(shown) = shown {
        // A text takes everything.
        let _ = write!(request, "Authorization: {shown}\r\n");
    }
    request + "\r\n"
}

impl Body {
    /// Gives the next bytes to `splitter`, and waits for some at most until `until`; how many the connection brought. None:
    /// the body has ended.
    ///
    /// # Errors
    /// As `recv(2)`, and when the body's chunks are damaged.
    pub(super) fn read(&mut self, until: Time, splitter: &mut Splitter) -> io::Result<usize> {
        if self.unread.is_empty() {
            let ended = self.chunks.as_ref().is_some_and(|chunks| chunks.is_over);
            let count = match ended {
                true => 0,
                false => self.connection.read(until, &mut self.buffer)?,
            };
            self.unread = 0..count;
        }

        let bytes = &self.buffer[std::mem::take(&mut self.unread)];
        match &mut self.chunks {
            None => splitter.push(bytes),
            Some(chunks) => chunks
                .decode(bytes, |bytes| splitter.push(bytes))
                .map_err(|_| io::Error::other("its chunks are damaged"))?,
        }
        Ok(bytes.len())
    }

    /// How many bytes wait in the kernel.
    pub(super) fn waiting(&mut self) -> u64 {
        self.connection.waiting()
    }
}
