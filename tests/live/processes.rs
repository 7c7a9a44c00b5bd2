//! Processes of this machine, as /proc shows them (proc(5)).

use rustix::process::{Pid, Signal, kill_process};

/// The processes that carry one user's connections to the sshd whose listener has this process id.
pub fn sessions(listener: i32, user: &str) -> Vec<i32> {
    let privileged: Vec<i32> =
        all().filter(|&pid| parent(pid) == Some(listener) && title(pid).starts_with(&format!("sshd: {user}"))).collect();
    let workers = all().filter(|&pid| parent(pid).is_some_and(|parent| privileged.contains(&parent)) && title(pid).starts_with("sshd: "));
    privileged.iter().copied().chain(workers).collect()
}

/// A process and all below it, itself first.
pub fn below(process: i32) -> Vec<i32> {
    let mut found = vec![process];
    let mut next = 0;
    while next < found.len() {
        let above = found[next];
        found.extend(all().filter(|&pid| parent(pid) == Some(above)));
        next += 1;
    }
    found
}

/// The processes whose command line holds this text, this one excepted.
pub fn running(text: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    all().filter(|&pid| pid != own && title(pid).contains(text)).collect()
}

/// Sends a signal to each process that is still there.
pub fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        // A process that has ended by itself needs no signal.
        let _ = kill_process(Pid::from_raw(*pid).unwrap(), signal);
    }
}

fn all() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The command line with blanks for the separators; empty for a process that has ended.
fn title(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn parent(pid: i32) -> Option<i32> {
    // The second field is the program's name in parentheses, which may hold anything.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
