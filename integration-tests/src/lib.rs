//! What the integration tests and benches share: the three programs as real processes ([`TestEnv`]), a network of
//! namespaces ([`lab`]), clients and hostile peers, a simulator on a virtual clock ([`sim`]), and the measurement of
//! promises ([`promise`]).
//!
//! ```no_run
//! use fanlight_tests::TestEnv;
//!
//! let env = TestEnv::new();
//! let source = env.source("cam").flags("--input ball").ready();
//! let relay = env.relay(0, &[env.ipc("cam")]).ready();
//! let viewing = env.viewer(env.relay_address(0), "cam").start();
//! viewing.wait_shown(30);
//! relay.kill();
//! let (report, frames) = viewing.finish();
//! ```

#![forbid(unsafe_code)]

pub mod attack;
pub mod browser;
pub mod compare;
pub mod document;
pub mod fake_source;
pub mod flags;
pub mod http;
pub mod jpeg;
pub mod lab;
pub mod light_peers;
pub mod light_players;
pub mod light_viewers;
pub mod log;
pub mod lossy;
pub mod mutator;
pub mod network_camera;
pub mod npm;
pub mod program;
pub mod python;
pub mod raw_client;
pub mod seeded;
pub mod service_manager;
pub mod sim;
pub mod soak;
mod test_env;
pub mod tracking;
pub mod udp_proxy;
pub mod usage;
pub mod video_wall;
pub mod viewer_process;
pub mod wait;
pub mod xvfb;
pub mod zmtp;

use std::io::Write as _;

pub use fanlight_promise as promise;
pub use test_env::{TestEnv, target_directory};

/// Prints that a test cannot run here, and why. Where every test must run, as in CI, that is an error.
///
/// # Panics
/// When FANLIGHT_TESTS_MUST_RUN is set.
pub fn skip(reason: &str) {
    assert!(
        std::env::var_os("FANLIGHT_TESTS_MUST_RUN").is_none(),
        "cannot run, and must: {reason}"
    );
    // Not by the macro: cargo hides its output when a test passes. An error here has nowhere to be printed.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Whether FANLIGHT_LONG_TESTS asks for the long form of tests: 20 rounds instead of a few, a minute instead of seconds.
#[must_use]
pub fn long() -> bool {
    std::env::var_os("FANLIGHT_LONG_TESTS").is_some()
}
