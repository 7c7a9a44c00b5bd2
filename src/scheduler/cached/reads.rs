//! One kind of read: queries under way, and answers that are still fresh.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared as SharedFuture, WeakShared};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use parking_lot::Mutex;
use tracing::Instrument;

use super::ReadResult;
use super::size::{self, Size};
use crate::credentials::CallerKey;
use crate::domain::{Principal, Reading, Reported};
use crate::scheduler::{Scheduler, SchedulerError};

/// The key of a query: caller, arguments and number of changes.
pub(super) struct QueryContext<'a> {
    pub(super) scheduler: &'a Arc<dyn Scheduler>,
    pub(super) principal: &'a Principal,
    pub(super) changes: u64,
}

/// The same for work that outlives the request that began it.
pub(super) struct OwnedContext {
    pub(super) scheduler: Arc<dyn Scheduler>,
    pub(super) principal: Principal,
}

/// The questions of one kind.
pub(super) struct Reads<A, T>(Arc<QueryTable<A, T>>);

/// The answers of one kind, and the queries under way.
struct QueryTable<A, T> {
    freshness: Duration,
    counts: Counts,
    answers: Cache<QueryKey<A>, Reading<T>>,
    /// A query under way. Every waiter holds the work and drives it; when the last of them is gone, it is dropped and its
    /// entry with it. So there are never more entries than requests. With `try_get_with` of the cache, the command would be run again
    /// if the waiter that began it goes away.
    asked: Mutex<HashMap<QueryKey<A>, PendingQuery<T>>>,
}

/// The sources of answers.
#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    joined: AtomicU64,
    remembered: AtomicU64,
}

/// The number of queries of one kind, by the source of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// The scheduler was queried.
    pub asked: u64,
    /// An equal query was under way.
    pub joined: u64,
    /// An answer was still fresh.
    pub remembered: u64,
}

/// The key of a query, which equal queries share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct QueryKey<A> {
    /// Two callers may have the same user name, and one of them no credential for it.
    caller: CallerKey,
    changes: u64,
    arguments: A,
}

struct PendingQuery<T> {
    memory: Memory,
    /// Tells this work from a later one for the same question.
    token: Arc<()>,
    work: WeakShared<BoxFuture<'static, ReadResult<T>>>,
}

/// Whether an earlier answer is fresh enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    Used,
    PassedOver,
}

impl<A, T> Reads<A, T>
where
    A: Clone + Eq + Hash + Send + Sync + 'static,
    T: Size + Send + Sync + 'static,
{
    /// Keeps answers for `freshness` in at most `max_bytes`.
    pub(super) fn new(freshness: Duration, max_bytes: u64) -> Self {
        let weigh = |_: &QueryKey<A>, reading: &Reading<T>| u32::try_from(size::of_entry(&**reading)).unwrap_or(u32::MAX);
        let answers =
            Cache::builder().eviction_policy(EvictionPolicy::lru()).max_capacity(max_bytes).weigher(weigh).time_to_live(freshness).build();
        Self(Arc::new(QueryTable { freshness, counts: Counts::default(), answers, asked: Mutex::default() }))
    }

    /// The sources of the answers until now.
    pub(super) fn counts(&self) -> ReadCounts {
        let Counts { asked, joined, remembered } = &self.0.counts;
        let [asked, joined, remembered] = [asked, joined, remembered].map(|count| count.load(Ordering::Relaxed));
        ReadCounts { asked, joined, remembered }
    }

    /// The answer: a fresh one, or that of an equal query under way, or the result of `ask`.
    pub(super) async fn read<F, Fut>(&self, by: QueryContext<'_>, arguments: A, ask: F) -> ReadResult<T>
    where
        F: FnOnce(OwnedContext, A) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Reported<T>, SchedulerError>> + Send + 'static,
    {
        let question = QueryKey { caller: CallerKey::of(by.principal), changes: by.changes, arguments };
        if let Some(reading) = self.0.answers.get(&question).await {
            self.0.counts.remembered.fetch_add(1, Ordering::Relaxed);
            return Ok(reading);
        }
        self.join(question, &by, ask, Memory::Used).await
    }

    /// An answer to a question that is put now, or to one of this kind that is under way; never one that was given before.
    pub(super) async fn renew<F, Fut>(&self, by: QueryContext<'_>, arguments: A, ask: F) -> ReadResult<T>
    where
        F: FnOnce(OwnedContext, A) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Reported<T>, SchedulerError>> + Send + 'static,
    {
        let question = QueryKey { caller: CallerKey::of(by.principal), changes: by.changes, arguments };
        self.join(question, &by, ask, Memory::PassedOver).await
    }

    /// The work for the query, begun unless it is under way. Nothing happens before it is awaited.
    fn join<F, Fut>(
        &self,
        question: QueryKey<A>,
        by: &QueryContext<'_>,
        ask: F,
        memory: Memory,
    ) -> SharedFuture<BoxFuture<'static, ReadResult<T>>>
    where
        F: FnOnce(OwnedContext, A) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Reported<T>, SchedulerError>> + Send + 'static,
    {
        let mut asked = self.0.asked.lock();
        let may_join = |asked: &&PendingQuery<T>| memory == Memory::Used || asked.memory == memory;
        if let Some(work) = asked.get(&question).filter(may_join).and_then(|asked| asked.work.upgrade()) {
            self.0.counts.joined.fetch_add(1, Ordering::Relaxed);
            return work;
        }
        let token = Arc::new(());
        let entry = Entry { table: Arc::clone(&self.0), question: question.clone(), token: Arc::clone(&token) };
        let by = OwnedContext { scheduler: Arc::clone(by.scheduler), principal: by.principal.clone() };
        let work = async move {
            let QueryTable { freshness, counts, answers, .. } = &*entry.table;
            // Work that ended since the caller looked has left its answer here.
            if let Some(reading) = answers.get(&entry.question).await.filter(|_| memory == Memory::Used) {
                counts.remembered.fetch_add(1, Ordering::Relaxed);
                return Ok(reading);
            }
            counts.asked.fetch_add(1, Ordering::Relaxed);
            let asked = Instant::now();
            let reported = ask(by, entry.question.arguments.clone()).await?;
            let reading = Reading::of(reported, asked, *freshness);
            answers.insert(entry.question.clone(), reading.clone()).await;
            Ok(reading)
        };
        let work = work.in_current_span().boxed().shared();
        if let Some(weak) = work.downgrade() {
            asked.insert(question, PendingQuery { memory, token, work: weak });
        }
        work
    }
}

/// The entry of a query under way. It is owned by the work and removed with it: at its end, or when all waiters are gone.
struct Entry<A: Eq + Hash, T> {
    table: Arc<QueryTable<A, T>>,
    question: QueryKey<A>,
    token: Arc<()>,
}

impl<A: Eq + Hash, T> Drop for Entry<A, T> {
    fn drop(&mut self) {
        let mut asked = self.table.asked.lock();
        if asked.get(&self.question).is_some_and(|asked| Arc::ptr_eq(&asked.token, &self.token)) {
            asked.remove(&self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Counting, job, principal};
    use super::*;
    use crate::domain::Job;

    #[tokio::test]
    async fn what_is_kept_stays_within_its_bound_and_nothing_is_left_of_questions() {
        let scheduler: Arc<dyn Scheduler> = Arc::new(Counting::new());
        let ada = principal("ada");
        let most = 100_000;
        let reads = Reads::<u32, Vec<Job>>::new(Duration::from_secs(3600), most);
        for number in 0..200 {
            let by = QueryContext { scheduler: &scheduler, principal: &ada, changes: 0 };
            let long = Job { nodes: "n".repeat(usize::try_from(number).unwrap() * 500), ..job("1") };
            reads.read(by, number, |_, _| async { Ok(vec![long].into()) }).await.unwrap();
        }
        reads.0.answers.run_pending_tasks().await;
        let kept = reads.0.answers.weighted_size();
        assert!(kept > most / 2 && kept <= most, "{kept}");
        assert!(reads.0.asked.lock().is_empty());
    }
}
