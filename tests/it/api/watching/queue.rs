//! A scheduler in memory.

use super::*;
use crate::api::doubles::Step;

/// A scheduler with a queue and accounting that a test changes as it likes, and that counts how often it is asked.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Inner>);

#[derive(Default)]
pub(super) struct Inner {
    queue: Mutex<Vec<Job>>,
    accounting: Mutex<Vec<Job>>,
    lists: AtomicUsize,
    singles: AtomicUsize,
    is_down: AtomicBool,
    /// The steps of the files, for a test that reads the output of a job.
    output: Mutex<Vec<Step>>,
}

impl Queue {
    pub(super) fn with(jobs: impl IntoIterator<Item = Job>) -> Self {
        let queue = Self::default();
        queue.0.queue.lock().unwrap().extend(jobs);
        queue
    }

    /// The same queue, over files that do just this.
    pub(super) fn with_output(self, steps: Vec<Step>) -> Self {
        *self.0.output.lock().unwrap() = steps;
        self
    }

    pub(super) fn output_steps(&self) -> Vec<Step> {
        std::mem::take(&mut *self.0.output.lock().unwrap())
    }

    /// Waits until no list is requested during five intervals.
    #[track_caller]
    pub(super) fn until_quiet(&self) -> impl Future<Output = ()> {
        wait_until(PATIENCE, async move || {
            let lists = self.lists();
            tokio::time::sleep(5 * INTERVAL).await;
            self.lists() == lists
        })
    }

    /// Puts a job into this state.
    pub(super) fn set(&self, id: &str, state: &str) {
        let mut queue = self.0.queue.lock().unwrap();
        queue.iter_mut().find(|job| job.id.as_str() == id).unwrap().status = status(state);
    }

    pub(super) fn add(&self, job: Job) {
        self.0.queue.lock().unwrap().push(job);
    }

    /// Puts a job into accounting.
    pub(super) fn account(&self, job: Job) {
        self.0.accounting.lock().unwrap().push(job);
    }

    pub(super) fn remove(&self, id: &str) {
        self.0.queue.lock().unwrap().retain(|job| job.id.as_str() != id);
    }

    pub(super) fn be_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }

    pub(super) fn lists(&self) -> usize {
        self.0.lists.load(Ordering::SeqCst)
    }

    pub(super) fn singles(&self) -> usize {
        self.0.singles.load(Ordering::SeqCst)
    }

    fn answer<T>(&self, count: &AtomicUsize, look: impl FnOnce() -> T) -> Result<T, SchedulerError> {
        count.fetch_add(1, Ordering::SeqCst);
        if self.0.is_down.load(Ordering::SeqCst) { Err(SchedulerError::Down("no controller".to_owned())) } else { Ok(look()) }
    }
}

const UNUSED: SchedulerError = SchedulerError::Unsupported("no test asks for it");

#[async_trait]
impl Scheduler for Queue {
    async fn submit(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobId>, SchedulerError> {
        // It is not in the queue yet.
        Ok(JobId::new("77").unwrap().into())
    }

    async fn submit_once(&self, _: &Principal, _: &JobDescription, _: &SubmissionKey) -> Result<Reported<Submitted>, SchedulerError> {
        // It was submitted days ago, and the scheduler has forgotten it.
        Ok(Submitted { id: JobId::new("78").unwrap(), repeated: true, record: Some(RecordPlace::Cluster) }.into())
    }

    async fn jobs(&self, by: &Principal, query: &JobQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let is_asked_for = |job: &&Job| query.all_users || job.user.as_deref() == Some(by.username.as_str());
        self.answer(&self.0.lists, || {
            let queue = self.0.queue.lock().unwrap();
            queue.iter().filter(is_asked_for).cloned().collect::<Vec<_>>().into()
        })
    }

    async fn job(&self, _: &Principal, id: &JobId) -> Result<Reported<Vec<Job>>, SchedulerError> {
        let found: Vec<Job> = self.answer(&self.0.singles, || {
            let (queue, accounting) = (self.0.queue.lock().unwrap(), self.0.accounting.lock().unwrap());
            queue.iter().chain(accounting.iter()).filter(|job| job.id == *id).cloned().collect()
        })?;
        if found.is_empty() { Err(SchedulerError::JobNotFound) } else { Ok(found.into()) }
    }

    async fn accounting(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<Job>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn metadata(&self, _: &Principal, id: &JobId) -> Result<Reported<Vec<JobMetadata>>, SchedulerError> {
        let (script, standard_input, standard_error) = (None, None, None);
        let standard_output = Some(format!("/home/{id}.out"));
        Ok(vec![JobMetadata { id: id.clone(), script, standard_input, standard_output, standard_error, is_array: false }].into())
    }

    async fn cancel(&self, _: &Principal, id: &JobId) -> Result<Reported<()>, SchedulerError> {
        self.set(id.as_str(), "CANCELLED");
        Ok(().into())
    }

    async fn alter(&self, _: &Principal, _: &JobId, _: JobChange) -> Result<Reported<()>, SchedulerError> {
        Err(UNUSED)
    }

    async fn validate(&self, _: &Principal, _: &JobDescription) -> Result<Reported<JobEstimate>, SchedulerError> {
        Err(UNUSED)
    }

    async fn attach(&self, _: &Principal, _: &JobId, _: &str) -> Result<Reported<AttachOutput>, SchedulerError> {
        Err(UNUSED)
    }

    async fn nodes(&self, _: &Principal) -> Result<Reported<Vec<Node>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn partitions(&self, _: &Principal, _: bool) -> Result<Reported<Vec<Partition>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn reservations(&self, _: &Principal) -> Result<Reported<Vec<Reservation>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn accounts(&self, _: &Principal) -> Result<Reported<Option<Vec<Account>>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn usage(&self, _: &Principal, _: &AccountingQuery) -> Result<Reported<Vec<JobUsage>>, SchedulerError> {
        Err(UNUSED)
    }

    async fn limits(&self, _: &Principal) -> Result<Reported<JobLimits>, SchedulerError> {
        Err(UNUSED)
    }

    async fn ping(&self, _: &Principal) -> Result<(), SchedulerError> {
        Ok(())
    }
}
