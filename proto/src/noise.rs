//! The primitives of every Noise handshake here: ring's AES-GCM, `snow`'s ChaChaPoly and BLAKE2s, cipher keys that are
//! wiped after use, X25519 that refuses a shared secret of zero, and randomness that comes in.

use curve25519_dalek::MontgomeryPoint;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
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

struct Resolver(Zeroizing<[u8; 32]>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Ephemeral(Secrets::new(*self.0))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519).then(|| Box::<X25519>::default() as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        let cipher = match choice {
            CipherChoice::AESGCM => RingResolver.resolve_cipher(choice),
            _ => DefaultResolver.resolve_cipher(choice),
        };
        cipher.map(|cipher| Box::new(Wiped(cipher)) as _)
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
