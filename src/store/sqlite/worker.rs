//! A thread with a connection to the file. SQLite has one writer at a time; a separate thread keeps the order, and does not block the runtime.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::store::{SqliteConfig, StoreError};

/// The steps from one version of the tables to the next, the first from an empty file. Never changed, only added to.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("0001.sql")];
/// The maximum number of operations that wait for the thread.
const MAX_QUEUED: usize = 1024;
/// The time limit for an operation, including its wait.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// The time to wait for a lock of another process on the file.
const BUSY: Duration = Duration::from_secs(5);
/// The size of a page of the file, in bytes.
const PAGE_SIZE: i64 = 4096;
/// The size to which the write-ahead log is cut when it has been written back, in bytes.
const LOG_SIZE: i64 = 16 * 1024 * 1024;

/// An operation: it receives the connection, or the reason why there is none.
type Job = Box<dyn FnOnce(Result<&mut Connection, StoreError>) + Send>;

/// The thread. It begins with the first operation, and ends when this is dropped.
pub(super) struct Worker {
    config: SqliteConfig,
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

impl Worker {
    pub(super) fn new(config: SqliteConfig) -> Self {
        Self { config, jobs: Mutex::new(None) }
    }

    /// Runs an operation in a separate transaction. An operation whose caller has gone before it began is not run.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            if !answer.is_closed() {
                let _caller_may_be_gone = answer.send(connection.and_then(|connection| transact(connection, operation)));
            }
        });
        let jobs = self.jobs().map_err(|error| StoreError::Unavailable(error.into()))?;
        match timeout(OPERATION_TIMEOUT, jobs.send(job)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(unavailable("its thread has ended")),
            Err(_) => return Err(unavailable("too many operations wait for it")),
        }
        match timeout(OPERATION_TIMEOUT, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StoreError::Unknown("its thread has ended".into())),
            Err(_) => Err(StoreError::Unknown(format!("no answer within {} s", OPERATION_TIMEOUT.as_secs()).into())),
        }
    }

    fn jobs(&self) -> io::Result<mpsc::Sender<Job>> {
        let mut jobs = self.jobs.lock();
        if let Some(jobs) = jobs.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Ok(jobs.clone());
        }
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let config = self.config.clone();
        std::thread::Builder::new().name("store".to_owned()).spawn(move || work(&config, receiver))?;
        Ok(jobs.insert(sender).clone())
    }
}

fn unavailable(reason: &'static str) -> StoreError {
    StoreError::Unavailable(reason.into())
}

fn work(config: &SqliteConfig, mut jobs: mpsc::Receiver<Job>) {
    let mut open = None;
    while let Some(job) = jobs.blocking_recv() {
        if open.is_none() {
            match self::open(config) {
                Ok(connection) => open = Some(connection),
                Err(error) => {
                    job(Err(error));
                    continue;
                }
            }
        }
        if let Some(connection) = open.as_mut() {
            job(Ok(connection));
        }
    }
}

fn transact<T>(
    connection: &mut Connection,
    operation: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, StoreError> {
    let run = || {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = operation(&transaction)?;
        transaction.commit()?;
        Ok(value)
    };
    run().map_err(classify)
}

pub(super) fn classify(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(error.into()),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::ApiMisuse) | None => StoreError::Refused(error.into()),
        Some(_) => StoreError::Unavailable(error.into()),
    }
}

/// The file of the store.
pub(super) fn file(config: &SqliteConfig) -> PathBuf {
    config.state_dir.join("store.sqlite")
}

/// The error for a path that cannot be used.
pub(super) fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(io::Error::new(error.kind(), format!("{}: {error}", path.display())).into())
}

/// Opens the file, which no other user may read, and brings its tables up to date.
fn open(config: &SqliteConfig) -> Result<Connection, StoreError> {
    let path = file(config);
    make_private(&config.state_dir, &path).map_err(|error| failed(&path, &error))?;
    let mut connection = connect(&path, config.max_size).map_err(classify)?;
    migrate(&mut connection)?;
    Ok(connection)
}

fn make_private(directory: &Path, path: &PathBuf) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

fn connect(path: &Path, max_mebibytes: u32) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_SIZE)?;
    connection.pragma_update(None, "max_page_count", i64::from(max_mebibytes) * 1024 * 1024 / PAGE_SIZE)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(classify)?;
    let Some(missing) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else {
        return Err(StoreError::Newer { found, known });
    };
    if missing.is_empty() {
        return Ok(());
    }
    transact(connection, |transaction| {
        // Another process may have done it meanwhile.
        let now: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if now == found {
            missing.iter().try_for_each(|step| transaction.execute_batch(step))?;
            transaction.pragma_update(None, "user_version", known)?;
        }
        Ok(())
    })
}
