//! `fanlight-viewer`: shows a stream of a relay.

use std::process::ExitCode;

use fanlight_viewer::viewer::Viewer;

fn main() -> ExitCode {
    fanlight_daemon::main::<Viewer>()
}
