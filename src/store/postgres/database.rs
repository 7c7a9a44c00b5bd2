//! Connections to the database, its tables, and what its errors mean.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;

use super::tls::Rustls;
use crate::store::{Inspection, PostgresConfig, SetupError, StoreError};

/// The steps from one version of the tables to the next, the first from an empty database. Never changed, only added to.
const MIGRATIONS: &[&str] = &[include_str!("0001.sql")];
/// The advisory lock under which one replica at a time makes tables: `gold` in ASCII.
const MIGRATION_LOCK: i64 = 0x676f_6c64;

/// Whether there is the schema, whether the role may create what is missing, and whether there are tables.
const LOOK: &str = "SELECT known, CASE WHEN known THEN has_schema_privilege('goldcrest', 'CREATE')
    ELSE has_database_privilege(current_database(), 'CREATE') END, to_regclass('goldcrest.migrations') IS NOT NULL
    FROM (SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'goldcrest') AS known) AS schema";

/// The database.
pub(super) struct Database {
    pool: Pool,
    config: tokio_postgres::Config,
    tls: Rustls,
    pub(super) timeout: Duration,
    migrated: OnceCell<()>,
}

impl Database {
    pub(super) fn new(config: &PostgresConfig) -> Result<Self, SetupError> {
        let tls = Rustls::new(config.ca_file.as_deref()).map_err(|source| match &config.ca_file {
            Some(path) => SetupError::CaFile(path.clone(), source),
            None => SetupError::Connections(source),
        })?;
        let timeout = Duration::from_secs(config.timeout);
        let settings = address(config)?;
        let manager = Manager::from_config(settings.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let builder = Pool::builder(manager).max_size(usize::from(config.max_connections)).runtime(Runtime::Tokio1);
        let builder = builder.wait_timeout(Some(timeout)).create_timeout(Some(timeout)).recycle_timeout(Some(timeout));
        let pool = builder.build().map_err(|error| SetupError::Connections(error.into()))?;
        Ok(Self { pool, config: settings, tls, timeout, migrated: OnceCell::new() })
    }

    /// A connection to a database whose tables are up to date.
    pub(super) async fn connection(&self) -> Result<Object, StoreError> {
        let mut connection = self.pooled().await?;
        self.migrated.get_or_try_init(|| migrate(&mut connection)).await?;
        Ok(connection)
    }

    async fn pooled(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => classify(error, false),
            error => StoreError::Unavailable(error.into()),
        })
    }

    /// Looks at the schema and its tables, in a transaction that can change nothing.
    pub(super) async fn inspect(&self) -> Result<Inspection, StoreError> {
        let mut connection = self.pooled().await?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        let looking = async {
            let transaction = connection.build_transaction().read_only(true).start().await?;
            let row = transaction.query_one(LOOK, &[]).await?;
            let (has_schema, may_create, has_tables): (bool, bool, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let version: Option<i64> = match has_tables {
                true => transaction.query_one("SELECT coalesce(max(version), 0) FROM goldcrest.migrations", &[]).await?.try_get(0)?,
                false => None,
            };
            if version == Some(known) {
                transaction.batch_execute("SELECT 1 FROM goldcrest.claims LIMIT 1").await?;
            }
            Ok((has_schema, may_create, version))
        };
        let found = match timeout(self.timeout, looking).await {
            Ok(found) => found.map_err(|error| classify(error, false))?,
            Err(_) => return Err(StoreError::Unavailable(format!("no answer within {} s", self.timeout.as_secs()).into())),
        };
        match found {
            (_, _, Some(version)) if version > known => Err(StoreError::Newer { found: version, known }),
            (_, _, Some(version)) if version == known => Ok(Inspection::Ready),
            (true, false, _) => Err(StoreError::Unavailable("its role may not create tables in the schema goldcrest".into())),
            (false, false, _) => Err(StoreError::Unavailable("its role may not create the schema goldcrest".into())),
            (_, true, Some(_)) => Ok(Inspection::Outdated),
            (true, true, None) => Ok(Inspection::Absent("the tables in the schema goldcrest".to_owned())),
            (false, true, None) => Ok(Inspection::Absent("the schema goldcrest, with its tables".to_owned())),
        }
    }

    /// A separate connection, with the notifications of the server.
    pub(super) async fn listen(
        &self,
    ) -> Result<
        (
            tokio_postgres::Client,
            tokio_postgres::Connection<
                tokio_postgres::Socket,
                <Rustls as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
            >,
        ),
        StoreError,
    > {
        self.config.connect(self.tls.clone()).await.map_err(|error| classify(error, false))
    }
}

/// The hosts and the name of the database, without the user and the password.
pub(super) fn place(config: &PostgresConfig) -> String {
    let Ok(settings) = address(config) else { return String::new() };
    let host = |host: &Host| match host {
        Host::Unix(path) => path.display().to_string(),
        Host::Tcp(name) => name.clone(),
    };
    let hosts: Vec<String> = settings.get_hosts().iter().map(host).collect();
    format!("{}/{}", hosts.join(","), settings.get_dbname().unwrap_or_default())
}

fn address(config: &PostgresConfig) -> Result<tokio_postgres::Config, SetupError> {
    let url = config.url.expose();
    let mut settings: tokio_postgres::Config = url.parse().map_err(|_| SetupError::Url)?;
    let is_here = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()),
    };
    if settings.get_hosts().is_empty() {
        return Err(SetupError::Url);
    }
    if !url.contains("sslmode=") && !settings.get_hosts().iter().all(is_here) {
        settings.ssl_mode(SslMode::Require);
    }
    if settings.get_application_name().is_none() {
        settings.application_name("goldcrest");
    }
    settings.connect_timeout(Duration::from_secs(config.timeout));
    Ok(settings)
}

async fn migrate(connection: &mut Object) -> Result<(), StoreError> {
    let steps = async {
        let transaction = connection.transaction().await?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
        // Not only `IF NOT EXISTS`, which requires the right to create a schema even if it exists.
        if transaction.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = 'goldcrest'", &[]).await?.is_none() {
            transaction.batch_execute("CREATE SCHEMA goldcrest").await?;
        }
        transaction.batch_execute("CREATE TABLE IF NOT EXISTS goldcrest.migrations (version bigint PRIMARY KEY)").await?;
        let row = transaction.query_one("SELECT coalesce(max(version), 0) FROM goldcrest.migrations", &[]).await?;
        let found: i64 = row.get(0);
        let Some(missing) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) else { return Ok(Some(found)) };
        for (step, version) in missing.iter().zip(found + 1..) {
            transaction.batch_execute(step).await?;
            transaction.execute("INSERT INTO goldcrest.migrations VALUES ($1)", &[&version]).await?;
        }
        transaction.commit().await?;
        Ok(None)
    };
    match steps.await.map_err(|error| classify(error, false))? {
        None => Ok(()),
        Some(found) => Err(StoreError::Newer { found, known: i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX) }),
    }
}

/// Classifies an error of the database; for a broken connection, it depends on whether the operation changes anything.
pub(super) fn classify(error: tokio_postgres::Error, changes: bool) -> StoreError {
    let Some(state) = error.code().cloned() else {
        return if changes { StoreError::Unknown(error.into()) } else { StoreError::Unavailable(error.into()) };
    };
    match state.code() {
        _ if state == SqlState::DISK_FULL => StoreError::Full(error.into()),
        // The server ends, perhaps while it commits.
        code if code.starts_with("57P") && changes => StoreError::Unknown(error.into()),
        // Connections, resources, intervention by an operator, locks, a server that only reads.
        code if ["08", "53", "57", "40", "25", "28", "3D", "58"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(error.into())
        }
        // It may not create the schema.
        _ if state == SqlState::INSUFFICIENT_PRIVILEGE => StoreError::Unavailable(error.into()),
        _ => StoreError::Refused(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<tokio_postgres::Config, SetupError> {
        let config = PostgresConfig { url: url.to_owned().into(), ca_file: None, max_connections: 1, timeout: 1 };
        address(&config)
    }

    #[test]
    fn tls_is_required_of_other_machines_unless_the_address_says_otherwise() {
        let mode = |url| of(url).unwrap().get_ssl_mode();
        for url in
            ["postgres://a:b@127.0.0.1/c", "postgres://a@localhost/c", "postgres://a@[::1]:5/c", "postgres:///c?host=/run/postgresql"]
        {
            assert_eq!(mode(url), SslMode::Prefer, "{url}");
        }
        assert_eq!(mode("postgres://a:b@db.example.org/c"), SslMode::Require);
        assert_eq!(mode("postgres://a:b@localhost,db.example.org/c"), SslMode::Require);
        assert_eq!(mode("postgres://a:b@db.example.org/c?sslmode=disable"), SslMode::Disable);
    }

    #[test]
    fn the_place_of_a_database_is_shown_without_a_password() {
        for (url, shown) in [
            ("postgres://a:hunter2@db.example.org:5433/c?connect_timeout=3", "db.example.org/c"),
            ("postgres://db.example.org,other/c?user=a&password=hunter2", "db.example.org,other/c"),
            ("postgres:///c?host=/run/postgresql", "/run/postgresql/c"),
        ] {
            assert_eq!(place(&PostgresConfig { url: url.to_owned().into(), ca_file: None, max_connections: 1, timeout: 1 }), shown);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_repeated() {
        for url in ["postgres://a:hunter2@db:port/c", "hunter2", "postgres://"] {
            let error = of(url).unwrap_err();
            assert!(matches!(error, SetupError::Url) && !error.to_string().contains("hunter2"), "{url}: {error}");
        }
    }
}
