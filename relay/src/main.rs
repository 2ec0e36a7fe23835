//! `fanlight-relay`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    fanlight_daemon::main::<fanlight_relay::Relay>()
}
