//! The store as a file of this process: SQLite with a write-ahead log, synchronised at each commit.
//!
//! All statements run on one thread (`worker`), each operation in a separate transaction.

mod inspection;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::upkeep::sweep_again_and_again;
use super::watchers::StreamWatchers;
use super::{
    Claim, Claimed, Entry, Inspection, MAX_PAGE, Page, Record, Retention, SqliteConfig, Status, Store, StoreError, StreamWatch, micros,
    rows, sequence, span, stored, timestamp,
};
use worker::Worker;

/// The store in a file.
pub struct Sqlite {
    config: SqliteConfig,
    worker: Worker,
    watchers: StreamWatchers,
    status: Arc<Status>,
    leases: TaskTracker,
}

impl Sqlite {
    /// A store in this file, which is opened at the first operation.
    pub fn new(config: SqliteConfig) -> Self {
        let (watchers, status, leases) = (StreamWatchers::default(), Arc::default(), TaskTracker::new());
        Self { worker: Worker::new(config.clone()), config, watchers, status, leases }
    }

    async fn perform<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let outcome = self.worker.run(|transaction| operation(transaction, Timestamp::now().as_microsecond())).await;
        self.status.count(outcome)
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.perform(|transaction, now| {
            for statement in [
                "DELETE FROM claims WHERE expires <= ?",
                "DELETE FROM entries WHERE expires <= ?",
                "DELETE FROM leases WHERE held_until <= ?",
                "DELETE FROM records WHERE expires <= ?",
            ] {
                transaction.execute(statement, [now])?;
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        let claim = claim.clone();
        self.perform(move |transaction, now| self::claim(transaction, now, &claim)).await
    }

    async fn finish_claim(&self, name: &str, attempt: u32, result: Option<&str>) -> Result<(), StoreError> {
        let (name, result) = (name.to_owned(), result.map(str::to_owned));
        self.perform(move |transaction, _| {
            match result {
                Some(result) => {
                    transaction.execute("UPDATE claims SET result = ? WHERE name = ? AND result IS NULL", params![result, name])?
                }
                None => {
                    transaction.execute("DELETE FROM claims WHERE name = ? AND attempt = ? AND result IS NULL", params![name, attempt])?
                }
            };
            Ok(())
        })
        .await
    }

    async fn append(&self, stream: &str, entries: &[Vec<u8>], retention: Retention) -> Result<u64, StoreError> {
        let (name, entries) = (stream.to_owned(), entries.to_vec());
        let last = self.perform(move |transaction, now| append(transaction, now, &name, &entries, retention)).await?;
        self.watchers.wake(stream);
        Ok(last)
    }

    async fn append_after(&self, stream: &str, last: u64, entries: &[Vec<u8>], retention: Retention) -> Result<Option<u64>, StoreError> {
        let (name, entries) = (stream.to_owned(), entries.to_vec());
        let appended = self.perform(move |transaction, now| {
            if last_of(transaction, &name)? == last { append(transaction, now, &name, &entries, retention).map(Some) } else { Ok(None) }
        });
        let appended = appended.await?;
        self.watchers.wake(stream);
        Ok(appended)
    }

    async fn read(&self, stream: &str, after: u64, limit: usize) -> Result<Page, StoreError> {
        let stream = stream.to_owned();
        self.perform(move |transaction, now| read(transaction, now, &stream, after, limit)).await
    }

    fn watch(&self, stream: &str) -> StreamWatch {
        self.watchers.watch(stream)
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.perform(move |transaction, now| {
            let statement = "INSERT INTO leases VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET holder = ?2, held_until = ?3
                WHERE holder = ?2 OR held_until <= ?4";
            Ok(transaction.execute(statement, params![name, holder, now + micros(time), now])? > 0)
        })
        .await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.perform(move |transaction, _| {
            transaction.execute("DELETE FROM leases WHERE name = ? AND holder = ?", params![name, holder])?;
            Ok(())
        })
        .await
    }

    fn leases(&self) -> &TaskTracker {
        &self.leases
    }

    async fn put(&self, record: &Record) -> Result<(), StoreError> {
        let record = record.clone();
        self.perform(move |transaction, now| {
            let due = record.due_in.map(|due| now + micros(due));
            let values = params![record.kind, record.id, record.owner, record.value, due, now + micros(record.ttl)];
            transaction.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", values)?;
            Ok(())
        })
        .await
    }

    async fn get(&self, kind: &'static str, id: &str) -> Result<Option<Record>, StoreError> {
        let id = id.to_owned();
        self.perform(move |transaction, now| {
            let statement = "SELECT id, owner, value, expires FROM records WHERE kind = ? AND id = ? AND expires > ?";
            transaction.query_row(statement, params![kind, id, now], |row| record(kind, now, row)).optional()
        })
        .await
    }

    async fn list(&self, kind: &'static str, owner: &str) -> Result<Vec<Record>, StoreError> {
        let owner = owner.to_owned();
        self.perform(move |transaction, now| {
            let statement =
                "SELECT id, owner, value, expires FROM records WHERE kind = ? AND owner = ? AND expires > ? ORDER BY id LIMIT ?";
            let mut statement = transaction.prepare(statement)?;
            statement.query_map(params![kind, owner, now, rows(MAX_PAGE)], |row| record(kind, now, row))?.collect()
        })
        .await
    }

    async fn remove(&self, kind: &'static str, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.perform(move |transaction, now| {
            Ok(transaction.execute("DELETE FROM records WHERE kind = ? AND id = ? AND expires > ?", params![kind, id, now])? > 0)
        })
        .await
    }

    async fn due(&self, kind: &'static str, limit: usize, busy: Duration) -> Result<Vec<Record>, StoreError> {
        self.perform(move |transaction, now| {
            let statement = "UPDATE records SET due = ?1 WHERE kind = ?2 AND id IN
                (SELECT id FROM records WHERE kind = ?2 AND due <= ?3 AND expires > ?3 ORDER BY due LIMIT ?4)
                RETURNING id, owner, value, expires";
            let mut statement = transaction.prepare(statement)?;
            let values = params![now + micros(busy), kind, now, rows(limit)];
            statement.query_map(values, |row| record(kind, now, row))?.collect()
        })
        .await
    }

    async fn inspect(&self) -> Result<Inspection, StoreError> {
        let config = self.config.clone();
        match tokio::task::spawn_blocking(move || inspection::inspect(&config)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StoreError::Unavailable(error.into())),
        }
    }

    fn status(&self) -> &Status {
        &self.status
    }

    async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(sweep_again_and_again(|| self.sweep())).await;
    }
}

fn claim(transaction: &Transaction<'_>, now: i64, claim: &Claim) -> rusqlite::Result<Claimed> {
    let statement = "SELECT digest, holder, attempt, began, held_until, result FROM claims WHERE name = ? AND expires > ?";
    let found = transaction.query_row(statement, params![claim.name, now], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get(1)?,
            row.get::<_, u32>(2)?,
            row.get(3)?,
            row.get::<_, i64>(4)?,
            row.get::<_, Option<String>>(5)?,
        ))
    });
    let attempt = match found.optional()? {
        None => 1,
        Some((digest, ..)) if digest != claim.digest => return Ok(Claimed::OtherWork),
        Some((.., Some(result))) => return Ok(Claimed::Done(result)),
        Some((_, holder, _, _, until, None)) if until > now => return Ok(Claimed::UnderWay { holder, remaining: span(until - now) }),
        Some((_, _, attempt, began, _, None)) if attempt != claim.after => return Ok(Claimed::Ended { attempt, began: timestamp(began) }),
        Some((_, _, attempt, ..)) => attempt + 1,
    };
    let values = params![claim.name, claim.digest, claim.holder, attempt, now, now + micros(claim.hold), now + micros(claim.ttl)];
    transaction.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?, ?, ?, NULL, ?)", values)?;
    Ok(Claimed::Begun(attempt))
}

fn append(transaction: &Transaction<'_>, now: i64, stream: &str, entries: &[Vec<u8>], retention: Retention) -> rusqlite::Result<u64> {
    let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let statement = "INSERT INTO streams VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET last = last + ?2 RETURNING last";
    let last: i64 = transaction.query_row(statement, params![stream, count], |row| row.get(0))?;
    let mut insert = transaction.prepare("INSERT INTO entries VALUES (?, ?, ?, ?, ?)")?;
    for (sequence, value) in (last - count + 1..).zip(entries) {
        insert.execute(params![stream, sequence, now, now + micros(retention.age), value])?;
    }
    let oldest = last - stored(retention.count);
    transaction.execute("DELETE FROM entries WHERE stream = ? AND sequence <= ?", params![stream, oldest])?;
    Ok(sequence(last))
}

/// The number of the newest entry that there ever was.
fn last_of(transaction: &Transaction<'_>, stream: &str) -> rusqlite::Result<u64> {
    let last: Option<i64> = transaction.query_row("SELECT last FROM streams WHERE name = ?", [stream], |row| row.get(0)).optional()?;
    Ok(last.map_or(0, sequence))
}

fn read(transaction: &Transaction<'_>, now: i64, stream: &str, after: u64, limit: usize) -> rusqlite::Result<Page> {
    let last = last_of(transaction, stream)?;
    let statement = "SELECT min(sequence) FROM entries WHERE stream = ? AND expires > ?";
    let first: Option<i64> = transaction.query_row(statement, params![stream, now], |row| row.get(0))?;
    let statement = "SELECT sequence, at, value FROM entries WHERE stream = ? AND sequence > ? AND expires > ? ORDER BY sequence LIMIT ?";
    let mut statement = transaction.prepare(statement)?;
    let entries = statement.query_map(params![stream, stored(after), now, rows(limit)], |row| {
        Ok(Entry { sequence: sequence(row.get(0)?), at: timestamp(row.get(1)?), value: row.get(2)? })
    })?;
    Ok(Page { entries: entries.collect::<rusqlite::Result<_>>()?, first: first.map_or(last + 1, sequence), last })
}

fn record(kind: &'static str, now: i64, row: &Row<'_>) -> rusqlite::Result<Record> {
    let expires: i64 = row.get(3)?;
    Ok(Record { kind, id: row.get(0)?, owner: row.get(1)?, value: row.get(2)?, due_in: None, ttl: span(expires - now) })
}
