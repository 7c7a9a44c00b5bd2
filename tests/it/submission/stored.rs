//! Submissions whose record lies in the store: a home directory that cannot be written, and slurmrestd. Something fails at each step.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use goldcrest::domain::{JobDescription, JobScript, RemotePath};
use goldcrest::error::{self, Classify};
use goldcrest::rest::{Client, Url};
use goldcrest::scheduler::slurm::{CallersToken, RestSettings, SlurmRest};
use goldcrest::scheduler::{RecordPlace, RecordSettings, Scheduler, SchedulerError, StoredRecords, SubmissionKey, Submitted};
use goldcrest::store::{Sqlite, SqliteConfig, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Kind, Site, key};
use crate::support::principal;
use crate::support::service::{Reply, Seen, Service};

/// Times in which a test ends.
pub(super) const SETTINGS: RecordSettings =
    RecordSettings { days: 7, late_acceptance: Duration::from_secs(1), attempt: Duration::from_secs(2), certain: Duration::from_secs(4) };

fn store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.join("store"), ..SqliteConfig::default() }))
}

pub(super) fn records(folder: &Path) -> StoredRecords {
    StoredRecords::new(store(folder), SETTINGS)
}

/// A login node on which no record can be kept.
pub(super) fn unwritable(kind: Kind, shell: &str) -> Option<Site> {
    let site = Site::keeping(kind, shell, SETTINGS, |home| Some(records(home)))?;
    std::fs::write(site.shell.home().join(".goldcrest"), "a file").unwrap();
    Some(site)
}

#[tokio::test]
async fn where_no_record_can_be_kept_on_the_cluster_it_is_kept_in_the_store() {
    for kind in [Kind::Slurm, Kind::Pbs] {
        let site = unwritable(kind, "bash").unwrap();
        let first = site.submit(0, &key(1)).await.unwrap();
        let second = site.submit(1, &key(1)).await.unwrap();
        assert_eq!((first.repeated, second.repeated, &first.id), (false, true, &second.id), "{kind:?}");
        assert_eq!((first.record, second.record), (Some(RecordPlace::Store), Some(RecordPlace::Store)));
        let other = SubmissionKey::new(&1_u128.to_be_bytes(), &[0xee; 32]);
        assert!(matches!(site.submit(1, &other).await, Err(SchedulerError::KeyReused)));
        assert_eq!(site.jobs(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn what_is_recorded_in_the_store_counts_where_the_home_directory_can_be_written_again() {
    let site = unwritable(Kind::Slurm, "bash").unwrap();
    let first = site.submit(0, &key(1)).await.unwrap();
    std::fs::remove_file(site.shell.home().join(".goldcrest")).unwrap();
    let second = site.submit(1, &key(1)).await.unwrap();
    assert_eq!((second.repeated, &second.id, second.record, site.jobs()), (true, &first.id, Some(RecordPlace::Store), 1));
    assert_eq!(site.submit(0, &key(2)).await.unwrap().record, Some(RecordPlace::Cluster));
}

#[tokio::test]
async fn what_is_recorded_on_the_cluster_counts_where_the_home_directory_can_be_written_no_more() {
    let site = Site::keeping(Kind::Slurm, "bash", SETTINGS, |home| Some(records(home))).unwrap();
    let first = site.submit(0, &key(1)).await.unwrap();
    std::fs::rename(site.shell.home().join(".goldcrest"), site.shell.home().join("away")).unwrap();
    std::fs::write(site.shell.home().join(".goldcrest"), "a file").unwrap();
    let second = site.submit(1, &key(1)).await.unwrap();
    assert_eq!((second.repeated, &second.id, second.record, site.jobs()), (true, &first.id, Some(RecordPlace::Store), 1));
}

#[tokio::test]
async fn with_the_record_in_the_store_whatever_is_killed_there_is_one_job() {
    let cases = [&["before"][..], &["after"], &["flight"], &["slow"], &["refuse"], &["before", "after"], &["before", "flight"]];
    join_all(cases.iter().flat_map(|faults| ["dash", "bash", "ksh"].map(|shell| (faults, shell))).map(async |(faults, shell)| {
        let Some(site) = unwritable(Kind::Slurm, shell) else { return };
        site.faults(faults);
        let submitted = site.insist(&key(1)).await;
        assert_eq!(site.jobs(), 1, "{faults:?}");
        assert_eq!((site.insist(&key(1)).await.id, site.jobs()), (submitted.id, 1), "{faults:?}");
    }))
    .await;
}

#[tokio::test]
async fn two_replicas_at_once_submit_one_job_by_the_store() {
    let site = unwritable(Kind::Slurm, "bash").unwrap();
    let key = key(1);
    let both = tokio::join!(site.insist(&key), site.insist(&key));
    assert_eq!((both.0.id, site.jobs()), (both.1.id, 1));
}

/// A Slurm behind slurmrestd.
#[derive(Default)]
struct Cluster {
    /// What it was sent, as it was accepted.
    jobs: Vec<Value>,
    /// What happens to the next submissions.
    faults: Vec<&'static str>,
    /// Whether the controller has forgotten its jobs, which have ended.
    forgotten: bool,
    /// Whether accounting keeps comments.
    comments: bool,
}

impl Cluster {
    fn accept(&mut self, document: &Value) -> usize {
        self.jobs.push(document["job"].clone());
        self.jobs.len()
    }

    fn answer(cluster: &Arc<Mutex<Self>>, seen: &Seen) -> Reply {
        let path = seen.uri.path().to_owned();
        if path == "/openapi/v3" {
            let paths = json!({"/slurm/v0.0.42/ping": {}, "/slurmdb/v0.0.42/jobs": {}});
            return Reply::json(&json!({"openapi": "3.0.3", "paths": paths}));
        }
        let mut own = cluster.lock().unwrap();
        match path.as_str() {
            "/slurm/v0.0.42/job/submit" => {
                let document = seen.json();
                let fault = if own.faults.is_empty() { "" } else { own.faults.remove(0) };
                match fault {
                    "refuse" => Reply::json(&json!({"errors": [{"error": "Invalid qos specification", "error_number": 2066}]})),
                    "slow" => {
                        let id = own.accept(&document);
                        Reply::json(&json!({"job_id": id, "errors": []})).after(Duration::from_millis(700))
                    }
                    "gateway" => Reply::status(502, "<html>bad gateway</html>"),
                    "silent" => Reply::json(&json!({})).after(Duration::from_secs(5)),
                    "lost" => {
                        own.accept(&document);
                        Reply::json(&json!({})).after(Duration::from_secs(5))
                    }
                    "timeout" => {
                        own.accept(&document);
                        let error = "Unable to contact slurm controller (receive failure)";
                        Reply::json(&json!({"errors": [{"error": error, "error_number": 1810}]}))
                    }
                    "late" => {
                        let cluster = Arc::clone(cluster);
                        tokio::spawn(async move {
                            tokio::time::sleep(Duration::from_secs(2)).await;
                            cluster.lock().unwrap().accept(&document);
                        });
                        Reply::json(&json!({})).after(Duration::from_secs(5))
                    }
                    _ => {
                        let id = own.accept(&document);
                        Reply::json(&json!({"job_id": id, "errors": []}))
                    }
                }
            }
            "/slurm/v0.0.42/jobs" if own.forgotten => Reply::json(&json!({"jobs": [], "errors": []})),
            "/slurm/v0.0.42/jobs" => {
                let job = |(index, job): (usize, &Value)| json!({"job_id": index + 1, "comment": job["comment"], "user_name": "ada"});
                Reply::json(&json!({"jobs": own.jobs.iter().enumerate().map(job).collect::<Vec<_>>(), "errors": []}))
            }
            _ => {
                let comments = own.comments;
                let now = jiff::Timestamp::now().as_second();
                let job = |(index, job): (usize, &Value)| {
                    let comment = if comments { job["comment"].clone() } else { json!("") };
                    let directory = &job["current_working_directory"];
                    json!({"job_id": index + 1, "comment": {"job": comment}, "user": "ada", "working_directory": directory, "time": {"submission": now}})
                };
                Reply::json(&json!({"jobs": own.jobs.iter().enumerate().map(job).collect::<Vec<_>>(), "errors": []}))
            }
        }
    }
}

/// Two replicas before one slurmrestd.
struct RestSite {
    cluster: Arc<Mutex<Cluster>>,
    service: Service,
    folder: TempDir,
    replicas: [SlurmRest; 2],
}

impl RestSite {
    async fn start(faults: &[&'static str]) -> Self {
        let cluster = Arc::new(Mutex::new(Cluster { faults: faults.to_vec(), comments: true, ..Cluster::default() }));
        let own = Arc::clone(&cluster);
        let service = Service::start(move |seen| Cluster::answer(&own, seen)).await;
        let folder = tempfile::tempdir().unwrap();
        let replicas = [Self::replica(&service.url, folder.path()), Self::replica(&service.url, folder.path())];
        Self { cluster, service, folder, replicas }
    }

    fn replica(url: &str, folder: &Path) -> SlurmRest {
        let settings = RestSettings { url: Url::parse(url).unwrap(), api_version: None, timeout: Duration::from_secs(1) };
        SlurmRest::new(Client::new().unwrap(), settings, Arc::new(CallersToken)).storing(Some(records(folder)))
    }

    fn jobs(&self) -> usize {
        self.cluster.lock().unwrap().jobs.len()
    }

    async fn insist(&self, key: &SubmissionKey) -> Submitted {
        let mut errors = Vec::new();
        for replica in (0..2).cycle().take(16) {
            match submit(&self.replicas[replica], key).await {
                Ok(submitted) => return submitted,
                Err(SchedulerError::UnderWay { wait, .. } | SchedulerError::Undecided { wait, .. }) => tokio::time::sleep(wait).await,
                Err(error) => errors.push(error.to_string()),
            }
        }
        panic!("there is no id: {errors:?}")
    }
}

async fn submit(replica: &impl Scheduler, key: &SubmissionKey) -> Result<Submitted, SchedulerError> {
    let script = JobScript::Inline("#!/bin/sh\n#SBATCH --comment=mine\ntrue\n".to_owned());
    let job = JobDescription::new(RemotePath::from_text("/home/ada").unwrap(), script);
    replica.submit_once(&principal("ada"), &job, key).await.map(|reported| reported.value)
}

#[tokio::test]
async fn by_slurmrestd_a_repeated_submission_is_answered_with_the_id_of_the_first_and_the_job_keeps_its_comment() {
    let site = RestSite::start(&[]).await;
    let first = submit(&site.replicas[0], &key(1)).await.unwrap();
    let second = submit(&site.replicas[1], &key(1)).await.unwrap();
    assert_eq!((first.repeated, second.repeated, &first.id, site.jobs()), (false, true, &second.id, 1));
    assert_eq!((first.record, second.record), (Some(RecordPlace::Store), Some(RecordPlace::Store)));
    assert_eq!(site.cluster.lock().unwrap().jobs[0]["comment"], format!("mine {}", key(1).tag()));
}

#[tokio::test]
async fn by_slurmrestd_whatever_fails_there_is_one_job() {
    let cases = [
        &["refuse"][..],
        &["gateway"],
        &["silent"],
        &["lost"],
        &["timeout"],
        &["late"],
        &["gateway", "timeout"],
        &["silent", "late"],
        &["refuse", "lost"],
    ];
    join_all(cases.map(async |faults| {
        let site = RestSite::start(faults).await;
        let submitted = site.insist(&key(1)).await;
        assert_eq!(site.jobs(), 1, "{faults:?}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!((site.insist(&key(1)).await.id, site.jobs()), (submitted.id, 1), "{faults:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_job_that_nobody_can_tell_any_more_is_not_submitted_again() {
    let site = RestSite::start(&["lost"]).await;
    submit(&site.replicas[0], &key(1)).await.unwrap_err();
    {
        let mut cluster = site.cluster.lock().unwrap();
        (cluster.forgotten, cluster.comments) = (true, false);
    }
    let mut errors = Vec::new();
    for _ in 0..3 {
        tokio::time::sleep(SETTINGS.certain.max(SETTINGS.attempt + SETTINGS.late_acceptance)).await;
        errors.push(submit(&site.replicas[1], &key(1)).await.unwrap_err());
    }
    // Nothing of the attempt can appear any more, and still nobody knows: to wait longer would not help.
    let last = errors.pop().unwrap();
    let is_told = matches!(&last, SchedulerError::Undecidable { reason } if reason.contains("comments") && reason.ends_with("it: 1"));
    assert!(is_told && (last.kind(), last.maybe_effected()) == (error::Kind::Conflict, Some(true)), "{last:?}");
    assert!(last.to_string().contains("use a new Idempotency-Key"), "{last}");
    assert_eq!(site.jobs(), 1);
    site.cluster.lock().unwrap().comments = true;
    let found = submit(&site.replicas[0], &key(1)).await.unwrap();
    assert_eq!((found.repeated, found.id.as_str(), site.jobs()), (true, "1", 1));
}

#[tokio::test]
async fn a_job_that_the_controller_knows_with_another_comment_is_not_taken_for_the_one_that_is_looked_for() {
    let site = RestSite::start(&["", "silent"]).await;
    site.cluster.lock().unwrap().comments = false;
    let other = submit(&site.replicas[0], &key(1)).await.unwrap();
    submit(&site.replicas[0], &key(2)).await.unwrap_err();
    let submitted = site.insist(&key(2)).await;
    assert_ne!(submitted.id, other.id);
    assert_eq!(site.jobs(), 2);
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_a_submission_whose_client_is_gone() {
    let site = RestSite::start(&["slow"]).await;
    let client_leaves = tokio::time::timeout(Duration::from_millis(200), submit(&site.replicas[0], &key(1))).await;
    assert!(client_leaves.is_err());
    site.replicas[0].settle().await;
    let found = submit(&site.replicas[1], &key(1)).await.unwrap();
    assert_eq!((found.repeated, found.id.as_str(), site.jobs()), (true, "1", 1));
}

#[tokio::test]
async fn where_the_store_cannot_be_used_nothing_is_submitted() {
    let site = RestSite::start(&[]).await;
    let folder = site.folder.path().join("file");
    std::fs::write(&folder, "no directory").unwrap();
    let error = submit(&RestSite::replica(&site.service.url, &folder), &key(1)).await.unwrap_err();
    assert!(matches!(error, SchedulerError::RecordStore), "{error:?}");
    assert_eq!(site.jobs(), 0);
}

#[tokio::test]
async fn without_a_store_slurmrestd_takes_no_key() {
    let site = RestSite::start(&[]).await;
    let settings = RestSettings { url: Url::parse(&site.service.url).unwrap(), api_version: None, timeout: Duration::from_secs(1) };
    let replica = SlurmRest::new(Client::new().unwrap(), settings, Arc::new(CallersToken));
    assert!(matches!(submit(&replica, &key(1)).await, Err(SchedulerError::Unsupported(_))));
}

/// A replica that ends after some time, in the middle of whatever it does.
fn killed(url: &str, folder: &Path, number: u32, after: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let replica = RestSite::replica(url, folder);
        let submitting = tokio::spawn(async move { drop(submit(&replica, &key(number)).await) });
        tokio::time::sleep(after).await;
        submitting.abort();
    });
    runtime.shutdown_background();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_at_any_moment_leave_one_job_for_each_submission() {
    let site = RestSite::start(&["", "late", "", "lost", "", "silent", "", "timeout"]).await;
    let number_of = 24_u32;
    for number in 0..number_of {
        let (url, folder) = (site.service.url.clone(), site.folder.path().to_owned());
        let after = Duration::from_micros(u64::from(number) * 700);
        tokio::task::spawn_blocking(move || killed(&url, &folder, number, after)).await.unwrap();
    }
    let keys: Vec<SubmissionKey> = (0..number_of).map(key).collect();
    let submitted = join_all(keys.iter().map(|key| site.insist(key))).await;
    let ids: std::collections::BTreeSet<_> = submitted.iter().map(|submitted| submitted.id.as_str().to_owned()).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((ids.len(), site.jobs()), (number_of as usize, number_of as usize));
}
