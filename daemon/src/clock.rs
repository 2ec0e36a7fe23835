//! The edge where time and randomness are read.

use std::hash::Hasher;

use fanlight_proto::clock::Time;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, Timespec, clock_gettime};
use siphasher::sip::SipHasher13;

/// The present on CLOCK_MONOTONIC, which all programs of one host share and no clock setting moves.
#[must_use]
pub fn now() -> Time {
    Time::from_nanos(u64::try_from(nanos(clock_gettime(ClockId::Monotonic))).unwrap_or(0))
}

/// Nanoseconds to add to [`now`] for nanoseconds since 1970 in UTC: for people to read, never to decide by.
#[must_use]
pub fn wall_offset_ns() -> i64 {
    let before = nanos(clock_gettime(ClockId::Monotonic));
    let wall = nanos(clock_gettime(ClockId::Realtime));
    let after = nanos(clock_gettime(ClockId::Monotonic));
    wall - (before + (after - before) / 2)
}

/// Milliseconds since 1970 in UTC: for people, and for the order of what people say.
#[must_use]
pub fn unix_millis() -> u64 {
    u64::try_from(nanos(clock_gettime(ClockId::Realtime)) / 1_000_000).unwrap_or(0)
}

/// Names the origin of [`now`]: two programs with the same number may compare their times. It differs between hosts,
/// boots and time namespaces, and is never 0. When the host does not say which boot this is, it is random.
#[must_use]
pub fn clock_id() -> u64 {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").ok();
    let namespace = std::fs::read_link("/proc/self/ns/time").ok();
    boot.map_or_else(random_u64, |boot| {
        let mut hasher = SipHasher13::new();
        hasher.write(boot.trim_ascii());
        hasher.write(namespace.unwrap_or_default().as_os_str().as_encoded_bytes());
        hasher.finish()
    })
    .max(1)
}

/// A number nobody can guess, for epochs and nonces.
#[must_use]
pub fn random_u64() -> u64 {
    u64::from_ne_bytes(random_bytes())
}

/// Bytes nobody can guess, for secrets. Blocks only while a booting kernel has gathered no entropy yet.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;

    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => panic!("getrandom(2) fails only on kernels before 3.17: {error}"),
        }
    }

    bytes
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_present_does_not_go_back() {
        let earlier = now();
        assert!(now() >= earlier);
        assert!(now().saturating_since(earlier) < Duration::from_secs(60));
    }

    #[test]
    fn the_present_and_its_offset_make_the_wall_clock() {
        let wall = nanos(clock_gettime(ClockId::Realtime));
        let computed = i64::try_from(now().as_nanos()).unwrap() + wall_offset_ns();
        assert!(
            (computed - wall).abs() < 60_000_000_000,
            "{computed} is not about {wall}"
        );
    }

    #[test]
    fn the_clock_of_one_boot_has_one_name() {
        assert_eq!(clock_id(), clock_id());
        assert_ne!(clock_id(), 0);
    }

    #[test]
    fn random_bytes_differ_each_time_and_fill_any_length() {
        assert_ne!(random_u64(), random_u64());
        assert!(random_bytes::<0>().is_empty());
        let long = random_bytes::<4096>();
        assert!(long[4000..].iter().any(|byte| *byte != 0));
    }
}
