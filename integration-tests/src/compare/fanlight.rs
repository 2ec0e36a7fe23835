//! Fanlight's own programs as two of the ways: source, relay and a viewer without a window.

use std::net::SocketAddr;
use std::path::Path;

use super::{Buffer, Frame, Link, Method, RATE, Running};
use crate::TestEnv;
use crate::program::Program;
use crate::viewer_process::ViewerProcess;

/// Ports of the relay in a namespace of its own.
const UDP_PORT: u16 = 5004;
const HTTP_PORT: u16 = 8080;

struct Programs {
    _source: Program,
    relay: Program,
    viewer: ViewerProcess,
}

pub(super) fn start(
    env: &TestEnv,
    link: &Link,
    method: Method,
    buffer: Buffer,
    pictures: &Path,
) -> Box<dyn Running> {
    let source = env
        .source("camera")
        .flags("--input files")
        .flag("path", pictures)
        .flag("rate", RATE.to_string());

    let udp = link.address(env.relay_address(0).ip(), UDP_PORT);
    let http = SocketAddr::new(udp.ip(), HTTP_PORT);
    let relay = env
        .program("relay")
        .flag("sources", env.ipc("camera"))
        .flag("listen", udp.to_string())
        .flags("--access open --http-access open")
        .flag("http", http.to_string())
        .under(&link.sender());

    let source = source.ready();
    let relay = relay.ready();
    let address = match method {
        Method::Tcp => format!("ws://{http}"),
        _ => udp.to_string(),
    };

    let mut viewer = env
        .viewer_at(&address, "camera")
        .flags("--canary off")
        .under(&link.screen());

    if let Some(bytes) = buffer.bytes() {
        viewer = viewer.flag("receive-buffer", bytes.to_string());
    }

    Box::new(Programs {
        _source: source,
        relay,
        viewer: viewer.start(),
    })
}

impl Running for Programs {
    fn shown(&self) -> Vec<Frame> {
        let shown = self.viewer.shown();
        shown
            .iter()
            .map(|frame| Frame {
                captured: frame.captured,
                shown: frame.at,
            })
            .collect()
    }

    fn sender(&self) -> &Program {
        &self.relay
    }

    fn finish(self: Box<Self>) -> Vec<(String, u64)> {
        let (report, _) = self.viewer.finish();
        let lost = report.frames.lost.by_reason;
        lost.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}
