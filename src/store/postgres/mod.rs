//! The store as a PostgreSQL database, which several replicas share.
//!
//! Times are those of the server. Entries that a replica appends are announced to the others by `NOTIFY`; due work is taken with `SKIP LOCKED`.
//! The role needs the right to create a schema once, or must own a schema `goldcrest`.

mod database;
mod tls;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Row};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::upkeep::sweep_again_and_again;
use super::watchers::StreamWatchers;
use super::{
    Claim, Claimed, Entry, Inspection, MAX_PAGE, Page, PostgresConfig, Record, Retention, SetupError, Status, Store, StoreError,
    StreamWatch, micros, rows, sequence, span, stored, timestamp,
};
use crate::error::{ErrorChain, Recurring};
use database::{Database, classify};

/// The pause before a broken connection for notifications is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The number of attempts for a claim whose record disappears meanwhile.
const MAX_ROUNDS: usize = 3;

/// A statement's error.
type Failed = tokio_postgres::Error;

/// The store in a database.
pub struct Postgres {
    database: Database,
    watchers: StreamWatchers,
    status: Arc<Status>,
    leases: TaskTracker,
}

impl Postgres {
    /// A store in this database, to which it connects at the first operation.
    ///
    /// # Errors
    /// If the address or the authorities cannot be used.
    pub fn new(config: &PostgresConfig) -> Result<Self, SetupError> {
        let (watchers, status, leases) = (StreamWatchers::default(), Arc::default(), TaskTracker::new());
        Ok(Self { database: Database::new(config)?, watchers, status, leases })
    }

    /// The hosts and the name of a database, without the user and the password.
    pub fn place(config: &PostgresConfig) -> String {
        database::place(config)
    }

    /// Runs an operation on a connection, within its time.
    async fn perform<T>(&self, changes: bool, operation: impl AsyncFnOnce(&mut Object) -> Result<T, Failed>) -> Result<T, StoreError> {
        let limit = self.database.timeout;
        let late = || format!("no answer within {} s", limit.as_secs()).into();
        let outcome = async {
            let mut connection = self.database.connection().await?;
            match timeout(limit, operation(&mut connection)).await {
                Ok(outcome) => outcome.map_err(|error| classify(error, changes)),
                Err(_) => {
                    // The work under way on it has no receiver any more.
                    drop(Object::take(connection));
                    Err(if changes { StoreError::Unknown(late()) } else { StoreError::Unavailable(late()) })
                }
            }
        };
        self.status.count(outcome.await)
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        self.perform(true, async |connection| {
            let statements = "DELETE FROM goldcrest.claims WHERE expires <= goldcrest.now();
                DELETE FROM goldcrest.entries WHERE expires <= goldcrest.now();
                DELETE FROM goldcrest.leases WHERE held_until <= goldcrest.now();
                DELETE FROM goldcrest.records WHERE expires <= goldcrest.now();";
            connection.batch_execute(statements).await
        })
        .await
    }

    /// Passes on what any replica appends, until the connection breaks.
    async fn listen(&self, failure: &Recurring) -> Result<(), StoreError> {
        let (client, mut connection) = self.database.listen().await?;
        let messages = async {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message? {
                    self.watchers.wake(notification.payload());
                }
            }
            Ok(())
        };
        let listening = async {
            client.batch_execute("LISTEN goldcrest_appended").await?;
            if failure.ends() {
                tracing::info!("entries of other replicas are reported again");
            }
            // Earlier entries are not reported.
            self.watchers.wake_all();
            std::future::pending::<Result<(), _>>().await
        };
        futures::future::try_join(messages, listening).await.map(drop).map_err(|error| classify(error, false))
    }
}

#[async_trait]
impl Store for Postgres {
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        for _ in 0..MAX_ROUNDS {
            let claimed = self.perform(true, async |connection| self::claim(connection.transaction().await?, claim).await).await?;
            if let Some(claimed) = claimed {
                return Ok(claimed);
            }
        }
        Err(StoreError::Unavailable("the claim is taken and released by others at the same time".into()))
    }

    async fn finish_claim(&self, name: &str, attempt: u32, result: Option<&str>) -> Result<(), StoreError> {
        self.perform(true, async |connection| {
            match result {
                Some(result) => {
                    let statement = "UPDATE goldcrest.claims SET result = $1 WHERE name = $2 AND result IS NULL";
                    connection.execute(&connection.prepare_cached(statement).await?, &[&result, &name]).await?
                }
                None => {
                    let statement = "DELETE FROM goldcrest.claims WHERE name = $1 AND attempt = $2 AND result IS NULL";
                    connection.execute(&connection.prepare_cached(statement).await?, &[&name, &number(attempt)]).await?
                }
            };
            Ok(())
        })
        .await
    }

    async fn append(&self, stream: &str, entries: &[Vec<u8>], retention: Retention) -> Result<u64, StoreError> {
        let append = async |connection: &mut Object| append(connection.transaction().await?, stream, None, entries, retention).await;
        let last = self.perform(true, append).await?;
        self.watchers.wake(stream);
        Ok(last.unwrap_or_default())
    }

    async fn append_after(&self, stream: &str, last: u64, entries: &[Vec<u8>], retention: Retention) -> Result<Option<u64>, StoreError> {
        let append = async |connection: &mut Object| append(connection.transaction().await?, stream, Some(last), entries, retention).await;
        let last = self.perform(true, append).await?;
        self.watchers.wake(stream);
        Ok(last)
    }

    async fn read(&self, stream: &str, after: u64, limit: usize) -> Result<Page, StoreError> {
        self.perform(false, async |connection| {
            let statement = "SELECT last, (SELECT min(sequence) FROM goldcrest.entries WHERE stream = $1 AND expires > goldcrest.now())
                FROM goldcrest.streams WHERE name = $1";
            let bounds = connection.query_opt(&connection.prepare_cached(statement).await?, &[&stream]).await?;
            let statement = "SELECT sequence, at, value FROM goldcrest.entries
                WHERE stream = $1 AND sequence > $2 AND expires > goldcrest.now() ORDER BY sequence LIMIT $3";
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&stream, &stored(after), &rows(limit)];
            let found = connection.query(&connection.prepare_cached(statement).await?, &values).await?;
            let entry =
                |row: &Row| Ok(Entry { sequence: sequence(row.try_get(0)?), at: timestamp(row.try_get(1)?), value: row.try_get(2)? });
            let entries = found.iter().map(entry).collect::<Result<Vec<_>, Failed>>()?;
            let Some(bounds) = bounds else { return Ok(Page { entries, first: 1, last: 0 }) };
            // An entry may have been added between the two statements.
            let last = sequence(bounds.try_get(0)?).max(entries.last().map_or(0, |entry| entry.sequence));
            let first =
                bounds.try_get::<_, Option<i64>>(1)?.map_or_else(|| entries.first().map_or(last + 1, |entry| entry.sequence), sequence);
            Ok(Page { entries, first, last })
        })
        .await
    }

    fn watch(&self, stream: &str) -> StreamWatch {
        self.watchers.watch(stream)
    }

    async fn lease(&self, name: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        self.perform(true, async |connection| {
            let statement = "INSERT INTO goldcrest.leases AS held VALUES ($1, $2, goldcrest.now() + $3)
                ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
                WHERE held.holder = excluded.holder OR held.held_until <= goldcrest.now()";
            Ok(connection.execute(&connection.prepare_cached(statement).await?, &[&name, &holder, &micros(time)]).await? > 0)
        })
        .await
    }

    async fn release(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.perform(true, async |connection| {
            let statement = "DELETE FROM goldcrest.leases WHERE name = $1 AND holder = $2";
            connection.execute(&connection.prepare_cached(statement).await?, &[&name, &holder]).await.map(drop)
        })
        .await
    }

    fn leases(&self) -> &TaskTracker {
        &self.leases
    }

    async fn put(&self, record: &Record) -> Result<(), StoreError> {
        self.perform(true, async |connection| {
            let statement = "INSERT INTO goldcrest.records VALUES ($1, $2, $3, $4, goldcrest.now() + $5, goldcrest.now() + $6)
                ON CONFLICT (kind, id) DO UPDATE SET owner = excluded.owner, value = excluded.value, due = excluded.due, expires = excluded.expires";
            let due = record.due_in.map(micros);
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                [&record.kind, &record.id, &record.owner, &record.value, &due, &micros(record.ttl)];
            connection.execute(&connection.prepare_cached(statement).await?, &values).await.map(drop)
        })
        .await
    }

    async fn get(&self, kind: &'static str, id: &str) -> Result<Option<Record>, StoreError> {
        self.perform(false, async |connection| {
            let statement = "SELECT id, owner, value, expires - goldcrest.now() FROM goldcrest.records
                WHERE kind = $1 AND id = $2 AND expires > goldcrest.now()";
            let found = connection.query_opt(&connection.prepare_cached(statement).await?, &[&kind, &id]).await?;
            found.map(|row| record(kind, &row)).transpose()
        })
        .await
    }

    async fn list(&self, kind: &'static str, owner: &str) -> Result<Vec<Record>, StoreError> {
        self.perform(false, async |connection| {
            let statement = "SELECT id, owner, value, expires - goldcrest.now() FROM goldcrest.records
                WHERE kind = $1 AND owner = $2 AND expires > goldcrest.now() ORDER BY id LIMIT $3";
            let found = connection.query(&connection.prepare_cached(statement).await?, &[&kind, &owner, &rows(MAX_PAGE)]).await?;
            found.iter().map(|row| record(kind, row)).collect()
        })
        .await
    }

    async fn remove(&self, kind: &'static str, id: &str) -> Result<bool, StoreError> {
        self.perform(true, async |connection| {
            let statement = "DELETE FROM goldcrest.records WHERE kind = $1 AND id = $2 AND expires > goldcrest.now()";
            Ok(connection.execute(&connection.prepare_cached(statement).await?, &[&kind, &id]).await? > 0)
        })
        .await
    }

    async fn due(&self, kind: &'static str, limit: usize, busy: Duration) -> Result<Vec<Record>, StoreError> {
        self.perform(true, async |connection| {
            let statement = "UPDATE goldcrest.records AS taken SET due = goldcrest.now() + $1 FROM
                (SELECT kind, id FROM goldcrest.records WHERE kind = $2 AND due <= goldcrest.now() AND expires > goldcrest.now()
                    ORDER BY due LIMIT $3 FOR UPDATE SKIP LOCKED) AS ripe
                WHERE taken.kind = ripe.kind AND taken.id = ripe.id RETURNING taken.id, owner, value, expires - goldcrest.now()";
            let found = connection.query(&connection.prepare_cached(statement).await?, &[&micros(busy), &kind, &rows(limit)]).await?;
            found.iter().map(|row| record(kind, row)).collect()
        })
        .await
    }

    async fn inspect(&self) -> Result<Inspection, StoreError> {
        self.database.inspect().await
    }

    fn status(&self) -> &Status {
        &self.status
    }

    async fn run(&self, stop: CancellationToken) {
        let listening = async {
            let failure = Recurring::default();
            loop {
                if let Err(error) = self.listen(&failure).await
                    && failure.begins(&ErrorChain(&error))
                {
                    tracing::warn!(error = %ErrorChain(&error), "entries of other replicas are not reported until the store answers again");
                }
                tokio::time::sleep(LISTEN_AGAIN).await;
                self.watchers.wake_all();
            }
        };
        stop.run_until_cancelled(futures::future::join(sweep_again_and_again(|| self.sweep()), listening)).await;
    }
}

/// The outcome of a claim; none if its record disappeared meanwhile.
async fn claim(transaction: Transaction<'_>, claim: &Claim) -> Result<Option<Claimed>, Failed> {
    let Claim { name, digest, holder, .. } = claim;
    let (hold, ttl) = (micros(claim.hold), micros(claim.ttl));
    let statement = "INSERT INTO goldcrest.claims
        VALUES ($1, $2, $3, 1, goldcrest.now(), goldcrest.now() + $4, NULL, goldcrest.now() + $5) ON CONFLICT (name) DO NOTHING";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [name, digest, holder, &hold, &ttl];
    if transaction.execute(&transaction.prepare_cached(statement).await?, &values).await? > 0 {
        transaction.commit().await?;
        return Ok(Some(Claimed::Begun(1)));
    }
    let statement = "SELECT digest, holder, attempt, began, held_until - goldcrest.now(), result, expires <= goldcrest.now()
        FROM goldcrest.claims WHERE name = $1 FOR UPDATE";
    let Some(row) = transaction.query_opt(&transaction.prepare_cached(statement).await?, &[name]).await? else { return Ok(None) };
    let (attempt, remaining): (i32, i64) = (row.try_get(2)?, row.try_get(4)?);
    let has_expired: bool = row.try_get(6)?;
    let next = if has_expired {
        1
    } else if row.try_get::<_, &str>(0)? != digest {
        return Ok(Some(Claimed::OtherWork));
    } else if let Some(result) = row.try_get(5)? {
        return Ok(Some(Claimed::Done(result)));
    } else if remaining > 0 {
        return Ok(Some(Claimed::UnderWay { holder: row.try_get(1)?, remaining: span(remaining) }));
    } else if attempt != number(claim.after) {
        let attempt = u32::try_from(attempt).unwrap_or(0);
        return Ok(Some(Claimed::Ended { attempt, began: timestamp(row.try_get(3)?) }));
    } else {
        attempt + 1
    };
    let statement = "UPDATE goldcrest.claims SET digest = $2, holder = $3, attempt = $4, began = goldcrest.now(),
        held_until = goldcrest.now() + $5, result = NULL, expires = goldcrest.now() + $6 WHERE name = $1";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [name, digest, holder, &next, &hold, &ttl];
    transaction.execute(&transaction.prepare_cached(statement).await?, &values).await?;
    transaction.commit().await?;
    Ok(Some(Claimed::Begun(u32::try_from(next).unwrap_or(0))))
}

/// Adds entries, if `after` is the number of the newest entry or absent. The row of the stream is locked until the end, so that numbers are
/// seen in their order.
async fn append(
    transaction: Transaction<'_>,
    stream: &str,
    after: Option<u64>,
    entries: &[Vec<u8>],
    retention: Retention,
) -> Result<Option<u64>, Failed> {
    let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let statement = "INSERT INTO goldcrest.streams AS known VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET last = known.last + excluded.last RETURNING last";
    let row = transaction.query_one(&transaction.prepare_cached(statement).await?, &[&stream, &count]).await?;
    let last: i64 = row.try_get(0)?;
    if after.is_some_and(|after| stored(after) != last - count) {
        // Without a commit nothing has happened.
        return Ok(None);
    }
    let statement = "INSERT INTO goldcrest.entries SELECT $1, $2 + place, goldcrest.now(), goldcrest.now() + $3, value
        FROM unnest($4::bytea[]) WITH ORDINALITY AS added (value, place)";
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&stream, &(last - count), &micros(retention.age), &entries];
    transaction.execute(&transaction.prepare_cached(statement).await?, &values).await?;
    let statement = "DELETE FROM goldcrest.entries WHERE stream = $1 AND sequence <= $2";
    transaction.execute(&transaction.prepare_cached(statement).await?, &[&stream, &(last - stored(retention.count))]).await?;
    transaction.execute(&transaction.prepare_cached("SELECT pg_notify('goldcrest_appended', $1)").await?, &[&stream]).await?;
    transaction.commit().await?;
    Ok(Some(sequence(last)))
}

fn record(kind: &'static str, row: &Row) -> Result<Record, Failed> {
    Ok(Record { kind, id: row.try_get(0)?, owner: row.try_get(1)?, value: row.try_get(2)?, due_in: None, ttl: span(row.try_get(3)?) })
}

/// A number of attempts, as the database holds it.
fn number(attempt: u32) -> i32 {
    i32::try_from(attempt).unwrap_or(i32::MAX)
}
