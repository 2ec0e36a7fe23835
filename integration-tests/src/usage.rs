//! What a running process uses, as /proc says.

use std::fs;
use std::time::Duration;

/// A look at a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Resident memory in bytes that is its own: not of files, such as its program and libraries.
    pub private: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Processor time spent, by itself and for it in the kernel.
    pub cpu: Duration,
}

/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;

/// Ticks of /proc/PID/stat in a second: USER_HZ, which is 100 on every Linux there is.
const TICKS: u64 = 100;

impl Usage {
    /// Of the process `pid`; none when it is gone.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':')
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };

        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may itself have spaces; after it comes field 3, so that utime and stime are 11 and 12.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self {
            resident: field("VmRSS")? * 1024,
            private: (field("RssAnon")? + field("RssShmem")?) * 1024,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count(),
            threads: usize::try_from(field("Threads")?).ok()?,
            cpu: Duration::from_millis(ticks * 1000 / TICKS),
        })
    }
}

/// Bytes of the process `pid`, where what several share is divided among them; none when it is gone.
#[must_use]
pub fn proportional_memory(pid: u32) -> Option<u64> {
    let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Processor time that the threads of process `pid` whose names `wanted` accepts have spent so far, to the nanosecond.
/// What threads that have ended spent is not in it.
#[must_use]
pub fn threads_cpu(pid: u32, wanted: impl Fn(&str) -> bool) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();

    // A thread may end between one look and the next.
    let spent = threads.filter_map(|thread| {
        let named = fs::read_to_string(thread.path().join("comm"))
            .is_ok_and(|name| wanted(name.trim_end()));
        let times = fs::read_to_string(thread.path().join("schedstat"))
            .ok()
            .filter(|_| named)?;
        times
            .split_whitespace()
            .next()?
            .parse()
            .ok()
            .map(Duration::from_nanos)
    });

    spent.sum()
}
