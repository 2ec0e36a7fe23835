//! Sealing media: one key opens a stream for all its viewers, so that a frame is sealed once for all of them.
//!
//! AES-128-GCM (NIST SP 800-38D, RFC 5116) over each datagram: the header is authenticated, the shard encrypted too.
//! The nonce is the frame's sequence and the shard's index, which one relay uses once in its life.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::datagram::{
    DATA_BYTES, DATA_HEADER, DataHeader, KeySlot, SEAL_BYTES, SEALED_DATA_BYTES,
};
use crate::message::StreamKey;

/// Bytes of a media key's secret.
pub const MEDIA_SECRET_BYTES: usize = 16;

const _: () = assert!(SEAL_BYTES == ring::aead::MAX_TAG_LEN);

/// The key of a stream's media, of one generation. A relay draws each at random, for one stream only.
pub struct MediaKey {
    generation: u32,
    secret: Zeroizing<[u8; MEDIA_SECRET_BYTES]>,
    cipher: LessSafeKey,
}

impl std::fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MediaKey(generation {}, secret hidden)", self.generation)
    }
}

impl MediaKey {
    /// The key of `generation`, which counts from 1.
    #[must_use]
    pub fn new(generation: u32, secret: [u8; MEDIA_SECRET_BYTES]) -> Self {
        let cipher = UnboundKey::new(&AES_128_GCM, &secret).expect("a key of AES-128 has 16 bytes");
        Self {
            generation,
            secret: Zeroizing::new(secret),
            cipher: LessSafeKey::new(cipher),
        }
    }

    /// Which key of its stream this is.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// What datagrams say that this key seals.
    #[must_use]
    pub const fn slot(&self) -> KeySlot {
        KeySlot::of(self.generation)
    }

    /// The key for a viewer. Only ever sent sealed.
    #[must_use]
    pub fn to_message(&self) -> StreamKey {
        StreamKey {
            generation: self.generation,
            secret: self.secret.to_vec(),
        }
    }

    /// The key that a relay has sent; `None` when its generation is 0 or its secret has another length.
    #[must_use]
    pub fn from_message(message: &StreamKey) -> Option<Self> {
        let secret = <[u8; MEDIA_SECRET_BYTES]>::try_from(&message.secret[..]).ok()?;
        (message.generation > 0).then(|| Self::new(message.generation, secret))
    }

    /// Seals datagrams of [`SEALED_DATA_BYTES`] each that lie one behind the other: header, shard, room for the seal.
    /// Their headers say which frame and shard they are, and that this key's slot seals them. Allocates nothing.
    ///
    /// No two datagrams of other content may be sealed with the same key, sequence and index: it would give both away,
    /// and the means to forge more.
    ///
    /// # Panics
    /// When `datagrams` are not whole.
    pub fn seal(&self, datagrams: &mut [u8]) {
        let (datagrams, rest) = datagrams.as_chunks_mut::<SEALED_DATA_BYTES>();
        assert!(rest.is_empty(), "a frame is cut into whole datagrams");

        for datagram in datagrams {
            let (header, body) = datagram.split_at_mut(DATA_HEADER);
            let (shard, room) = body.split_at_mut(DATA_BYTES - DATA_HEADER);
            let seal = self
                .cipher
                .seal_in_place_separate_tag(nonce(header), Aad::from(&*header), shard)
                .expect("a shard is far shorter than what AES-GCM can take");
            room.copy_from_slice(seal.as_ref());
        }
    }

    /// Opens a datagram in place and gives its shard; `None`, and nothing to be used of it, when it was not sealed with
    /// this key or a bit of it has changed. Allocates nothing.
    #[must_use]
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Option<&'a [u8]> {
        if datagram.len() != SEALED_DATA_BYTES {
            return None;
        }

        let (header, sealed) = datagram.split_at_mut(DATA_HEADER);
        self.cipher
            .open_in_place(nonce(header), Aad::from(&*header), sealed)
            .ok()
            .map(|shard| &*shard)
    }
}

fn nonce(header: &[u8]) -> Nonce {
    let mut nonce = [0; ring::aead::NONCE_LEN];
    nonce[..8].copy_from_slice(&header[DataHeader::SEQUENCE_AT..][..8]);
    nonce[8..10].copy_from_slice(&header[DataHeader::INDEX_AT..][..2]);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::ToViewer;
    use crate::limits::SHARD_BYTES;
    use crate::message::FrameId;

    const SHARDS: u16 = 3;

    fn key(generation: u32) -> MediaKey {
        MediaKey::new(generation, [0x42; MEDIA_SECRET_BYTES])
    }

    fn header(index: u16) -> DataHeader {
        DataHeader {
            alias: 9,
            index,
            shards: SHARDS,
            key: Some(KeySlot::Odd),
            length: u32::from(SHARDS) * SHARD_BYTES as u32,
            id: FrameId {
                epoch: 7,
                number: 77,
            },
            sequence: 4,
            ..DataHeader::default()
        }
    }

    fn shard(index: u16) -> [u8; SHARD_BYTES] {
        std::array::from_fn(|i| (i as u8) ^ (index as u8))
    }

    /// The sealed datagrams of a frame, one behind the other.
    fn sealed() -> Vec<u8> {
        let (mut datagrams, mut datagram) = (Vec::new(), Vec::new());
        for index in 0..SHARDS {
            ToViewer::Data(header(index), &shard(index)).encode(&mut datagram);
            datagrams.extend_from_slice(&datagram);
        }
        key(1).seal(&mut datagrams);
        datagrams
    }

    #[test]
    fn every_datagram_of_a_frame_opens_to_its_shard() {
        for (index, datagram) in (0..).zip(sealed().chunks_mut(SEALED_DATA_BYTES)) {
            let Ok(ToViewer::Data(parsed, text)) = ToViewer::parse(datagram) else {
                panic!("its header is good")
            };
            assert_eq!(parsed, header(index));
            assert_ne!(text[..SHARD_BYTES], shard(index));
            assert_eq!(key(1).open(datagram), Some(&shard(index)[..]));
        }
    }

    #[test]
    fn a_datagram_with_any_bit_flipped_is_refused() {
        let datagrams = sealed();
        for bit in 0..SEALED_DATA_BYTES * 8 {
            let mut damaged = datagrams[..SEALED_DATA_BYTES].to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key(1).open(&mut damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn a_datagram_of_another_key_or_length_is_refused() {
        let datagrams = sealed();
        let datagram = &datagrams[..SEALED_DATA_BYTES];
        assert_eq!(
            MediaKey::new(1, [0x43; 16]).open(&mut datagram.to_vec()),
            None
        );

        for length in [
            0,
            DATA_HEADER,
            DATA_HEADER + SEAL_BYTES,
            SEALED_DATA_BYTES - 1,
        ] {
            assert_eq!(key(1).open(&mut datagram[..length].to_vec()), None);
        }

        assert_eq!(key(1).open(&mut [datagram, &[0]].concat()), None);
    }

    #[test]
    fn sequence_and_index_make_the_nonce() {
        let seal = |header: DataHeader| {
            let mut datagram = Vec::new();
            ToViewer::Data(header, &[0; SHARD_BYTES]).encode(&mut datagram);
            key(1).seal(&mut datagram);
            datagram.split_off(DATA_HEADER)[..SHARD_BYTES].to_vec()
        };

        let first = seal(header(0));
        assert_eq!(
            first,
            seal(DataHeader {
                received_us: 1,
                ..header(0)
            }),
            "the same key stream"
        );

        assert_ne!(first, seal(header(1)));
        assert_ne!(
            first,
            seal(DataHeader {
                sequence: 5,
                ..header(0)
            })
        );

        assert_ne!(
            first,
            seal(DataHeader {
                sequence: 4 << 32,
                ..header(0)
            })
        );
    }

    #[test]
    fn a_key_comes_back_from_its_message_and_a_bad_message_is_refused() {
        let message = key(6).to_message();
        let back = MediaKey::from_message(&message).expect("it is a good key");
        assert_eq!((back.generation(), back.slot()), (6, KeySlot::Even));
        let mut datagram = sealed()[..SEALED_DATA_BYTES].to_vec();
        assert!(back.open(&mut datagram).is_some(), "the same secret");
        assert!(
            MediaKey::from_message(&StreamKey {
                generation: 0,
                secret: vec![1; 16]
            })
            .is_none()
        );

        for length in [0, 15, 17, 32] {
            assert!(
                MediaKey::from_message(&StreamKey {
                    generation: 1,
                    secret: vec![1; length]
                })
                .is_none()
            );
        }
    }

    #[test]
    fn the_secret_is_wiped_when_it_is_dropped() {
        // This is a property of the type: what breaks it does not compile.
        fn wiped(_: &impl zeroize::ZeroizeOnDrop) {}
        wiped(&key(1).secret);
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        assert_eq!(
            format!("{:?}", key(3)),
            "MediaKey(generation 3, secret hidden)"
        );
    }
}
