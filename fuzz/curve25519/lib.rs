//! Stands for curve25519-dalek in the fuzz program alone: what two sides agree on is the same for both, and costs nothing. With the
//! curve itself two thirds of the time of targets with handshakes would be arithmetic that no input changes.

#![forbid(unsafe_code)]

/// As of the crate that this stands for. Secret keys are their own public keys.
pub struct MontgomeryPoint(pub [u8; 32]);

impl MontgomeryPoint {
    pub const fn mul_base_clamped(private: [u8; 32]) -> Self {
        Self(private)
    }

    pub fn mul_clamped(self, private: [u8; 32]) -> Self {
        Self(std::array::from_fn(|at| self.0[at] ^ private[at]))
    }

    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}
