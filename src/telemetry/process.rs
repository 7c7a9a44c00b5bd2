//! Resources that the process uses. Numbers that the system does not report are left out.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// The process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    started: Duration,
}

impl Process {
    /// One that starts now.
    pub(super) fn new() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// When it started, since 1970.
    pub(super) fn started(self) -> Duration {
        self.started
    }
}

/// The CPU time used until now.
pub(super) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The resident memory, in bytes (`VmRSS`, proc_pid_status(5)).
pub(super) fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The number of open files, without the directory that is read for this.
pub(super) fn open_files() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    Some((listed as u64).saturating_sub(1))
}

/// The limit of open files.
pub(super) fn max_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_a_process() {
        let before = open_files().unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        assert!(memory().unwrap() > 1 << 20);
        assert!(cpu() > Duration::ZERO);
        assert!(before >= 1 && max_files().is_none_or(|max| max >= before));
        drop(file);
    }
}
