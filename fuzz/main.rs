//! All fuzz targets in one program: `FUZZ_TARGET` says which. `./dev fuzz` builds and runs it. Tests run each on its corpus.

#![no_main]

mod proto;
mod relay;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("avi", fanlight_source::camera::file::fuzz::avi),
    ("config", fanlight_daemon::config::fuzz::config),
    ("coordinates", fanlight_webrtc::fuzz::coordinates),
    ("datagram", proto::datagram),
    ("frame", proto::frame),
    ("handshake", proto::handshake),
    ("http", fanlight_http::fuzz::http),
    ("jpeg", fanlight_source::jpeg::fuzz::jpeg),
    ("mqtt", fanlight_mqtt::fuzz::mqtt),
    ("multipart", fanlight_source::camera::http::fuzz::multipart),
    ("noise", proto::noise),
    ("parity", proto::parity),
    ("publisher", fanlight_source::publisher::fuzz::publisher),
    ("reassembly", proto::reassembly),
    ("relay_engine", relay::engine),
    ("rtp_jpeg", fanlight_rtsp::fuzz::rtp_jpeg),
    ("rtsp", fanlight_rtsp::fuzz::rtsp),
    ("tracker", fanlight_viewer::fuzz::tracker),
    ("upstream", proto::upstream),
    ("viewer_engine", fanlight_viewer::fuzz::engine),
    ("websocket", fanlight_http::fuzz::websocket),
    ("whep", fanlight_webrtc::fuzz::whep),
    ("zmtp", proto::zmtp),
];

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(name, _)| *name == wanted);
    let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("FUZZ_TARGET is one of {}", names.join(" "))).1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
