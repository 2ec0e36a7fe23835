//! The random numbers of an engine, from one seed that the caller supplies.

use ring::hmac;
use zeroize::Zeroizing;

/// Draws numbers that nobody can guess who does not know the seed. The seed moves on with each draw by a one-way
/// function, so that who reads the memory of a process later does not learn what it drew before.
///
/// A draw is HMAC-SHA256(seed, "draw"), the next seed HMAC-SHA256(seed, "next").
pub struct Secrets(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(hidden)")
    }
}

impl Secrets {
    /// Begins with `seed`, which must be drawn from the system's random numbers and used for nothing else.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The next `N` bytes, at most 32.
    #[must_use]
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32, "one draw has 32 bytes") };
        let draw = self.draw();
        std::array::from_fn(|i| draw[i])
    }

    /// The next number.
    #[must_use]
    pub fn number(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    fn draw(&mut self) -> Zeroizing<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0);
        let draw = mac(&key, b"draw");
        self.0 = mac(&key, b"next");
        draw
    }
}

fn mac(key: &hmac::Key, label: &[u8]) -> Zeroizing<[u8; 32]> {
    let tag = hmac::sign(key, label);
    let bytes = tag.as_ref().try_into().expect("a SHA-256 has 32 bytes");
    Zeroizing::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_no_draw_comes_twice() {
        let (mut a, mut b) = (Secrets::new([7; 32]), Secrets::new([7; 32]));
        let drawn: Vec<[u8; 32]> = (0..1000).map(|_| a.bytes()).collect();
        assert!(drawn.iter().all(|draw| *draw == b.bytes()));
        assert_eq!(
            drawn
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len(),
            drawn.len()
        );

        assert_ne!(Secrets::new([8; 32]).bytes::<32>(), drawn[0]);
    }

    #[test]
    fn a_short_draw_is_a_draw_too() {
        let (mut a, mut b) = (Secrets::new([7; 32]), Secrets::new([7; 32]));
        let [first, second] = [b.bytes::<32>(), b.bytes::<32>()];
        assert_eq!(a.bytes::<16>(), first[..16]);
        assert_eq!(a.number().to_be_bytes(), second[..8]);
    }

    #[test]
    fn debug_does_not_show_the_seed() {
        assert_eq!(format!("{:?}", Secrets::new([7; 32])), "Secrets(hidden)");
    }
}
