//! `fanlight-relay`: see the library of the same name.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    fanlight_daemon::main::<fanlight_relay::Relay>()
}
