use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::join_all;
use tokio::sync::watch;

use super::*;
use crate::domain::{JobScript, JobStatus, JobTimes, RemotePath, Secret};
use crate::error::{Classify, Kind};
use crate::scheduler::{SubmissionKey, Submitted};

const LONG: Duration = Duration::from_secs(3600);

/// Looks at its jobs when it is asked, counts that, and answers when it may.
pub(super) struct Counting {
    asked: AtomicUsize,
    given_up: AtomicUsize,
    jobs: Mutex<Vec<Job>>,
    fails: bool,
    may_answer: watch::Sender<bool>,
}

impl Counting {
    pub(super) fn new() -> Self {
        let may_answer = watch::Sender::new(true);
        Self { asked: AtomicUsize::new(0), given_up: AtomicUsize::new(0), jobs: Mutex::default(), fails: false, may_answer }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn look<T>(&self, look: impl FnOnce(&[Job]) -> T) -> Result<Reported<T>, SchedulerError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let seen = look(&self.jobs.lock().unwrap());
        let unfinished = CountsWhenDropped(&self.given_up);
        self.may_answer.subscribe().wait_for(|may| *may).await.unwrap();
        // A command takes a while: others ask meanwhile.
        tokio::task::yield_now().await;
        std::mem::forget(unfinished);
        if self.fails { Err(SchedulerError::Down("no controller".to_owned())) } else { Ok(seen.into()) }
    }
}

struct CountsWhenDropped<'a>(&'a AtomicUsize);

impl Drop for CountsWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Scheduler for Counting {
    async fn submit(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        let mut jobs = self.jobs.lock().unwrap();
        let id = (jobs.len() + 1).to_string();
        jobs.push(job(&id));
        Ok(JobId::new(&id).unwrap().into())
    }

    async fn submit_once(&self, by: &Principal, job: &JobDescription, _: &SubmissionKey) -> Result<Reported<Submitted>, SchedulerError> {
        self.submit(by, job).await.map(|reported| reported.map(Submitted::once))
    }

    async fn jobs(&self, _: &Principal, _: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.look(<[Job]>::to_vec).await
    }

    async fn job(&self, _: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.look(|jobs| jobs.iter().filter(|job| job.id == *id).cloned().collect()).await
    }

    async fn accounting(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        self.look(<[Job]>::to_vec).await
    }

    async fn metadata(&self, _: &Principal, _: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        self.look(|_| Vec::new()).await
    }

    async fn cancel(&self, _: &Principal, _: &JobId) -> Result<Reported<()>, SchedulerError> {
        self.may_answer.subscribe().wait_for(|may| *may).await.unwrap();
        Ok(().into())
    }

    async fn alter(&self, _: &Principal, _: &JobId, _: JobChange) -> Result<Reported<()>, SchedulerError> {
        Err(SchedulerError::JobNotFound)
    }

    async fn validate(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        Ok(JobEstimate::default().into())
    }

    async fn usage(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        Ok(Vec::new().into())
    }

    async fn limits(&self, _: &Principal) -> Result<Reported<Limits>, SchedulerError> {
        Ok(Limits::default().into())
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        Err(SchedulerError::JobNotFound)
    }

    async fn nodes(&self, _: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        self.look(|_| Vec::new()).await
    }

    async fn partitions(&self, _: &Principal, _: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        self.look(|_| Vec::new()).await
    }

    async fn reservations(&self, _: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        self.look(|_| Vec::new()).await
    }

    async fn accounts(&self, _: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        self.look(|_| None).await
    }

    async fn ping(&self, _: &Principal) -> Result<(), SchedulerError> {
        self.look(|_| ()).await.map(drop)
    }
}

pub(super) fn job(id: &str) -> Job {
    Job {
        id: JobId::new(id).unwrap(),
        name: "wave".to_owned(),
        status: JobStatus::default(),
        steps: None,
        times: JobTimes::default(),
        account: None,
        allocation_nodes: 1,
        cluster: "daint".to_owned(),
        group: None,
        nodes: String::new(),
        partition: "normal".to_owned(),
        kill_request_user: None,
        user: None,
        working_directory: "/home".to_owned(),
        priority: None,
    }
}

fn description() -> JobDescription {
    JobDescription::new(RemotePath::from_text("/home").unwrap(), JobScript::Inline("#!/bin/sh\n".to_owned()))
}

pub(super) fn principal(username: &str) -> Principal {
    Principal {
        username: Username::new(username).unwrap(),
        subject: username.to_owned(),
        client_id: None,
        email: None,
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1),
        token: Secret::from("token".to_owned()),
        is_service_account: false,
        validator: None,
    }
}

fn shared(freshness: Duration) -> (Arc<Counting>, CachedScheduler) {
    let scheduler = Arc::new(Counting::new());
    (Arc::clone(&scheduler), CachedScheduler::new(scheduler, freshness))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pollers_cost_one_command_a_freshness_period() {
    let freshness = Duration::from_millis(50);
    let (scheduler, shared) = shared(freshness);
    let shared = Arc::new(shared);
    let start = Instant::now();
    let pollers = (0..1000).map(|_| {
        let (scheduler, shared) = (Arc::clone(&scheduler), Arc::clone(&shared));
        tokio::spawn(async move {
            while scheduler.asked() < 5 {
                shared.jobs(&principal("ada"), &JobQuery::default()).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), join_all(pollers)).await.expect("answers stay fresh for 50 ms");
    assert!(ended.iter().all(Result::is_ok));
    let periods = start.elapsed().as_millis() / freshness.as_millis();
    assert!(scheduler.asked() as u128 <= periods + 1, "{} commands in {periods} periods", scheduler.asked());
}

#[tokio::test]
async fn equal_questions_at_the_same_time_are_one_command_even_where_nothing_is_kept() {
    let (scheduler, shared) = shared(Duration::ZERO);
    let ada = principal("ada");
    scheduler.may_answer.send_replace(false);
    let asking = join_all((0..10).map(|_| shared.nodes(&ada)));
    let answering = async {
        tokio::task::yield_now().await;
        scheduler.may_answer.send_replace(true);
    };
    let (answers, ()) = futures::join!(asking, answering);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(scheduler.asked(), 1);
    shared.nodes(&ada).await.unwrap();
    assert_eq!(scheduler.asked(), 2);
}

#[tokio::test]
async fn a_fresh_answer_is_given_again_and_is_the_same_one() {
    let (scheduler, shared) = shared(LONG);
    let ada = principal("ada");
    shared.submit(&ada, &description()).await.unwrap();
    let first = shared.jobs(&ada, &JobQuery::default()).await.unwrap();
    let second = shared.jobs(&ada, &JobQuery::default()).await.unwrap();
    assert!(std::ptr::eq(&*first, &*second), "the list was copied");
    assert_eq!((scheduler.asked(), second.fresh_for()), (1, LONG));
}

#[tokio::test]
async fn nothing_is_shared_between_users_arguments_or_kinds_of_question() {
    let (scheduler, shared) = shared(LONG);
    let named = JobQuery { name: Some("wave".to_owned()), ..JobQuery::default() };
    for user in ["ada", "bob"] {
        let by = principal(user);
        shared.jobs(&by, &JobQuery::default()).await.unwrap();
        shared.jobs(&by, &named).await.unwrap();
        for id in ["1", "2"] {
            shared.job(&by, &JobId::new(id).unwrap()).await.unwrap();
            shared.metadata(&by, &JobId::new(id).unwrap()).await.unwrap();
        }
        shared.nodes(&by).await.unwrap();
        shared.partitions(&by, false).await.unwrap();
        shared.partitions(&by, true).await.unwrap();
        shared.reservations(&by).await.unwrap();
        shared.accounts(&by).await.unwrap();
    }
    assert_eq!(scheduler.asked(), 22);
}

#[tokio::test]
async fn whatever_a_user_changes_ends_what_the_user_was_told_even_if_it_fails() {
    let (scheduler, shared) = shared(LONG);
    let ada = principal("ada");
    let id = JobId::new("1").unwrap();
    for changes in 0..3 {
        assert_eq!(shared.jobs(&ada, &JobQuery::default()).await.unwrap().len(), changes.min(1));
        shared.job(&ada, &id).await.unwrap();
        assert_eq!(scheduler.asked(), 2 * (changes + 1));
        match changes {
            0 => drop(shared.submit(&ada, &description()).await.unwrap()),
            1 => drop(shared.cancel(&ada, &id).await.unwrap()),
            _ => drop(shared.attach(&ada, &id, "date").await.unwrap_err()),
        }
    }
    shared.jobs(&ada, &JobQuery::default()).await.unwrap();
    assert_eq!(scheduler.asked(), 7);
}

#[tokio::test]
async fn an_answer_that_was_asked_for_before_a_submission_is_not_given_after_it() {
    let (scheduler, shared) = shared(LONG);
    let ada = principal("ada");
    scheduler.may_answer.send_replace(false);
    let query = JobQuery::default();
    let mut before = Box::pin(shared.jobs(&ada, &query));
    assert!(before.as_mut().now_or_never().is_none());
    shared.submit(&ada, &description()).await.unwrap();
    let mut after = Box::pin(shared.jobs(&ada, &query));
    assert!(after.as_mut().now_or_never().is_none());
    scheduler.may_answer.send_replace(true);
    assert_eq!(before.await.unwrap().len(), 0);
    assert_eq!(after.await.unwrap().len(), 1, "the question after the submission joined the one before");
    assert_eq!(shared.jobs(&ada, &query).await.unwrap().len(), 1, "the old answer was kept");
    assert_eq!(scheduler.asked(), 2);
}

#[tokio::test]
async fn a_change_that_is_given_up_ends_what_was_told_too() {
    let (scheduler, shared) = shared(LONG);
    let ada = principal("ada");
    shared.nodes(&ada).await.unwrap();
    scheduler.may_answer.send_replace(false);
    assert!(shared.cancel(&ada, &JobId::new("1").unwrap()).now_or_never().is_none());
    scheduler.may_answer.send_replace(true);
    shared.nodes(&ada).await.unwrap();
    assert_eq!(scheduler.asked(), 2);
}

#[tokio::test]
async fn who_waits_is_answered_by_the_same_command_when_who_asked_first_is_gone() {
    let (scheduler, shared) = shared(LONG);
    let ada = principal("ada");
    scheduler.may_answer.send_replace(false);
    let mut first = Box::pin(shared.nodes(&ada));
    assert!(first.as_mut().now_or_never().is_none());
    let second = shared.nodes(&ada);
    let leaving = async {
        tokio::task::yield_now().await;
        drop(first);
        scheduler.may_answer.send_replace(true);
    };
    let waiting = async { tokio::time::timeout(Duration::from_secs(10), second).await.expect("the waiter was left alone") };
    let (answer, ()) = futures::join!(waiting, leaving);
    answer.unwrap();
    assert_eq!((scheduler.asked(), scheduler.given_up.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_is_given_up_and_asked_anew_later() {
    let (scheduler, shared) = shared(LONG);
    let ada = principal("ada");
    scheduler.may_answer.send_replace(false);
    let mut asking: Vec<_> = (0..3).map(|_| Box::pin(shared.nodes(&ada))).collect();
    assert!(asking.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
    drop(asking);
    assert_eq!((scheduler.asked(), scheduler.given_up.load(Ordering::SeqCst)), (1, 1));
    scheduler.may_answer.send_replace(true);
    shared.nodes(&ada).await.unwrap();
    assert_eq!(scheduler.asked(), 2);
}

#[tokio::test]
async fn an_error_is_told_to_all_who_wait_for_it_and_to_nobody_after() {
    let scheduler = Arc::new(Counting { fails: true, ..Counting::new() });
    let shared = CachedScheduler::new(scheduler.clone(), LONG);
    let ada = principal("ada");
    scheduler.may_answer.send_replace(false);
    let asking = join_all((0..10).map(|_| shared.nodes(&ada)));
    let answering = async {
        tokio::task::yield_now().await;
        scheduler.may_answer.send_replace(true);
    };
    let (answers, ()) = futures::join!(asking, answering);
    for answer in answers {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(false)));
        assert_eq!(error.to_string(), "the scheduler does not answer: no controller");
    }
    assert_eq!(scheduler.asked(), 1);
    shared.nodes(&ada).await.unwrap_err();
    assert_eq!(scheduler.asked(), 2);
}

#[tokio::test]
async fn an_answer_is_never_given_to_another_caller_of_the_same_user_name() {
    let (scheduler, shared) = shared(LONG);
    let one = principal("ada");
    let another = Principal { subject: "another".to_owned(), ..one.clone() };
    let by_another_client = Principal { client_id: Some("portal".to_owned()), ..one.clone() };
    for (asked, caller) in [&one, &another, &by_another_client].into_iter().enumerate() {
        shared.jobs(caller, &JobQuery::default()).await.unwrap();
        assert_eq!(scheduler.asked(), asked + 1);
    }
    // A change by one of them is a change of the same jobs.
    shared.submit(&another, &description()).await.unwrap();
    assert_eq!(shared.jobs(&one, &JobQuery::default()).await.unwrap().len(), 1);
}
