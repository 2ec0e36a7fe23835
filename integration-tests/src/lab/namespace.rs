//! Network namespaces. The name of each tells which process owns it, so that those of killed runs can be removed.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{run, try_run};
use crate::wait::{SOON, until};

/// Where ip-netns(8) keeps namespaces.
const FOLDER: &str = "/run/netns";

/// What the names of ours begin with.
const PREFIX: &str = "fanlight-";

/// A network namespace. It is removed with this value; its devices go when the last process in it has gone.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new(name: String) -> Self {
        run(&["ip", "netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The words in front of a command line that is to run in here. They exec: the process stays the one started.
    pub(super) fn enter(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    /// Runs `ip WORDS` for this namespace.
    #[track_caller]
    pub(super) fn ip(&self, words: &str) {
        let words: Vec<&str> = ["ip", "-n", &self.name]
            .into_iter()
            .chain(words.split_whitespace())
            .collect();
        run(&words);
    }

    /// Waits until the device has its carrier: the kernel tells of one a moment after both ends are up. Of a TAP device's
    /// it tells nothing.
    #[track_caller]
    pub(super) fn wait_up(&self, device: &str) {
        let words = ["ip", "-n", &self.name, "-brief", "link", "show", device];
        until(&format!("{device} is up"), SOON, || {
            let said = run(&words);
            said.split_whitespace()
                .any(|word| word == "UP" || word == "UNKNOWN")
                .then_some(())
        });
    }

    /// Runs `words`, split at spaces, in here.
    #[track_caller]
    pub(super) fn run(&self, words: &str) -> String {
        let words: Vec<&str> = self
            .enter()
            .into_iter()
            .chain(words.split_whitespace())
            .collect();
        run(&words)
    }

    /// Runs `nft WORDS` in here.
    #[track_caller]
    pub(super) fn nft(&self, words: &str) -> String {
        let words: Vec<&str> = self.enter().into_iter().chain(["nft", words]).collect();
        run(&words)
    }

    /// Calls `act` on a thread that is in here. Sockets made by it stay in here, whoever uses them.
    pub(super) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let file =
            fs::File::open(PathBuf::from(FOLDER).join(&self.name)).expect("the namespace is there");
        let enter = || {
            let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
            moved.expect("root may enter a network namespace");
            act()
        };

        std::thread::scope(|scope| scope.spawn(enter).join())
            .expect("what is done in a namespace does not panic")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = try_run(&["ip", "netns", "del", &self.name]) {
            eprintln!("{error}");
        }
    }
}

/// Makes a namespace, runs something in it, and removes it.
pub(super) fn try_out() -> Result<(), String> {
    let name = format!("{}-try", unique());
    try_run(&["ip", "netns", "add", &name])?;
    let ran = try_run(&[
        "ip", "netns", "exec", &name, "ip", "link", "set", "lo", "up",
    ]);
    try_run(&["ip", "netns", "del", &name])?;
    ran.map(drop)
}

/// The beginning of the names of one laboratory: it tells the process and when that was started, since process numbers
/// come again.
pub(super) fn unique() -> String {
    static LABS: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id();
    let born = born(own).expect("a running process is in /proc");
    format!(
        "{PREFIX}{own}-{born}-{}",
        LABS.fetch_add(1, Ordering::Relaxed)
    )
}

/// Removes the namespaces of processes that are gone: of test runs that were killed.
pub(super) fn sweep() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };

        if !owned(name) {
            // Another run may be sweeping too.
            let _ = try_run(&["ip", "netns", "del", name]);
        }
    }
}

/// Whether the process that a name tells of runs, or the name tells of none.
fn owned(name: &str) -> bool {
    let mut parts = name[PREFIX.len()..].split('-').map(str::parse::<u64>);
    let (Some(Ok(owner)), Some(Ok(since))) = (parts.next(), parts.next()) else {
        return true;
    };

    u32::try_from(owner).is_ok_and(|owner| born(owner) == Some(since))
}

/// When a process was started, in ticks since the system was: field 22 of /proc/PID/stat.
fn born(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may itself have spaces; after it comes field 3.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_owned_while_its_process_runs_and_by_no_other_of_the_same_number() {
        assert!(owned(&format!("{}-switch", unique())));
        let own = std::process::id();
        assert!(!owned(&format!("{PREFIX}{own}-1-0-switch")));
        assert!(!owned(&format!("{PREFIX}4294967295-1-0-switch")));
        assert!(owned(&format!("{PREFIX}of-somebody-else")));
    }
}
