//! The primitives of every Noise handshake here: ring's AES-GCM and ChaChaPoly, BLAKE2s, cipher keys that are
//! wiped after use, X25519 that refuses a shared secret of zero, and randomness that comes in.

use blake2::{Blake2s256, Digest as _};
use curve25519_dalek::MontgomeryPoint;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, RingResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error};
use zeroize::Zeroizing;

use crate::secrets::Secrets;

/// A handshake of `pattern` whose ephemeral key comes of `seed`.
pub(crate) fn builder<'a>(pattern: &str, prologue: &'a [u8], seed: [u8; 32]) -> Builder<'a> {
    let pattern = pattern.parse().expect("the pattern is one that snow knows");
    Builder::with_resolver(pattern, Box::new(Resolver(Zeroizing::new(seed))))
        .prologue(prologue)
        .expect("a builder has one prologue")
}

/// HMAC-BLAKE2s (RFC 2104, RFC 7693) of `data` by a `key` of at most a block of 64 bytes.
pub(crate) fn hmac(key: &[u8], data: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    Blake2s::default().hmac(key, data, &mut *out);
    out
}

struct Resolver(Zeroizing<[u8; 32]>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Ephemeral(Secrets::new(*self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::<X25519>::default() as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::Blake2s).then(|| Box::<Blake2s>::default() as _)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let cipher = RingResolver.resolve_cipher(choice)?;
        Some(Box::new(Wiped(cipher)))
    }
}

struct Ephemeral(Secrets);

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for chunk in out.chunks_mut(32) {
            let drawn = Zeroizing::new(self.0.bytes::<32>());
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}

/// RFC 7693.
#[derive(Default)]
pub(crate) struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&self.0.finalize_reset());
    }
}

/// RFC 7748, with the check of section 6.1 that Noise leaves to us (its section 12.1).
#[derive(Default)]
struct X25519 {
    private: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        self.public = MontgomeryPoint::mul_base_clamped(*self.private).to_bytes();
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut drawn = Zeroizing::new([0; 32]);
        random.try_fill_bytes(&mut *drawn)?;
        self.set(&*drawn);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = public.first_chunk().ok_or(Error::Dh)?;
        let shared = Zeroizing::new(
            MontgomeryPoint(*public)
                .mul_clamped(*self.private)
                .to_bytes(),
        );

        if *shared == [0; 32] {
            return Err(Error::Dh);
        }

        out[..32].copy_from_slice(&*shared);
        Ok(())
    }
}

/// A cipher that forgets its key.
struct Wiped(Box<dyn Cipher>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
    }
}

impl Cipher for Wiped {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0.set(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        self.0.encrypt(nonce, authtext, plaintext, out)
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        self.0.decrypt(nonce, authtext, ciphertext, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the test vectors of cacophony, which `snow` ships as `tests/vectors/cacophony.txt`.
    const PROLOGUE: &str = "4a6f686e2047616c74";
    const STATIC: [&str; 2] = [
        "e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1",
        "4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893",
    ];
    const EPHEMERAL: [&str; 2] = [
        "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
        "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
    ];
    const RESPONDER: &str = "31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62";
    /// Payload and message, first of the initiator and then in turn; behind two of them the handshake is complete.
    const MESSAGES: [(&str, &str); 6] = [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944fc16af5edc066c93c77be147f8e6785cd6bd7b27\
             e0f660d02a6a566ceb61b22af4d0dcc8560bce79b2a1fb55f68bc34017319936516ae9ce0862fe172c77a883f241700cb26d145d\
             c8f8c9fe80a29008",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f14480884319679a2f2fae0ee3700b9d1f532eb77fcf485567\
             e810eaf95b2f9eeca858fe",
        ),
        (
            "462e20412e20486179656b",
            "daf849a4f4bd8b0276f120b017b9dfdbc9ed667ee98316e95de1cc",
        ),
        (
            "4361726c204d656e676572",
            "cdf2321b9584498d0ce313cb0c995c3ee2d679c1f3c22576ff1e90",
        ),
        (
            "4a65616e2d426170746973746520536179",
            "abc41aa7b17f5d7c5b8454c203668718a15020b72729f1243490ab54150338293a",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "59bafe529215e376187e06fcfb6772d6ca7f0946877e77aafb4a90a5fc6c4cf82344d5c949",
        ),
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(pair).collect()
    }

    #[test]
    fn the_messages_of_noise_ik_are_those_of_the_published_vector() {
        let prologue = bytes(PROLOGUE);
        let keys = [STATIC, EPHEMERAL].map(|keys| keys.map(bytes));
        let responder = bytes(RESPONDER);
        let begin = |side: usize| {
            builder("Noise_IK_25519_AESGCM_BLAKE2s", &prologue, [0; 32])
                .local_private_key(&keys[0][side])
                .unwrap()
                .fixed_ephemeral_key_for_testing_only(&keys[1][side])
        };

        let initiator = begin(0).remote_public_key(&responder).unwrap();
        let mut handshakes = [
            initiator.build_initiator().unwrap(),
            begin(1).build_responder().unwrap(),
        ];

        let mut said = [0; 256];
        let mut heard = [0; 256];
        for (turn, (payload, message)) in MESSAGES[..2].iter().enumerate() {
            let length = handshakes[turn]
                .write_message(&bytes(payload), &mut said)
                .unwrap();
            assert_eq!(said[..length], bytes(message));
            let length = handshakes[1 - turn]
                .read_message(&said[..length], &mut heard)
                .unwrap();
            assert_eq!(heard[..length], bytes(payload));
        }

        let mut ends = handshakes.map(|end| end.into_transport_mode().unwrap());
        for (turn, (payload, message)) in MESSAGES[2..].iter().enumerate() {
            let length = ends[turn % 2]
                .write_message(&bytes(payload), &mut said)
                .unwrap();
            assert_eq!(said[..length], bytes(message));
        }
    }
}
