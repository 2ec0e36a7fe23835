//! The head of an answer, and the chunks of its body. No I/O.

use httparse::{EMPTY_HEADER, ParserConfig, Response, Status};

/// Largest head that is read, in bytes.
pub(super) const MAX_HEAD: usize = 16 << 10;

/// Most fields of a head.
const MAX_FIELDS: usize = 64;

/// Longest line that tells the size of a chunk, in bytes: 16 digits, the rest is room for extensions.
const MAX_CHUNK_LINE: usize = 256;

/// What a head says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// In lower case, without parameters; empty when it says none.
    pub(super) content_type: String,
    pub(super) location: Option<String>,
    /// What is asked for before there is an answer: the fields `WWW-Authenticate`.
    pub(super) challenges: Vec<String>,
    pub(super) is_chunked: bool,
}

/// The head and how many bytes it takes; none while it is not complete.
///
/// # Errors
/// When it is no head of HTTP, or too large.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, BadHead> {
    // Cameras write what servers would not.
    let mut lenient = ParserConfig::default();
    lenient
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);

    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut response = Response::new(&mut fields);
    match lenient.parse_response(&mut response, bytes) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => Ok(Some((head(&response), length))),
        Ok(Status::Partial) if bytes.len() < MAX_HEAD => Ok(None),
        _ => Err(BadHead),
    }
}

/// What came is no head of an answer, or an endless one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHead;

fn head(response: &Response<'_, '_>) -> Head {
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        ..Head::default()
    };

    for field in response.headers.iter() {
        let value = String::from_utf8_lossy(field.value).trim().to_owned();
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-type") {
            let kind = value.split(';').next().unwrap_or_default();
            head.content_type = kind.trim().to_ascii_lowercase();
        } else if is("location") {
            head.location = Some(value);
        } else if is("www-authenticate") {
            head.challenges.push(value);
        } else if is("transfer-encoding") {
            head.is_chunked = value.eq_ignore_ascii_case("chunked");
        }
    }

    head
}

/// Takes the bytes out of a body's chunks (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// The line that tells the next chunk's size, as far as it came.
    line: Vec<u8>,
    /// Bytes that are left of a chunk.
    left: u64,
    pub(super) is_over: bool,
}

/// What came are no chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadChunk;

impl Chunks {
    /// Gives the bytes of the body that are in `bytes` to `take`.
    ///
    /// # Errors
    /// When these are no chunks.
    pub(super) fn decode(
        &mut self,
        mut bytes: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), BadChunk> {
        while !bytes.is_empty() && !self.is_over {
            if self.left > 0 {
                let count = usize::try_from(self.left).map_or(bytes.len(), |n| n.min(bytes.len()));
                take(&bytes[..count]);
                self.left -= count as u64;
                bytes = &bytes[count..];
                continue;
            }

            let end = bytes.iter().position(|&byte| byte == b'\n');
            let upto = end.unwrap_or(bytes.len());
            self.line.extend_from_slice(&bytes[..upto]);
            if self.line.len() > MAX_CHUNK_LINE {
                return Err(BadChunk);
            }

            bytes = &bytes[end.map_or(upto, |end| end + 1)..];
            if end.is_some() {
                self.on_line()?;
            }
        }

        Ok(())
    }

    fn on_line(&mut self) -> Result<(), BadChunk> {
        let line = std::mem::take(&mut self.line);
        // The end of the chunk before it.
        if line.trim_ascii().is_empty() {
            return Ok(());
        }

        let size = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size.trim_ascii()).map_err(|_| BadChunk)?;
        self.left = u64::from_str_radix(size, 16).map_err(|_| BadChunk)?;
        self.is_over = self.left == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.0 401 Unauthorized\r\nServer: cam\r\nCONTENT-TYPE: Multipart/X-Mixed-Replace; \
        boundary=\"a b\"\r\nWWW-Authenticate: Digest realm=\"a\"\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\
        Location: /x\r\nTransfer-Encoding: Chunked\r\n\r\n";

    #[test]
    fn a_head_is_read_however_it_is_cut() {
        for end in 0..HEAD.len() {
            assert_eq!(parse(&HEAD.as_bytes()[..end]), Ok(None), "{end}");
        }

        let (head, length) = parse(HEAD.as_bytes()).unwrap().unwrap();
        assert_eq!((head.status, length), (401, HEAD.len()));
        assert_eq!(head.content_type, "multipart/x-mixed-replace");
        assert_eq!(head.challenges.len(), 2);
        assert_eq!(head.location.as_deref(), Some("/x"));
        assert!(head.is_chunked);
    }

    #[test]
    fn heads_that_cameras_write_are_read() {
        for text in [
            "HTTP/1.0 200 OK\nContent-Type: image/jpeg\n\n",
            "HTTP/1.1 200\r\nContent-Type : image/jpeg\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\nContent-Type: image/jpeg\r\n\r\n",
        ] {
            let (head, _) = parse(text.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (head.status, head.content_type.as_str()),
                (200, "image/jpeg")
            );
        }
    }

    #[test]
    fn an_endless_head_and_what_is_none_are_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
        assert_eq!(parse(endless.as_bytes()), Err(BadHead));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert_eq!(parse(many.as_bytes()), Err(BadHead));
        assert_eq!(parse(b"RTSP/1.0 200 OK\r\n\r\n"), Err(BadHead));
    }

    #[test]
    fn chunks_come_out_whole_however_they_are_cut() {
        let body = b"5\r\nhello\r\n0006;x=y\r\n world\r\n0\r\n\r\nmore";
        for step in 1..body.len() {
            let (mut chunks, mut out) = (Chunks::default(), Vec::new());
            for bytes in body.chunks(step) {
                let taken = chunks.decode(bytes, |bytes| out.extend_from_slice(bytes));
                taken.unwrap();
            }
            assert_eq!(
                (out.as_slice(), chunks.is_over),
                (&b"hello world"[..], true)
            );
        }
    }

    #[test]
    fn what_are_no_chunks_is_refused() {
        let endless = [b'1'; MAX_CHUNK_LINE + 1];
        for bytes in [
            &b"xyz\r\n"[..],
            b"-5\r\n",
            b"11112222333344445\r\n",
            &endless,
        ] {
            assert_eq!(Chunks::default().decode(bytes, |_| ()), Err(BadChunk));
        }
    }
}
