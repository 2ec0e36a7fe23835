//! The plumbing that the programs of Fanlight share: settings from flags over a file over defaults, logging, shutdown
//! by signals, notes to the service manager, clocks, process figures, randomness, key files and the runtime directory.
//!
//! A program declares its settings as a struct with `clap::Args` (see [`config`]), implements [`Program`], and its
//! `main.rs` is `fn main() -> ExitCode { fanlight_daemon::main::<Relay>() }`.

#![forbid(unsafe_code)]

pub mod block_on_until;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod descriptors;
pub mod digest_auth;
pub mod discovery;
pub mod endpoint;
pub mod feed_connection;
pub mod file_watch;
pub mod keys;
pub mod logfile;
pub mod mailbox;
pub mod notify;
pub mod paths;
pub mod priority;
mod program;
pub mod rate_limit;
mod reload;
pub mod shutdown;
pub mod stream_socket;
pub mod testing;
pub mod trust;
pub mod usage;

pub use notify::{Notify, WatchdogFeeder};
pub use program::{Context, EX_USAGE, NoExtra, Program, main};
pub use reload::Reload;
pub use shutdown::Shutdown;

#[doc(hidden)]
pub mod reexport {
    //! What the macros of this crate expand to, so that their users need not depend on it.
    pub use clap;
}
