//! The files of a record on the cluster: what is in them, what they cost, and when they go.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use goldcrest::scheduler::{SchedulerError, SubmissionKey};

use super::{Kind, SHELLS, Site, key};

/// How often something is submitted until the old records are removed, which happens at one submission in ten.
const PATIENCE: u32 = 200;

fn other() -> SubmissionKey {
    SubmissionKey::new(&1_u128.to_be_bytes(), &[0xee; 32])
}

impl Site {
    /// A part of the record of this key.
    fn part(&self, key: &SubmissionKey, part: &str) -> PathBuf {
        self.shell.home().join(".goldcrest/submit").join(format!("{}.{part}", key.name()))
    }

    /// What the attempt says: host, boot, number and start of the process, and the digest.
    fn attempt(&self, key: &SubmissionKey, number: u32) -> Vec<String> {
        let target = std::fs::read_link(self.part(key, &format!("attempt.{number}"))).unwrap();
        target.to_str().unwrap().split(' ').map(str::to_owned).collect()
    }

    /// A program that is found before the one of this machine: the line runs with the other's path in `$real`.
    pub(super) fn before(&self, program: &str, line: &str) {
        let found =
            std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|folder| folder.join(program)).find(|path| path.is_file());
        let text = format!("#!/bin/sh\nreal={}\n{line}\n", found.unwrap().display());
        let path = self.shell.home().join("bin").join(program);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Makes a file, link or directory seem so many hours old.
fn age(path: &std::path::Path, hours: u32) {
    let status = Command::new("touch").args(["-h", "-d", &format!("{hours} hours ago")]).arg(path).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn the_attempt_names_the_process_that_becomes_the_submitting_program() {
    for (kind, folder) in [(Kind::Slurm, "slurm/1"), (Kind::Pbs, "pbs/0")] {
        for site in SHELLS.iter().chain(&["busybox"]).filter_map(|shell| Site::with(kind, shell)) {
            site.submit(0, &key(1)).await.unwrap();
            let attempt = site.attempt(&key(1), 1);
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
            let submitted = std::fs::read_to_string(site.shell.home().join(folder).join("pid")).unwrap();
            assert_eq!(attempt[..3], [host.trim(), boot.trim(), &submitted], "{kind:?}");
            assert!(attempt[3].parse::<u64>().is_ok_and(|start| start > 0), "{attempt:?}");
            assert_eq!(attempt[4..], ["dd".repeat(32)]);
        }
    }
}

#[tokio::test]
async fn a_first_submission_starts_one_program_for_its_record() {
    for kind in [Kind::Slurm, Kind::Pbs] {
        let site = Site::with(kind, "dash").unwrap();
        site.submit(0, &key(1)).await.unwrap();
        // Not mkdir: the script that stands for the scheduler runs it once for each job that is there.
        for program in ["ln", "date", "readlink", "uname", "stat", "cut"] {
            site.before(program, "echo \"${0##*/}\" >>\"$HOME/started\"; exec \"$real\" \"$@\"");
        }
        let started = || {
            let file = site.shell.home().join("started");
            // A submission without a record may start none of them.
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            std::fs::write(&file, "").unwrap();
            let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
            names.sort();
            names
        };
        site.replicas[0].submit(&site.ada, &site.job()).await.unwrap();
        let mut without = started();
        site.submit(0, &key(2)).await.unwrap();
        without.push("ln".to_owned());
        without.sort();
        assert_eq!(started(), without, "{kind:?}");
    }
}

#[tokio::test]
async fn of_two_requests_at_once_with_one_key_the_first_decides_what_it_stands_for() {
    for site in Site::each() {
        let (key, other) = (key(1), other());
        let both = tokio::join!(site.submit(0, &key), site.submit(1, &other));
        assert!(
            matches!(&both, (Ok(_), Err(SchedulerError::KeyReused)) | (Err(SchedulerError::KeyReused), Ok(_))),
            "{:?}: {both:?}",
            site.kind
        );
        assert_eq!(site.jobs(), 1);
    }
}

#[tokio::test]
async fn an_id_whose_line_has_no_end_counts_for_nothing_and_the_job_is_found() {
    for (kind, shell) in [Kind::Slurm, Kind::Pbs, Kind::Local].into_iter().flat_map(|kind| SHELLS.map(|shell| (kind, shell))) {
        let Some(site) = Site::with(kind, shell) else { continue };
        let first = site.submit(0, &key(1)).await.unwrap();
        let (file, digest) = (site.part(&key(1), "id"), "dd".repeat(32));
        let whole = std::fs::read_to_string(&file).unwrap();
        assert!(whole.starts_with(first.id.as_str()) && whole.ends_with(&format!(" {digest}\n")), "{whole}");
        for cut in ["", "9", "999 "] {
            std::fs::write(&file, cut).unwrap();
            let second = site.insist(&key(1)).await;
            assert_eq!((&second.id, second.repeated, site.jobs()), (&first.id, true, 1), "{kind:?} {shell} {cut:?}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{} {digest}\n", first.id), "it is written down whole");
        }
    }
}

#[tokio::test]
async fn where_a_record_can_be_read_and_not_be_continued_nothing_is_submitted() {
    let site = Site::slurm();
    site.faults(&["before"]);
    site.submit(0, &key(1)).await.unwrap_err();
    let dead = site.part(&key(1), "dead.1");
    std::fs::remove_file(&dead).unwrap();
    site.before("ln", "exit 1");
    let error = site.submit(1, &key(1)).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::NoRecord(directory) if directory.ends_with("/.goldcrest/submit")), "{error:?}");
    assert_eq!(site.jobs(), 0);
}

#[tokio::test]
async fn the_job_is_looked_for_from_the_beginning_of_its_attempt() {
    for site in SHELLS.iter().filter_map(|shell| Site::with(Kind::Slurm, shell)) {
        site.faults(&["before"]);
        site.submit(0, &key(1)).await.unwrap_err();
        // As a file server has it whose clock is a day behind, and as of an attempt three hours ago.
        age(&site.part(&key(1), "attempt.1"), 27);
        age(&site.part(&key(1), "dead.1"), 24);
        site.submit(1, &key(1)).await.unwrap_err();
        let asked = std::fs::read_to_string(site.shell.home().join("sacct")).unwrap();
        let since = asked.lines().find_map(|word| word.strip_prefix("--starttime=uts")).unwrap().parse::<i64>().unwrap();
        let expected = jiff::Timestamp::now().as_second() - 3 * 3600 - 600;
        assert!((expected - 30..=expected).contains(&since), "{}", expected - since);
    }
}

#[tokio::test]
async fn old_records_are_removed_whole_and_of_an_earlier_version_too() {
    for (kind, shell) in [(Kind::Slurm, "dash"), (Kind::Slurm, "busybox"), (Kind::Pbs, "bash"), (Kind::Local, "ksh")] {
        let Some(site) = Site::with(kind, shell) else { continue };
        site.submit(0, &key(1)).await.unwrap();
        let folder = site.shell.home().join(".goldcrest/submit");
        let make = |name: &str, hours: u32| {
            symlink("host boot 1 1 digest", folder.join(name)).unwrap();
            age(&folder.join(name), hours);
        };
        std::fs::create_dir(folder.join("0a")).unwrap();
        symlink("digest", folder.join("0a/body")).unwrap();
        for name in ["0b.attempt.1", "0b.id", "0c.attempt.1", "0c.dead.1", "0c.attempt.2", "0c.id", "0d.id", "0e.attempt.1", "0e.dead.1"] {
            make(name, 8 * 24 + 1);
        }
        make("0e.attempt.2", 24);
        age(&folder.join("0a"), 8 * 24 + 1);
        std::fs::write(folder.join("a file of the user"), "").unwrap();
        age(&folder.join("a file of the user"), 8 * 24 + 1);
        let left = || {
            let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.filter(|name| name.len() < 32).collect();
            names.sort();
            names
        };
        let mut number = 2;
        while left().len() > 4 {
            assert!(number < PATIENCE, "{kind:?} {shell}: {:?}", left());
            site.submit(0, &key(number)).await.unwrap();
            number += 1;
            // It goes by the number of the process, and each submission takes as many of these.
            for _ in 0..number % 7 {
                Command::new("true").status().unwrap();
            }
        }
        let kept = ["0e.attempt.1", "0e.attempt.2", "0e.dead.1", "a file of the user"].map(OsStr::new);
        assert_eq!(left(), kept, "{kind:?} {shell}");
        assert!(site.submit(1, &key(1)).await.unwrap().repeated);
    }
}
