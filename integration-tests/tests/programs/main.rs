//! The three programs as real processes on loopback: what operators, viewers and other programs see of them.

#![expect(clippy::unwrap_used, reason = "every step of a test must succeed")]

mod attack;
mod caddy;
mod camera;
mod cli;
mod compare;
mod demo;
mod directing;
mod directions;
mod end_to_end;
mod events;
mod feed;
mod feed_identity;
mod feedback;
mod hostile_pictures;
mod hostile_udp;
mod hostile_zmq;
mod http;
mod interop;
mod large_frames;
mod load;
mod metrics;
mod mqtt;
mod network_cameras;
mod nginx;
mod one_file;
mod oracle;
mod packages;
mod pipe;
mod recording;
mod recovery;
mod reload;
mod rtsp;
mod secrets;
mod site;
mod status;
mod subscribe;
mod systemd;
mod tampering;
mod tcp;
mod topology;
mod tracker;
mod verification;
mod webrtc;
mod zmtp;
