//! Parity of a frame: one Reed-Solomon block over its shards. Any `shards` of its data and parity shards restore the frame.
//!
//! The code is the Leopard-RS construction over GF(2^16) as `reed-solomon-simd` computes it (Lin, Al-Naffouri, Han,
//! Chung: "Novel Polynomial Basis with Fast Fourier Transform and its Application to Reed-Solomon Erasure Codes", IEEE
//! Trans. Inf. Theory 2016). The content of a parity shard depends on how many there are of the frame, so that number
//! depends only on the frame's size: every relay makes the same ones, and sends as many of them as it needs.

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};

use crate::datagram::{DATA_HEADER, DataHeader, write_checksum};
use crate::limits::SHARD_BYTES;

/// How much parity a viewer may be sent: 0 is none, each level more than the one below it.
pub const LEVELS: u8 = 3;

/// Share of the shards in percent, and the least number, at level 1, 2 and 3. A tenth of a small frame would be too
/// few: of 50 shards and 5 of parity more than 5 are lost in one frame of 20 at 5 % loss, of 50 and 12 more than 12 in
/// one of 100 000. The least of a level is more than one burst of 10.
const SHARES: [(u16, u16); LEVELS as usize] = [(10, 12), (20, 16), (30, 20)];

/// Parity shards that the code of a frame of `shards` has, sent or not.
#[must_use]
pub fn recovery_count(shards: u16) -> u16 {
    level_count(shards, LEVELS)
}

/// How many of them, from the first on, go to a viewer at `level`; a level over [`LEVELS`] is the highest. Never more
/// than `shards`, and never less than at a lower level.
#[must_use]
pub fn level_count(shards: u16, level: u8) -> u16 {
    let Some(at) = level.min(LEVELS).checked_sub(1) else {
        return 0;
    };

    let (percent, least) = SHARES[usize::from(at)];
    let share = (u32::from(shards) * u32::from(percent)).div_ceil(100);
    u16::try_from(share)
        .expect("a share is less than the whole")
        .max(least)
        .min(shards)
}

/// The lowest level at which parity shard `index`, counted from 0, is sent.
#[must_use]
pub(crate) fn level_of(shards: u16, index: u16) -> u8 {
    (1..LEVELS)
        .find(|&level| index < level_count(shards, level))
        .unwrap_or(LEVELS)
}

/// Makes parity. It keeps its memory: after the largest frame it allocates nothing.
#[derive(Default)]
pub struct Encoder {
    code: Option<ReedSolomonEncoder>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder or decoder without buffers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends [`recovery_count`] datagrams of parity to `packets`, the datagrams of one frame as
    /// [`shard::packetize`](crate::shard::packetize) has just made them for `header`: unsealed, with room for the seal if
    /// `header.key` is set. Their headers are the frame's own but for the index.
    ///
    /// # Panics
    /// When `packets` is no frame cut for such a header.
    pub fn append(&mut self, header: &DataHeader, packets: &mut Vec<u8>) {
        let stride = header.datagram_bytes();
        assert!(
            !packets.is_empty() && packets.len().is_multiple_of(stride),
            "a cut frame is whole datagrams"
        );

        let shards =
            u16::try_from(packets.len() / stride).expect("a frame has at most MAX_SHARDS shards");
        let code = self.prepared(shards);
        for datagram in packets.chunks_exact(stride) {
            let shard = &datagram[DATA_HEADER..DATA_HEADER + SHARD_BYTES];
            code.add_original_shard(shard)
                .expect("the code was prepared for so many shards of this size");
        }

        let made = code.encode().expect("every shard was given");
        let head: [u8; DATA_HEADER] = *packets
            .first_chunk()
            .expect("a datagram is longer than its header");
        packets.reserve(made.recovery_iter().len() * stride);
        for (index, shard) in (shards..).zip(made.recovery_iter()) {
            packets.extend_from_slice(&DataHeader::with_index(head, index));
            packets.extend_from_slice(shard);
            packets.resize(packets.len() + stride - DATA_HEADER - SHARD_BYTES, 0);
            if header.key.is_none() {
                let start = packets.len() - stride;
                write_checksum(&mut packets[start..]);
            }
        }
    }

    fn prepared(&mut self, shards: u16) -> &mut ReedSolomonEncoder {
        let (data, parity) = (usize::from(shards), usize::from(recovery_count(shards)));
        match &mut self.code {
            Some(code) => code.reset(data, parity, SHARD_BYTES).expect(SUPPORTED),
            None => {
                self.code =
                    Some(ReedSolomonEncoder::new(data, parity, SHARD_BYTES).expect(SUPPORTED));
            }
        }

        self.code.as_mut().expect("it was made above")
    }
}

const SUPPORTED: &str = "the code supports any frame that obeys the bounds";

/// Restores shards from parity. It keeps its memory, at most some three times that of the largest frame it restored.
#[derive(Default)]
pub struct Decoder {
    code: Option<ReedSolomonDecoder>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// An encoder or decoder without buffers yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Fills in the shards of `body` that are not `there`, from `recovery`: pairs of index, counted from 0, and shard.
    /// `parity` is what the frame's headers say of its code. The parity must be no less than what is missing.
    ///
    /// # Panics
    /// When `body` has not room for all `shards`, or what is given does not suffice, is given twice or lies outside.
    pub fn restore<'a>(
        &mut self,
        (shards, parity): (u16, u16),
        body: &mut [u8],
        there: impl Fn(u16) -> bool,
        recovery: impl Iterator<Item = (u16, &'a [u8])>,
    ) {
        let code = self.prepared(shards, parity);
        for (index, shard) in (0..shards)
            .zip(body.chunks_exact(SHARD_BYTES))
            .filter(|(index, _)| there(*index))
        {
            code.add_original_shard(usize::from(index), shard)
                .expect("each shard is given once");
        }

        for (index, shard) in recovery {
            code.add_recovery_shard(usize::from(index), shard)
                .expect("each parity shard is given once");
        }

        let restored = code
            .decode()
            .expect("as many shards are given as the frame has");
        for (index, shard) in restored.restored_original_iter() {
            body[index * SHARD_BYTES..(index + 1) * SHARD_BYTES].copy_from_slice(shard);
        }
    }

    fn prepared(&mut self, shards: u16, parity: u16) -> &mut ReedSolomonDecoder {
        let (data, parity) = (usize::from(shards), usize::from(parity));
        match &mut self.code {
            Some(code) => code.reset(data, parity, SHARD_BYTES).expect(SUPPORTED),
            None => {
                self.code =
                    Some(ReedSolomonDecoder::new(data, parity, SHARD_BYTES).expect(SUPPORTED));
            }
        }

        self.code.as_mut().expect("it was made above")
    }
}

#[cfg(test)]
mod tests;
