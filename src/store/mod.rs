//! State that outlives a request and cannot be kept on a cluster: claims of submissions, logs of events, leases, and records with due work.
//!
//! One trait, [`Store`], with two implementations: `sqlite`, a file of this process, and `postgres`, a database that several replicas share.
//! All times are the store's own, so that replicas whose clocks differ agree. Values are bytes: this module must not know what they mean,
//! nor jobs, callers or HTTP. Nothing is stored for a site without the `store` section. To add an implementation: a folder here, a variant of
//! [`Config`], an arm in `app/build.rs`, and a line in the conformance suite (`tests/it/store`).

mod config;
mod error;
mod leased;
mod postgres;
mod sqlite;
mod status;
mod upkeep;
mod watchers;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Config, PostgresConfig, SqliteConfig};
pub use error::{SetupError, StoreError};
pub use leased::{Leased, wait_for_leases};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use status::Status;
pub use watchers::StreamWatch;

/// The maximum number of entries, or records, of one answer.
pub const MAX_PAGE: usize = 1000;

/// Stores state that outlives a request. Acknowledged writes survive a kill of any process and are visible to every replica.
#[async_trait]
pub trait Store: Send + Sync {
    /// Begins an attempt at work that is to be done once, unless it was done, or an attempt is under way.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError>;

    /// Ends an attempt: with the result of the work, which each later [`Store::claim`] returns; or without, if it is certain that it had no
    /// effect, so that the next attempt may begin at once. An attempt that another has followed can no longer be ended without a result.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    async fn finish_claim(&self, name: &str, attempt: u32, result: Option<&str>) -> Result<(), StoreError>;

    /// Adds entries to the end of a stream, in one step, and returns the sequence number of the last. The oldest entries that `retention` does not
    /// include are removed.
    ///
    /// # Errors
    /// If the store does not answer, or is full: then none was added, unless the error is [`StoreError::Unknown`].
    async fn append(&self, stream: &str, entries: &[Vec<u8>], retention: Retention) -> Result<u64, StoreError>;

    /// As [`Store::append`], if `last` is the number of the newest entry that there ever was; nothing is added otherwise, and the answer is none.
    ///
    /// # Errors
    /// As [`Store::append`].
    async fn append_after(&self, stream: &str, last: u64, entries: &[Vec<u8>], retention: Retention) -> Result<Option<u64>, StoreError>;

    /// The entries of a stream after a sequence number, oldest first, [`MAX_PAGE`] at most.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn read(&self, stream: &str, after: u64, limit: usize) -> Result<Page, StoreError>;

    /// Tells when something may have been appended to a stream, by whichever replica.
    fn watch(&self, stream: &str) -> StreamWatch;

    /// Takes a lease, or renews it: whether `holder` has it from now on for so long. Only one holder has it at a time.
    ///
    /// # Errors
    /// If the store does not answer, or is full. Nothing was taken then that does not end by itself.
    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError>;

    /// Gives a lease back, where `holder` has it.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn release(&self, name: &str, holder: &str) -> Result<(), StoreError>;

    /// Has a token for each [`Leased`] of this process, and the tasks that give leases back.
    fn leases(&self) -> &TaskTracker;

    /// Writes a record, in the place of the one with the same kind and id.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    async fn put(&self, record: &Record) -> Result<(), StoreError>;

    /// One record.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn get(&self, kind: &'static str, id: &str) -> Result<Option<Record>, StoreError>;

    /// The records of one kind and owner, by their ids, [`MAX_PAGE`] at most.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn list(&self, kind: &'static str, owner: &str) -> Result<Vec<Record>, StoreError>;

    /// Removes a record: whether it was there.
    ///
    /// # Errors
    /// If the store does not answer.
    async fn remove(&self, kind: &'static str, id: &str) -> Result<bool, StoreError>;

    /// Takes records of a kind whose time has come, the longest due first. Each is due again after `busy`, unless it is written or removed
    /// before: so work whose process died is done by another.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    async fn due(&self, kind: &'static str, limit: usize, busy: Duration) -> Result<Vec<Record>, StoreError>;

    /// Looks at the store without a change: nothing is created, and its tables stay as they are.
    ///
    /// # Errors
    /// The reason why it could not be used.
    async fn inspect(&self) -> Result<Inspection, StoreError>;

    /// Its status, for operators.
    fn status(&self) -> &Status;

    /// Its upkeep, until the token is cancelled: it removes expired records, and reports the entries that other replicas append.
    async fn run(&self, stop: CancellationToken);
}

/// Work that is to be done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name, which no other work has.
    pub name: String,
    /// A digest of the work: the same name with another digest is refused.
    pub digest: String,
    /// The process that does the work, for others that claim it meanwhile.
    pub holder: String,
    /// The attempt that ended without a result and was found to have no effect; 0 for none.
    pub after: u32,
    /// The time for which the attempt counts as under way.
    pub hold: Duration,
    /// The time for which the claim is kept.
    pub ttl: Duration,
}

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The attempt of this number has begun: the caller is to do the work, and to end it with [`Store::finish_claim`].
    Begun(u32),
    /// The work was done, with this result.
    Done(String),
    /// The name was used for other work.
    OtherWork,
    /// An attempt is under way.
    UnderWay {
        /// The process that does the work.
        holder: String,
        /// The time for which it still counts as under way.
        remaining: Duration,
    },
    /// The last attempt ended without a result: its effect has to be looked for.
    Ended {
        /// Its number.
        attempt: u32,
        /// When it began.
        began: Timestamp,
    },
}

/// The retention of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The maximum number of entries.
    pub count: u64,
    /// The greatest age.
    pub age: Duration,
}

/// What was found of a store that was only looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// Its tables are those of this release.
    Ready,
    /// Its tables are those of an earlier release. The first operation brings them up to date.
    Outdated,
    /// It does not exist. The first operation creates this, which this account may do.
    Absent(String),
}

/// A part of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The number of the oldest entry that is kept; that of the next entry if there is none. Earlier entries are removed.
    pub first: u64,
    /// The number of the newest entry that there ever was, 0 for none.
    pub last: u64,
}

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number: the first is 1, and each is one more than the last.
    pub sequence: u64,
    /// When it was added.
    pub at: Timestamp,
    /// Its content.
    pub value: Vec<u8>,
}

/// A record with a time to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The kind of record.
    pub kind: &'static str,
    /// Its name among those of its kind.
    pub id: String,
    /// Its owner.
    pub owner: String,
    /// Its content.
    pub value: Vec<u8>,
    /// The time until its work is due; none if it has no work. None in a record that was read.
    pub due_in: Option<Duration>,
    /// The time after which it is removed. In a record that was read: the remaining time.
    pub ttl: Duration,
}

/// Microseconds, as both databases hold times and spans of time.
fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

fn span(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

/// A number that only ever grew by one.
fn sequence(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number of rows to select.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_PAGE)).unwrap_or(0)
}
