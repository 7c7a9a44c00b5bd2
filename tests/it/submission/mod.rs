//! A submission with an `Idempotency-Key`: real shells and files, the schedulers' commands as scripts, and something killed at each step.

mod forgotten;
mod record;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use goldcrest::domain::{JobDescription, JobScript, Principal, RemotePath};
use goldcrest::scheduler::slurm::{Delimiter, SlurmCli};
use goldcrest::scheduler::{RecordPlace, RecordSettings, Scheduler, SchedulerError, StoredRecords, SubmissionKey, Submitted, local, pbs};

use crate::support::local_shell::LocalShell;
use crate::support::{PATIENCE, principal, wait_for};

const SHELLS: [&str; 4] = ["dash", "bash", "zsh", "ksh"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Slurm,
    Pbs,
    Local,
}

/// A login node, and two replicas that submit there.
struct Site {
    kind: Kind,
    shell: Arc<LocalShell>,
    replicas: [Box<dyn Scheduler>; 2],
    ada: Principal,
}

impl Site {
    fn with(kind: Kind, shell: &str) -> Option<Self> {
        let records = RecordSettings { late_acceptance: Duration::from_secs(2), ..RecordSettings::default() };
        Self::keeping(kind, shell, records, |_| None)
    }

    /// The same, with these records; where there is a store below the home directory, in it.
    fn keeping(
        kind: Kind,
        shell: &str,
        records: RecordSettings,
        stored: impl Fn(&std::path::Path) -> Option<StoredRecords>,
    ) -> Option<Self> {
        let shell = LocalShell::new(shell)?;
        let (programs, text) = match kind {
            Kind::Slurm => (&["sbatch", "squeue", "sacct", "scontrol"][..], include_str!("slurm.sh")),
            Kind::Pbs => (&["qsub", "qstat", "qselect"][..], include_str!("../pbs/pbs.sh")),
            Kind::Local => (&[][..], ""),
        };
        let script = shell.home().join("programs.sh");
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for program in programs {
            std::os::unix::fs::symlink(&script, shell.home().join("bin").join(program)).unwrap();
        }
        let replica = || -> Box<dyn Scheduler> {
            let stored = stored(shell.home());
            match kind {
                Kind::Slurm => {
                    let slurm = SlurmCli::with_delimiter(shell.clone(), || Delimiter::fixed("test"));
                    Box::new(slurm.recording(records).storing(stored))
                }
                Kind::Pbs => Box::new(pbs::Pbs::new(shell.clone(), pbs::Config::default()).recording(records).storing(stored)),
                Kind::Local => Box::new(local::Local::new(shell.clone(), local::Config::default()).recording(records)),
            }
        };
        let replicas = [replica(), replica()];
        Some(Self { kind, shell, replicas, ada: principal("ada") })
    }

    fn slurm() -> Self {
        Self::with(Kind::Slurm, "bash").unwrap()
    }

    fn each() -> Vec<Self> {
        let sites = |kind| SHELLS.iter().filter_map(move |shell| Self::with(kind, shell));
        [Kind::Slurm, Kind::Pbs, Kind::Local].into_iter().flat_map(sites).collect()
    }

    fn faults(&self, faults: &[&str]) {
        std::fs::write(self.shell.home().join("faults"), faults.join("\n") + "\n").unwrap();
    }

    fn jobs(&self) -> usize {
        let folder = match self.kind {
            Kind::Slurm => "slurm",
            Kind::Pbs => "pbs",
            Kind::Local => ".local/state/goldcrest/jobs",
        };
        let jobs = std::fs::read_dir(self.shell.home().join(folder)).into_iter().flatten();
        let is_there = |path: std::path::PathBuf| path.is_dir() && (self.kind != Kind::Local || path.join("status").exists());
        jobs.filter(|job| is_there(job.as_ref().unwrap().path())).count()
    }

    fn job(&self) -> JobDescription {
        JobDescription::new(
            RemotePath::from_text(self.shell.home().to_str().unwrap()).unwrap(),
            JobScript::Inline("#!/bin/sh\n#SBATCH --comment=mine\n".to_owned()),
        )
    }

    async fn submit(&self, replica: usize, key: &SubmissionKey) -> Result<Submitted, SchedulerError> {
        self.replicas[replica].submit_once(&self.ada, &self.job(), key).await.map(|reported| reported.value)
    }

    /// Retries as a client does, by one replica and the other in turn, until there is an id.
    async fn insist(&self, key: &SubmissionKey) -> Submitted {
        let mut errors = Vec::new();
        for replica in (0..2).cycle().take(12) {
            match self.submit(replica, key).await {
                Ok(submitted) => return submitted,
                Err(SchedulerError::UnderWay { wait, .. } | SchedulerError::Undecided { wait, .. }) => tokio::time::sleep(wait).await,
                Err(error) => errors.push(error.to_string()),
            }
        }
        panic!("there is no id: {errors:?}")
    }
}

fn key(number: u32) -> SubmissionKey {
    SubmissionKey::new(&u128::from(number).to_be_bytes(), &[0xdd; 32])
}

#[tokio::test]
async fn a_repeated_submission_is_answered_with_the_id_of_the_first() {
    for site in Site::each() {
        let first = site.submit(0, &key(1)).await.unwrap();
        let second = site.submit(1, &key(1)).await.unwrap();
        assert_eq!((first.repeated, second.repeated, &first.id), (false, true, &second.id));
        assert_eq!((first.record, second.record), (Some(RecordPlace::Cluster), Some(RecordPlace::Cluster)));
        assert_ne!(site.submit(0, &key(2)).await.unwrap().id, first.id);
        assert_eq!(site.jobs(), 2, "{:?}", site.kind);
        if site.kind == Kind::Slurm {
            let comment = std::fs::read_to_string(site.shell.home().join("slurm/1/comment")).unwrap();
            assert_eq!(comment, format!("mine {}", key(1).tag()), "the job keeps its own comment");
        }
        let mode = std::fs::metadata(site.shell.home().join(".goldcrest/submit")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o700);
    }
}

#[tokio::test]
async fn a_repeated_submission_is_answered_also_where_the_job_could_not_be_submitted_any_more() {
    for site in Site::each() {
        let work = site.shell.home().join("gone");
        std::fs::create_dir(&work).unwrap();
        let job = JobDescription { working_directory: RemotePath::from_text(work.to_str().unwrap()).unwrap(), ..site.job() };
        let first = site.replicas[0].submit_once(&site.ada, &job, &key(1)).await.unwrap().value;
        wait_for(PATIENCE, || std::fs::remove_dir_all(&work).is_ok()).await;
        let second = site.replicas[1].submit_once(&site.ada, &job, &key(1)).await.unwrap().value;
        assert_eq!((second.repeated, &second.id), (true, &first.id), "{:?}", site.kind);
    }
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let site = Site::slurm();
    site.submit(0, &key(1)).await.unwrap();
    let other = SubmissionKey::new(&1_u128.to_be_bytes(), &[0xee; 32]);
    assert!(matches!(site.submit(1, &other).await, Err(SchedulerError::KeyReused)));
    assert_eq!(site.jobs(), 1);
}

#[tokio::test]
async fn whatever_is_killed_there_is_one_job_and_its_id_is_found() {
    let both = [&["before"][..], &["after"], &["shell"], &["before", "after"]];
    // The script of PBS takes no job late.
    let late = [&["flight"][..], &["before", "flight"]];
    let slurm = both.iter().chain(&late).map(|faults| (Kind::Slurm, *faults));
    let cases = slurm.chain(both.iter().map(|faults| (Kind::Pbs, *faults)));
    join_all(cases.flat_map(|case| ["dash", "bash"].map(|shell| (case, shell))).map(async |((kind, faults), shell)| {
        let Some(site) = Site::with(kind, shell) else { return };
        site.faults(faults);
        let submitted = site.insist(&key(1)).await;
        assert_eq!(site.jobs(), 1, "{kind:?}: {faults:?}");
        // What the controller takes late is there by now.
        assert_eq!((site.insist(&key(1)).await.id, site.jobs()), (submitted.id, 1), "{kind:?}: {faults:?}");
    }))
    .await;
}

#[tokio::test]
async fn whenever_the_connection_is_lost_there_is_one_job() {
    join_all([Kind::Slurm, Kind::Pbs, Kind::Local].map(async |kind| {
        let site = Site::with(kind, "bash").unwrap();
        for number in 0..12_u32 {
            let key = key(number);
            let lost = tokio::time::timeout(Duration::from_millis(u64::from(number) * 8), site.submit(0, &key)).await;
            let submitted = site.insist(&key).await;
            if let Ok(Ok(first)) = lost {
                assert_eq!(first.id, submitted.id);
            }
            assert_eq!(site.jobs(), number as usize + 1, "{kind:?} {number}");
        }
    }))
    .await;
}

#[tokio::test]
async fn two_replicas_at_once_submit_one_job() {
    join_all(Site::each().into_iter().map(async |site| {
        let key = key(1);
        let both = tokio::join!(site.insist(&key), site.insist(&key));
        assert_eq!((both.0.id, site.jobs()), (both.1.id, 1), "{:?}", site.kind);
    }))
    .await;
}

#[tokio::test]
async fn an_attempt_under_way_is_not_repeated() {
    let site = Site::slurm();
    site.faults(&["slow"]);
    let (key, submitted) = (key(1), async |replica| site.submit(replica, &key(1)).await);
    let second = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        submitted(1).await
    };
    let (first, second) = tokio::join!(site.submit(0, &key), second);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(matches!(&second, Err(SchedulerError::UnderWay { host: Some(named), .. }) if named == host.trim()), "{second:?}");
    assert_eq!((first.unwrap().repeated, site.jobs()), (false, 1));
}

#[tokio::test]
async fn without_a_key_a_job_whose_answer_was_lost_is_found_and_its_id_answered() {
    for fault in ["after", "flight"] {
        let site = Site::slurm();
        site.faults(&[fault]);
        let id = site.replicas[0].submit(&site.ada, &site.job()).await.unwrap().value;
        assert_eq!((id.as_str(), site.jobs()), ("1", 1), "{fault}");
        let comment = std::fs::read_to_string(site.shell.home().join("slurm/1/comment")).unwrap();
        assert_eq!(comment, "", "the script alone gives the job a comment");
    }
}

#[tokio::test]
async fn without_a_key_a_job_that_is_not_found_is_not_submitted_again() {
    let site = Site::slurm();
    site.faults(&["before"]);
    let error = site.replicas[0].submit(&site.ada, &site.job()).await.unwrap_err();
    assert_eq!((goldcrest::error::Classify::maybe_effected(&error), site.jobs()), (Some(true), 0), "{error:?}");
}

#[tokio::test]
async fn a_refused_submission_can_be_sent_again() {
    let site = Site::slurm();
    site.faults(&["refuse"]);
    assert!(matches!(site.submit(0, &key(1)).await, Err(SchedulerError::Rejected(_))));
    assert!(!site.insist(&key(1)).await.repeated);
    assert_eq!(site.jobs(), 1);
}

#[tokio::test]
async fn where_no_record_can_be_kept_nothing_is_submitted() {
    let site = Site::slurm();
    std::fs::write(site.shell.home().join(".goldcrest"), "a file").unwrap();
    let error = site.submit(0, &key(1)).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::NoRecord(directory) if directory.ends_with("/.goldcrest/submit")), "{error:?}");
    assert_eq!(site.jobs(), 0);
}

#[tokio::test]
async fn an_option_that_sbatch_does_not_know_is_a_refusal_with_a_key_and_without() {
    let site = Site::slurm();
    site.faults(&["mistake", "mistake", "mistake"]);
    let is_told = |error: &SchedulerError| matches!(error, SchedulerError::Rejected(words) if words.contains("'--tiem=1'"));
    let error = site.replicas[0].submit(&site.ada, &site.job()).await.unwrap_err();
    assert!(is_told(&error), "{error:?}");
    let error = site.submit(0, &key(1)).await.unwrap_err();
    assert!(is_told(&error), "{error:?}");
    // Again with the same key: refused again, once the scheduler has had its time.
    let mut again = site.submit(1, &key(1)).await.unwrap_err();
    while let SchedulerError::UnderWay { wait, .. } = again {
        tokio::time::sleep(wait).await;
        again = site.submit(1, &key(1)).await.unwrap_err();
    }
    assert!(is_told(&again), "{again:?}");
    assert_eq!(site.jobs(), 0);
}

#[tokio::test]
async fn a_working_directory_that_is_not_there_is_named_before_anything_is_submitted() {
    let site = Site::slurm();
    let job = JobDescription { working_directory: RemotePath::from_text("/no/such").unwrap(), ..site.job() };
    let error = site.replicas[0].submit(&site.ada, &job).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Rejected(words) if words.contains("/no/such")), "{error:?}");
    assert_eq!(site.jobs(), 0);
}
