//! Somebody on the way who has no key: alters, replays, drops or swaps each field of each message.
//!
//! Used by the simulator for single datagrams on a virtual clock, and by tests of programs in a [`UdpProxy`].
//!
//! [`UdpProxy`]: crate::udp_proxy::UdpProxy

use fanlight_proto::datagram::{CONTROL_HEADER, DATA_HEADER, SEALED_HEADER};
use fanlight_proto::limits::JOIN_BYTES;

use crate::seeded::Random;

const JOIN: u8 = 1;
const SEALED: u8 = 10;
const MEDIA: u8 = 16;

/// Where the fields of a media header begin (PROTOCOL.md, Media datagrams).
const MEDIA_FIELDS: [usize; 16] = [0, 1, 2, 4, 6, 8, 10, 11, 12, 16, 24, 32, 36, 38, 40, 48];

/// Where the fields of a control header begin.
const CONTROL_FIELDS: [usize; 4] = [0, 1, 2, 4];

/// Datagrams that are remembered, to be played back or to take fields from.
const REMEMBERED: usize = 64;

/// Of a hundred datagrams so many are tampered with.
const TAMPERED_PERCENT: usize = 20;

/// One direction of a way that somebody sits on.
#[derive(Debug)]
pub struct Mutator {
    random: Random,
    remembered: Vec<Vec<u8>>,
    tampered: u64,
}

impl Mutator {
    /// What it does follows from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            remembered: Vec::new(),
            tampered: 0,
        }
    }

    /// Datagrams tampered with so far.
    #[must_use]
    pub const fn tampered(&self) -> u64 {
        self.tampered
    }

    /// What goes on in place of `datagram`.
    pub fn pass(&mut self, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        let former = match self.remembered.len() {
            0 => datagram.clone(),
            count => self.remembered[self.random.below(count)].clone(),
        };

        if self.remembered.len() < REMEMBERED {
            self.remembered.push(datagram.clone());
        } else if self.random.below(8) == 0 {
            let at = self.random.below(REMEMBERED);
            self.remembered[at].clone_from(&datagram);
        }

        if self.random.below(100) >= TAMPERED_PERCENT {
            return vec![datagram];
        }

        self.tampered += 1;
        match self.random.below(6) {
            0 => Vec::new(),
            1 => vec![datagram, former],
            2 => vec![former],
            3 => self.changed(&datagram, |random, field, _| alter(random, field)),
            4 => self.changed(&datagram, |_, field, _| field.clear()),
            _ => self.changed(&datagram, |_, field, other| field.clone_from(other)),
        }
    }

    /// `datagram` with one field changed, given the same field of a former datagram of its kind.
    fn changed(
        &mut self,
        datagram: &[u8],
        change: impl FnOnce(&mut Random, &mut Vec<u8>, &Vec<u8>),
    ) -> Vec<Vec<u8>> {
        let mut fields = fields(datagram);
        let at = self.random.below(fields.len());
        let like = |other: &&Vec<u8>| other.get(1) == datagram.get(1) && **other != *datagram;
        let other = self.remembered.iter().rfind(like);
        let other = other.and_then(|other| self::fields(other).get(at).cloned());
        let other = other.unwrap_or_else(|| fields[at].clone());

        change(&mut self.random, &mut fields[at], &other);
        let mut changed = fields.concat();
        // Lengths agree, unless the length itself is what was changed: otherwise nothing behind it would be looked at.
        if is_control(datagram) && at != 2 && changed.len() >= CONTROL_HEADER {
            let body = (changed.len() - CONTROL_HEADER) as u16;
            changed[2..4].copy_from_slice(&body.to_be_bytes());
        }
        if datagram[1] == JOIN {
            changed.resize(JOIN_BYTES.max(changed.len()), 0);
        }
        vec![changed]
    }
}

/// Flips a bit, or replaces all.
fn alter(random: &mut Random, field: &mut Vec<u8>) {
    if field.is_empty() || random.below(4) == 0 {
        *field = random.bytes(field.len().max(1));
        return;
    }

    let bit = random.below(8 * field.len());
    field[bit / 8] ^= 1 << (bit % 8);
}

const fn is_control(datagram: &[u8]) -> bool {
    datagram.len() >= CONTROL_HEADER && datagram[1] != MEDIA
}

/// The fields of a datagram, which make it again in their order.
fn fields(datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut borders = Vec::new();
    match datagram.get(1) {
        Some(&MEDIA) if datagram.len() > DATA_HEADER => {
            borders.extend(MEDIA_FIELDS);
            borders.push(DATA_HEADER);
        }
        Some(&SEALED) if datagram.len() > SEALED_HEADER => {
            borders.extend(CONTROL_FIELDS);
            borders.extend([CONTROL_HEADER, SEALED_HEADER]);
        }
        Some(_) if is_control(datagram) => {
            borders.extend(CONTROL_FIELDS);
            let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
            let end = (CONTROL_HEADER + length).min(datagram.len());
            borders.extend(protobuf_fields(&datagram[..end]));
            let whole = &datagram[..end];
            return split(whole, &borders);
        }
        _ => borders.push(0),
    }

    split(datagram, &borders)
}

fn split(bytes: &[u8], borders: &[usize]) -> Vec<Vec<u8>> {
    let ends = borders.iter().skip(1).copied().chain([bytes.len()]);
    borders
        .iter()
        .zip(ends)
        .map(|(begin, end)| bytes[*begin..end].to_vec())
        .collect()
}

/// Where the fields of the protobuf message begin that follows a control header.
fn protobuf_fields(datagram: &[u8]) -> Vec<usize> {
    let mut borders = vec![];
    let mut at = CONTROL_HEADER;
    while at < datagram.len() {
        borders.push(at);
        let mut rest = &datagram[at..];
        let Ok((tag, wire_type)) = prost::encoding::decode_key(&mut rest) else {
            break;
        };
        let context = prost::encoding::DecodeContext::default();
        if prost::encoding::skip_field(wire_type, tag, &mut rest, context).is_err() {
            break;
        }
        at = datagram.len() - rest.len();
    }
    borders
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer};
    use fanlight_proto::message::{FrameId, Join};

    fn join() -> Vec<u8> {
        let mut datagram = Vec::new();
        ToRelay::Join(Join {
            version: 1,
            nonce: 7,
            token: vec![1; 16].into(),
            handshake: vec![2; 96].into(),
            ..Join::default()
        })
        .encode(&mut datagram);
        datagram
    }

    #[test]
    fn a_join_has_four_fields_in_its_header_and_one_for_each_of_its_message() {
        let fields = fields(&join());
        let lengths: Vec<_> = fields.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 1, 2, 8, 2, 9, 18, 98]);
    }

    #[test]
    fn every_field_of_every_kind_is_altered_and_what_comes_of_it_mostly_parses() {
        let mut media = Vec::new();
        let header = DataHeader {
            shards: 1,
            length: 1152,
            id: FrameId {
                epoch: 1,
                number: 1,
            },
            sequence: 1,
            ..DataHeader::default()
        };
        ToViewer::Data(header, &[3; 1152]).encode(&mut media);
        let mut sealed = Vec::new();
        ToRelay::Sealed(5, 6, &[7; 40]).encode(&mut sealed);

        let mut mutator = Mutator::new(1);
        let mut good = 0;
        for round in 0..30_000 {
            let datagram = [join(), media.clone(), sealed.clone()][round % 3].clone();
            for passed in mutator.pass(datagram) {
                let parses = ToRelay::parse(&passed).is_ok() || ToViewer::parse(&passed).is_ok();
                good += u32::from(parses);
            }
        }

        assert!(mutator.tampered() > 5000 && good > 20_000, "{good}");
    }
}
