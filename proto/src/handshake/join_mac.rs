//! A cheap check of JOINs that bring a handshake, which a relay makes before it works on one or counts it against anybody:
//! only who knows what every viewer of this relay knows passes it (as `mac1` of WireGuard, section 5.4.4 of its paper).
//! It keeps strangers from using handshakes up; the handshake itself says who may join.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};
use zeroize::Zeroizing;

use super::{RelayAccess, ViewerAccess, prologue};
use crate::message::Join;
use crate::noise;
use crate::token::equal;

/// Bytes of `Join.mac`.
pub const JOIN_MAC_BYTES: usize = 16;

/// What the keys are derived for.
const LABEL: &[u8] = b"fanlight 1 join";

/// Makes and checks `Join.mac` for one relay, or for all with one shared key.
pub struct JoinMac(Zeroizing<[u8; 16]>);

impl std::fmt::Debug for JoinMac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinMac(secret)")
    }
}

impl JoinMac {
    /// Of a viewer with this access; none without a key.
    #[must_use]
    pub fn of_viewer(access: &ViewerAccess) -> Option<Self> {
        match access {
            ViewerAccess::Open => None,
            ViewerAccess::Psk(key) => Some(Self::derived(key.bytes())),
            ViewerAccess::Keys { relay, .. } => Some(Self::derived(relay.bytes())),
        }
    }

    /// Of a relay with this access; none without a key.
    #[must_use]
    pub fn of_relay(access: &RelayAccess) -> Option<Self> {
        match access {
            RelayAccess::Open => None,
            RelayAccess::Psk(key) => Some(Self::derived(key.bytes())),
            RelayAccess::Keys { own, .. } => Some(Self::derived(own.public().bytes())),
        }
    }

    /// The first half of HMAC-BLAKE2s of the label, by the shared key or the relay's public key.
    fn derived(secret: &[u8]) -> Self {
        let derived = noise::hmac(secret, LABEL);
        let mut key = Zeroizing::new([0; 16]);
        key.copy_from_slice(&derived[..16]);
        Self(key)
    }

    /// The value for `join` with its nonce, token and handshake.
    #[must_use]
    pub fn of(&self, join: &Join) -> [u8; JOIN_MAC_BYTES] {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&prologue(join.nonce, &join.token));
        hasher.write(&join.handshake);
        hasher.finish128().as_bytes()
    }

    /// Whether `join` brings its value.
    #[must_use]
    pub fn holds(&self, join: &Join) -> bool {
        let brought = <[u8; JOIN_MAC_BYTES]>::try_from(&join.mac[..]);
        brought.is_ok_and(|brought| equal(&brought, &self.of(join)))
    }
}
