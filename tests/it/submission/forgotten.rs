//! Submissions whose job the scheduler may have forgotten: it is not submitted again unless it certainly would be known.

use goldcrest::error::Classify;
use goldcrest::scheduler::{RecordPlace, SchedulerError};

use super::stored::{SETTINGS, records, unwritable};
use super::{Kind, Site, key};

impl Site {
    /// From now on nobody knows the jobs that were submitted; the controller says that it remembers an ended one for so many seconds.
    fn forget(&self, memory: u64) {
        let home = self.shell.home();
        match self.kind {
            Kind::Slurm => {
                std::fs::write(home.join("memory"), memory.to_string()).unwrap();
                std::fs::write(home.join("forgets"), "").unwrap();
            }
            Kind::Pbs => {
                for job in std::fs::read_dir(home.join("pbs")).into_iter().flatten() {
                    std::fs::write(job.unwrap().path().join("letter"), "F\n").unwrap();
                }
                std::fs::create_dir_all(home.join("pbs")).unwrap();
                std::fs::write(home.join("pbs/mode"), "nohistory").unwrap();
            }
            Kind::Local => panic!("it forgets nothing"),
        }
    }

    /// The first answer that is not to be waited for.
    async fn outcome(&self, replica: usize) -> Result<goldcrest::scheduler::Submitted, SchedulerError> {
        loop {
            match self.submit(replica, &key(1)).await {
                Err(SchedulerError::UnderWay { wait, .. }) => tokio::time::sleep(wait).await,
                outcome => return outcome,
            }
        }
    }
}

fn is_undecidable(outcome: &Result<goldcrest::scheduler::Submitted, SchedulerError>) -> bool {
    matches!(outcome, Err(error @ SchedulerError::Undecidable { .. }) if error.maybe_effected() == Some(true))
}

#[tokio::test]
async fn with_the_record_on_the_cluster_a_job_that_may_have_been_forgotten_is_not_submitted_again() {
    // A controller that remembers ended jobs for less than the clocks may differ says nothing.
    for (kind, memory) in [(Kind::Slurm, 0), (Kind::Slurm, 20), (Kind::Pbs, 0)] {
        let site = Site::with(kind, "bash").unwrap();
        site.faults(&["after"]);
        site.submit(0, &key(1)).await.unwrap_err();
        site.forget(memory);
        for replica in 0..2 {
            let outcome = site.outcome(replica).await;
            assert!(is_undecidable(&outcome), "{kind:?} {memory}: {outcome:?}");
        }
        assert_eq!(site.jobs(), 1, "{kind:?} {memory}");
    }
}

#[tokio::test]
async fn an_attempt_that_the_controller_certainly_would_remember_is_made_again() {
    let site = Site::slurm();
    site.faults(&["before"]);
    site.submit(0, &key(1)).await.unwrap_err();
    site.forget(300);
    assert!(!site.outcome(1).await.unwrap().repeated);
    assert_eq!(site.jobs(), 1);
}

#[tokio::test]
async fn where_a_record_may_be_hidden_and_its_job_forgotten_nothing_is_submitted_or_kept() {
    let site = Site::keeping(Kind::Slurm, "bash", SETTINGS, |home| Some(records(home))).unwrap();
    site.submit(0, &key(1)).await.unwrap();
    let (folder, away) = (site.shell.home().join(".goldcrest"), site.shell.home().join("away"));
    std::fs::rename(&folder, &away).unwrap();
    std::fs::write(&folder, "a file").unwrap();
    site.forget(0);
    let outcome = site.outcome(1).await;
    assert!(is_undecidable(&outcome) && outcome.unwrap_err().to_string().contains("without Idempotency-Key"));
    assert_eq!(site.jobs(), 1);
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&away, &folder).unwrap();
    let submitted = site.outcome(1).await.unwrap();
    assert_eq!((submitted.repeated, submitted.record, site.jobs()), (true, Some(RecordPlace::Cluster), 1));
    // Also where nothing was submitted before: that is not known.
    let site = unwritable(Kind::Pbs, "bash").unwrap();
    site.forget(0);
    assert!(is_undecidable(&site.outcome(0).await));
    assert_eq!(site.jobs(), 0);
}

#[tokio::test]
async fn where_the_records_are_seen_and_have_none_of_the_key_the_store_takes_it_though_the_scheduler_forgets() {
    let site = Site::keeping(Kind::Slurm, "bash", SETTINGS, |home| Some(records(home))).unwrap();
    std::fs::create_dir_all(site.shell.home().join(".goldcrest/submit")).unwrap();
    // As where the quota is used up.
    site.before("ln", "exit 1");
    site.forget(0);
    let first = site.outcome(0).await.unwrap();
    assert_eq!((first.repeated, first.record, site.jobs()), (false, Some(RecordPlace::Store), 1));
    let second = site.outcome(1).await.unwrap();
    assert_eq!((second.repeated, second.id, site.jobs()), (true, first.id, 1));
}
