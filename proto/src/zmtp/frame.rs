//! Frames of ZMTP: their headers, and the buffer in which they are collected.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{BufMut, Bytes};

use super::ProtocolError;

pub(super) const MORE: u8 = 1;
const LONG: u8 = 2;
pub(super) const COMMAND: u8 = 4;

/// Longest header of a frame.
pub(super) const MAX_HEADER: usize = 9;

/// The buffer has at least so much room for the next read: header, topic and header of a frame have a tenth of that.
const MIN_ROOM: usize = 4 << 10;

/// The buffer grows by at most so much, or by what it holds already, for a frame that is longer.
const GROWTH: usize = 64 << 10;

/// A body of so many bytes takes its buffer along; a shorter one is copied.
const LARGE: usize = 16 << 10;

/// Buffers that bodies were given out in, and that are used again: the one of the newest body, and the one before, of which
/// nobody has a use any more when the next has come.
const LENT: usize = 2;

/// Writes the header of a frame.
pub(super) fn put_header(out: &mut Vec<u8>, flags: u8, length: usize) {
    if let Ok(short) = u8::try_from(length) {
        out.put_slice(&[flags, short]);
    } else {
        out.put_u8(flags | LONG);
        out.put_u64(length as u64);
    }
}

/// A frame that lies in a [`FrameReader`].
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) flags: u8,
    body: Range<usize>,
}

/// Collects bytes and finds the frames in them.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    unread: Vec<u8>,
    /// Where the next frame begins.
    start: usize,
    /// Length of the next frame with its header, as far as that is known.
    wanted: usize,
    /// Length of the last large body. The next one is likely to be like it, and is then read in one call.
    last_large: usize,
    /// The last buffers that went along with bodies, oldest first. One that is free again is read into without the system
    /// having to map, clear and unmap its pages for each frame.
    lent: VecDeque<Bytes>,
}

impl FrameReader {
    /// Where to append what has been read. It has spare capacity.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start == self.unread.len() {
            self.unread.clear();
            self.start = 0;
        }

        let pending = self.unread.len() - self.start;
        let expected = match pending {
            0 => self.last_large,
            _ => self
                .wanted
                .saturating_sub(pending)
                .min(pending.max(GROWTH).max(self.last_large)),
        };

        let room = MIN_ROOM + expected;
        if self.unread.capacity() - self.unread.len() < room {
            self.unread.drain(..self.start);
            self.start = 0;
            self.unread.reserve_exact(room);
        }
        &mut self.unread
    }

    /// The next `N` bytes, as soon as there are so many.
    pub(super) fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.unread[self.start..].first_chunk()?;
        self.start += N;
        Some(bytes)
    }

    /// The bytes that have come and are in no frame yet.
    pub(super) fn pending(&self) -> &[u8] {
        &self.unread[self.start..]
    }

    /// The next whole frame. `limit` tells the longest body for its flags, which is checked before any of the body is
    /// waited for.
    pub(super) fn next(
        &mut self,
        limit: impl FnOnce(u8) -> Result<usize, ProtocolError>,
    ) -> Result<Option<Frame>, ProtocolError> {
        self.wanted = 0;
        let Some((flags, header, length)) = parse_header(self.pending())? else {
            return Ok(None);
        };

        let limit = limit(flags)?;
        let body = usize::try_from(length)
            .ok()
            .filter(|body| *body <= limit)
            .ok_or(ProtocolError::TooLong { length, limit })?;

        self.wanted = header + body;
        if self.pending().len() < self.wanted {
            return Ok(None);
        }

        if body >= LARGE {
            self.last_large = body;
        }

        let begin = self.start + header;
        let body = begin..begin + body;
        self.start = body.end;
        Ok(Some(Frame { flags, body }))
    }

    /// What lies in the body of `frame`, the last that [`next`](Self::next) gave.
    pub(super) fn body(&self, frame: &Frame) -> &[u8] {
        &self.unread[frame.body.clone()]
    }

    /// The body of `frame`, the last that [`next`](Self::next) gave, without a copy if it is large.
    pub(super) fn take(&mut self, frame: &Frame) -> Bytes {
        let Range { start, end } = frame.body.clone();
        let length = end - start;

        // A small body must not keep the room for a large one in memory.
        if length < LARGE || length < self.unread.capacity() / 2 {
            return Bytes::copy_from_slice(&self.unread[start..end]);
        }

        let mut next = self.unused(self.unread.len() - end + MIN_ROOM + length);
        next.extend_from_slice(&self.unread[end..]);
        let mut whole = std::mem::replace(&mut self.unread, next);
        self.start = 0;
        whole.truncate(end);

        let whole = Bytes::from(whole);
        if self.lent.len() == LENT {
            self.lent.pop_front();
        }
        self.lent.push_back(whole.clone());
        whole.slice(start..)
    }

    /// An empty buffer with so much room: one that nobody reads any more, unless it has far too much.
    fn unused(&mut self, room: usize) -> Vec<u8> {
        let free = self.lent.iter().position(Bytes::is_unique);
        let buffer = free.and_then(|at| self.lent.remove(at)).map(|mut bytes| {
            // What it holds is not copied into the vector then.
            bytes.truncate(0);
            Vec::from(bytes)
        });

        let fits = |buffer: &Vec<u8>| (room..=2 * room).contains(&buffer.capacity());
        buffer
            .filter(fits)
            .unwrap_or_else(|| Vec::with_capacity(room))
    }
}

/// Flags, the header's own length and the length of the body; `None` while the header is not whole.
fn parse_header(bytes: &[u8]) -> Result<Option<(u8, usize, u64)>, ProtocolError> {
    let Some((&flags, rest)) = bytes.split_first() else {
        return Ok(None);
    };

    if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
        return Err(ProtocolError::Flags(flags));
    }

    let header = if flags & LONG == 0 {
        rest.first().map(|length| (flags, 2, u64::from(*length)))
    } else {
        rest.first_chunk()
            .map(|length| (flags, MAX_HEADER, u64::from_be_bytes(*length)))
    };

    Ok(header)
}
