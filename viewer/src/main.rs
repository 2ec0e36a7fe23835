//! `fanlight-viewer`: shows a stream of a relay.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use fanlight_viewer::viewer::Viewer;

fn main() -> ExitCode {
    fanlight_daemon::main::<Viewer>()
}
