//! The control datagram: its outer form, the plaintext of a sealed one, and the bounds of its messages.

use prost::Message;

use super::{CONTROL_HEADER, DatagramError, MAGIC, SEAL_BYTES, kind, u16_at, u64_at};
use crate::limits::{MAX_DATAGRAM, MAX_REASON, MAX_REPAIR_RANGES, MAX_VIEWER_NAME};
use crate::message::{Goodbye, Join, Repair, truncate_reason};

/// A control datagram whose kind, length and session have been parsed.
#[derive(Clone, Copy)]
pub(super) struct Control<'a> {
    pub(super) kind: u8,
    session: u64,
    body: &'a [u8],
}

impl<'a> Control<'a> {
    pub(super) fn parse(datagram: &'a [u8]) -> Result<Self, DatagramError> {
        if datagram.first() != Some(&MAGIC) {
            return Err(DatagramError::Foreign);
        }

        if !(CONTROL_HEADER..=MAX_DATAGRAM).contains(&datagram.len()) {
            return Err(DatagramError::Length(datagram.len()));
        }

        let (head, rest) = datagram.split_at(CONTROL_HEADER);
        let body = rest
            .get(..usize::from(u16_at(head, 2)))
            .ok_or(DatagramError::Length(datagram.len()))?;
        if head[1] != kind::JOIN && body.len() != rest.len() {
            return Err(DatagramError::Length(datagram.len()));
        }

        Ok(Self {
            kind: head[1],
            session: u64_at(head, 4),
            body,
        })
    }

    /// Parses the plaintext of a sealed message: kind and body.
    pub(super) fn parse_inner(session: u64, plaintext: &'a [u8]) -> Result<Self, DatagramError> {
        let (kind, body) = plaintext.split_first().ok_or(DatagramError::Length(0))?;
        Ok(Self {
            kind: *kind,
            session,
            body,
        })
    }

    /// Session, counter and ciphertext of a sealed message.
    pub(super) fn sealed(&self) -> Result<(u64, u64, &'a [u8]), DatagramError> {
        let length = DatagramError::Length(CONTROL_HEADER + self.body.len());
        let (counter, ciphertext) = self.body.split_first_chunk().ok_or(length)?;
        if ciphertext.len() <= SEAL_BYTES {
            return Err(length);
        }
        Ok((self.session()?, u64::from_be_bytes(*counter), ciphertext))
    }

    /// The session; an error if there is none.
    pub(super) fn session(&self) -> Result<u64, DatagramError> {
        if self.session == 0 {
            Err(DatagramError::Field("session"))
        } else {
            Ok(self.session)
        }
    }

    pub(super) fn body<M: Message + Default>(&self) -> Result<M, DatagramError> {
        M::decode(self.body).map_err(|_| DatagramError::Body)
    }
}

pub(super) fn encode(kind: u8, session: u64, body: &impl Message, out: &mut Vec<u8>) {
    let length = body.encoded_len();
    let short = u16::try_from(length).expect("a control message is bounded far below 64 KiB");
    out.clear();
    out.extend_from_slice(&[MAGIC, kind]);
    out.extend_from_slice(&short.to_be_bytes());
    out.extend_from_slice(&session.to_be_bytes());
    body.encode(out)
        .expect("a Vec grows as far as the message needs");
}

pub(super) fn encode_sealed(session: u64, counter: u64, ciphertext: &[u8], out: &mut Vec<u8>) {
    let short =
        u16::try_from(8 + ciphertext.len()).expect("a control message is bounded far below 64 KiB");
    out.clear();
    out.extend_from_slice(&[MAGIC, kind::SEALED]);
    out.extend_from_slice(&short.to_be_bytes());
    out.extend_from_slice(&session.to_be_bytes());
    out.extend_from_slice(&counter.to_be_bytes());
    out.extend_from_slice(ciphertext);
}

/// Reduces a control datagram to the part that is sealed: its kind and its body.
pub(super) fn to_inner(datagram: &mut Vec<u8>) {
    let kind = datagram[1];
    datagram.drain(..CONTROL_HEADER - 1);
    datagram[0] = kind;
}

pub(super) fn checked_join(join: Join) -> Result<Join, DatagramError> {
    if join.name.len() > MAX_VIEWER_NAME {
        return Err(DatagramError::Field("name"));
    }
    Ok(join)
}

pub(super) fn checked_repair(repair: Repair) -> Result<Repair, DatagramError> {
    if repair.ranges.len() > 2 * MAX_REPAIR_RANGES || !repair.ranges.len().is_multiple_of(2) {
        return Err(DatagramError::Field("ranges"));
    }
    Ok(repair)
}

/// The body, when `check` finds nothing out of its bounds.
pub(super) fn checked<M>(
    body: M,
    check: fn(&M) -> Result<(), &'static str>,
) -> Result<M, DatagramError> {
    check(&body).map_err(DatagramError::Field)?;
    Ok(body)
}

pub(super) fn checked_goodbye(mut goodbye: Goodbye) -> Goodbye {
    if goodbye.reason.len() > MAX_REASON {
        truncate_reason(&mut goodbye.reason);
    }
    goodbye
}
