//! `fanlight-source`: publishes one camera's pictures.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use fanlight_source::program::Daemon;

fn main() -> ExitCode {
    fanlight_daemon::main::<Daemon>()
}
