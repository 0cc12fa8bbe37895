//! The memory that the limits of the container leave.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The files of a version of control groups.
struct Version {
    /// Its folder below [`MOUNT`].
    folder: &'static str,
    /// The controllers in the line of `/proc/self/cgroup` that names the group.
    controllers: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The prefix of the names in `memory.stat` that include the groups below.
    prefix: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version { folder: "", controllers: "", limit: "memory.max", usage: "memory.current", prefix: "" },
    Version {
        folder: "memory",
        controllers: "memory",
        limit: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        prefix: "total_",
    },
];

/// Returns the memory that the limits of the container leave, in bytes; `None` if there is no limit.
pub fn left() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    left_below(Path::new(MOUNT), &groups)
}

/// The least that a group of this process or one of its parents leaves. `groups` is the content of `/proc/self/cgroup`.
fn left_below(mount: &Path, groups: &str) -> Option<u64> {
    let left = |version: &Version| {
        let folders = folders(&mount.join(version.folder), path(groups, version.controllers)).into_iter();
        folders.filter_map(|folder| left_in(&folder, version)).min()
    };
    VERSIONS.iter().filter_map(left).min()
}

/// The path of the group of this process, without its root.
fn path<'a>(groups: &'a str, controllers: &str) -> &'a str {
    let find = |line: &'a str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let is_same = fields.next()?.split(',').any(|controller| controller == controllers);
        fields.next().filter(|_| is_same)
    };
    groups.lines().find_map(find).unwrap_or_default().trim_start_matches('/')
}

/// The folders of a group and of its parents. In a container, the group is usually mounted as the root, and its path does not exist.
fn folders(root: &Path, path: &str) -> Vec<PathBuf> {
    let parts: Vec<OsString> = Path::new(path).components().map(|part| part.as_os_str().to_owned()).collect();
    let is_below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let depths = if is_below { 0..=parts.len() } else { 0..=0 };
    depths.map(|depth| parts.iter().take(depth).fold(root.to_owned(), |folder, part| folder.join(part))).collect()
}

/// What the limit of one group leaves.
fn left_in(folder: &Path, version: &Version) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    // The other values of the second version are `max`; those of the first one are close to the largest integer.
    let limit: u64 = read(version.limit)?.trim().parse().ok().filter(|limit| *limit < 1 << 60)?;
    let usage: u64 = read(version.usage)?.trim().parse().ok()?;
    let statistics = read("memory.stat").unwrap_or_default();
    Some(limit.saturating_sub(usage.saturating_sub(reclaimable(&statistics, version.prefix))))
}

/// The pages of files, which the kernel drops if memory is needed.
fn reclaimable(statistics: &str, prefix: &str) -> u64 {
    let value = |name: &str| {
        let lines = statistics.lines().filter_map(|line| line.strip_prefix(prefix)?.strip_prefix(name));
        lines.filter_map(|value| value.trim().parse::<u64>().ok()).next()
    };
    ["active_file ", "inactive_file "].into_iter().filter_map(value).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Creates a group with the files of one of the versions.
    fn group(folder: &Path, version: &Version, limit: &str, usage: u64, file: u64) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(version.limit), format!("{limit}\n")).unwrap();
        fs::write(folder.join(version.usage), format!("{usage}\n")).unwrap();
        let prefix = version.prefix;
        let own = if prefix.is_empty() { "" } else { "inactive_file 77000\nactive_file 77000\n" };
        let statistics = format!("anon 5\n{own}{prefix}inactive_file {file}\n{prefix}active_file 1000\n");
        fs::write(folder.join("memory.stat"), statistics).unwrap();
    }

    #[test]
    fn the_limit_without_used_memory_is_left() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(left_below(root.path(), ""), None);
        let [two, _] = &VERSIONS;
        group(root.path(), two, "max", 9000, 4000);
        assert_eq!(left_below(root.path(), "0::/\n"), None);
        group(root.path(), two, "10000", 9000, 4000);
        assert_eq!(left_below(root.path(), "0::/\n"), Some(1000 + 4000 + 1000));
        group(root.path(), two, "10000", 90_000, 4000);
        assert_eq!(left_below(root.path(), "0::/\n"), Some(0));
    }

    #[test]
    fn the_parents_and_the_first_version_are_included() {
        for (version, groups) in VERSIONS.iter().zip(["0::/a/b\n", "5:cpu:/x\n4:memory,hugetlb:/a/b\n0::/y\n"]) {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join(version.folder);
            group(&folder, version, "9223372036854771712", 5000, 0);
            group(&folder.join("a"), version, "20000", 5000, 0);
            group(&folder.join("a/b"), version, "30000", 5000, 0);
            assert_eq!(left_below(root.path(), groups), Some(16_000));
            // The path of another mount does not exist here.
            group(&folder, version, "7000", 5000, 0);
            assert_eq!(left_below(root.path(), "4:memory:/other\n0::/other\n"), Some(3000));
            assert_eq!(left_below(root.path(), "4:memory:/../a\n0::/../a\n"), Some(3000));
        }
    }
}
