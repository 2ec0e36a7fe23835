//! `fanlight-load`: many viewers in one process, to measure relays.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use fanlight_tools::load::LoadTester;

fn main() -> ExitCode {
    fanlight_daemon::main::<LoadTester>()
}
