//! How much memory streams and clients of the relay may take, unless configured otherwise. Read at start and at each reload.

use std::fs;
use std::path::{Path, PathBuf};

/// The budget where the system sets no limit, in bytes: three quarters of the unit's `MemoryMax` of 2 GB.
pub const DEFAULT_BUDGET: usize = 1536 << 20;

/// Three quarters of the memory limit of this process's control group, in bytes; [`DEFAULT_BUDGET`] where there is none.
/// The rest is for the program's code, sockets, sessions and connections.
#[must_use]
pub fn default_budget() -> usize {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = cgroup_limit(Path::new("/sys/fs/cgroup"), &groups);
    limit.map_or(DEFAULT_BUDGET, |limit| limit / 4 * 3)
}

/// The smallest `memory.max` of a process's group and those around it (Linux's Documentation/admin-guide/cgroup-v2.rst).
fn cgroup_limit(root: &Path, groups: &str) -> Option<usize> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path: PathBuf = root.join(group);
    let around = path.ancestors().take_while(|path| path.starts_with(root));

    around
        .filter_map(|path| fs::read_to_string(path.join("memory.max")).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_three_quarters_of_what_the_unit_lets_the_relay_have() {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/fanlight-relay@.service");
        let unit = fs::read_to_string(unit).unwrap();
        let limit = unit
            .lines()
            .find_map(|line| line.strip_prefix("MemoryMax="));
        let gigabytes: usize = limit.unwrap().strip_suffix('G').unwrap().parse().unwrap();
        assert_eq!(DEFAULT_BUDGET, (gigabytes << 30) / 4 * 3);
    }

    #[test]
    fn the_tightest_limit_of_all_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("system.slice/relay.service");
        fs::create_dir_all(&group).unwrap();
        let limit = || cgroup_limit(root.path(), "0::/system.slice/relay.service\n");
        assert_eq!(limit(), None);

        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit(), None);

        fs::write(root.path().join("system.slice/memory.max"), "4096\n").unwrap();
        assert_eq!(limit(), Some(4096));

        fs::write(group.join("memory.max"), "1024\n").unwrap();
        assert_eq!(limit(), Some(1024));
        assert_eq!(cgroup_limit(root.path(), "1:memory:/x\n"), None);
    }
}
