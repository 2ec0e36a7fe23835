//! `fanlight-viewer`: shows a stream of a relay.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use fanlight_viewer::track;
use fanlight_viewer::viewer::Viewer;

fn main() -> ExitCode {
    if track::serve::is_asked() {
        return track::serve::main();
    }
    fanlight_daemon::main::<Viewer>()
}
