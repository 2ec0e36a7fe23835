//! `fanlight-gif`: records an animated GIF of what a screen shows.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use fanlight_tools::gif::GifMaker;
use fanlight_viewer::track::serve;

fn main() -> ExitCode {
    // The built-in tracker is a process of the same program.
    if serve::is_asked() {
        return serve::main();
    }
    fanlight_daemon::main::<GifMaker>()
}
