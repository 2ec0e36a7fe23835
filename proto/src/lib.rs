//! The messages and the UDP transport of Fanlight as sans-IO state machines: no socket, clock, thread or runtime.
//! Time, addresses and bytes come in; bytes and events go out. The wire format is specified in `PROTOCOL.md`.

#![forbid(unsafe_code)]

pub mod clock;
pub mod clock_filter;
pub mod datagram;
pub mod detections;
pub mod direction;
pub mod feed;
pub mod frame_barcode;
pub mod frame_message;
pub mod handshake;
pub mod keys;
pub mod limits;
pub mod message;
pub mod multicast;
mod noise;
pub mod parity;
pub mod reassembly;
pub mod replay;
pub mod route;
pub mod seal;
pub mod secrets;
pub mod shard;
pub mod token;
pub mod zmtp;
