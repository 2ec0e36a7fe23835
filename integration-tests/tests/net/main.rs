//! The programs as hosts of a network that fails, loses, limits, hides and floods, and with clocks that differ: real
//! processes in the network laboratory.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

mod clocks;
mod compare;
mod congestion;
mod containers;
mod discovery;
mod fixture;
mod flood;
mod isolation;
mod joining;
mod kubernetes;
mod loss;
mod multicast;
mod nat;
mod overload;
mod partition;
mod rtsp;
mod soak;
mod tcp;
mod two_relays;
mod vanished;
