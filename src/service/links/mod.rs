//! Links to files: signed, with an end, and counted.
//!
//! The address of a link has its id, its end and a signature of both, so that a forged or expired one is refused before the store is read. The
//! store has the record of each valid link with the number of its uses; whoever changes it has its lease for a moment. This module must not
//! know what is behind a link.

mod config;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::stored_requester::StoredRequester;
use crate::domain::{Secret, SystemName, Username};
use crate::store::{Leased, Record, Store, StoreError};

pub use config::{Config, MIN_KEY};

/// The kind of the records.
const SHARE: &str = "share";
/// The time for which a change of a record may take.
const LEASE_TIME: Duration = Duration::from_secs(10);
/// How long a request waits for a lease that somebody has.
const LEASE_WAIT: Duration = Duration::from_secs(2);

/// The links of a site. Clones share everything.
#[derive(Clone)]
pub struct Links(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    config: Config,
    key: hmac::Key,
}

/// A link in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::service) struct StoredLink {
    pub(in crate::service) system: SystemName,
    pub(in crate::service) path: String,
    /// The path without symbolic links, when the link was made. Earlier releases kept none of a file whose name was one itself.
    #[serde(default)]
    pub(in crate::service) real_path: Option<String>,
    pub(in crate::service) is_directory: bool,
    pub(in crate::service) created: Timestamp,
    pub(in crate::service) expires: Timestamp,
    pub(in crate::service) max_uses: u64,
    pub(in crate::service) uses: u64,
    pub(in crate::service) requester: StoredRequester,
}

/// What the address of a link has of it.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The id.
    pub id: &'a str,
    /// When it ends, in Unix seconds.
    pub expires: i64,
    /// The signature of both.
    pub signature: &'a str,
}

/// A link, without its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: String,
    /// The system.
    pub system: SystemName,
    /// The file or directory, as text.
    pub path: String,
    /// Whether it is a directory, which is sent as an archive.
    pub is_directory: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// How often it may be used.
    pub max_uses: u64,
    /// How often it was used.
    pub uses: u64,
}

/// Why a link is not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is none that was signed here.
    Unknown,
    /// The link has ended, was revoked, or was used as often as it may be.
    Gone,
    /// The store does not answer.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl StoredLink {
    /// Whether it may be used once more.
    fn is_usable(&self) -> bool {
        self.uses < self.max_uses
    }

    pub(super) fn into_link(self, id: String) -> Link {
        let Self { system, path, is_directory, created, expires, max_uses, uses, requester: _, real_path: _ } = self;
        Link { id, system, path, is_directory, created, expires, max_uses, uses }
    }
}

impl Links {
    /// The links in this store.
    pub fn new(store: Arc<dyn Store>, config: Config) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, config.key.expose().as_bytes());
        Self(Arc::new(Inner { store, config, key }))
    }

    /// The limits.
    pub(super) fn config(&self) -> &Config {
        &self.0.config
    }

    /// Adds a link; the answer has its signature. None if its user has as many as one may; those that are used up do not count,
    /// and are removed when the limit is reached.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn add(&self, link: StoredLink) -> Result<Option<(Link, Secret)>, StoreError> {
        // So that of several at once not each takes the last place.
        let user = format!("shares/{}", link.requester.username);
        self.alone(user, async { self.add_alone(link).await }).await
    }

    async fn add_alone(&self, link: StoredLink) -> Result<Option<(Link, Secret)>, StoreError> {
        let max = self.0.config.max_per_user;
        let known = self.0.store.list(SHARE, link.requester.username.as_str()).await?;
        let known_count = known.len();
        let mut used_up: Vec<(Timestamp, String)> = known
            .into_iter()
            .filter_map(|record| decode(&record).filter(|link| !link.is_usable()).map(|link| (link.created, record.id)))
            .collect();
        if known_count - used_up.len() >= max {
            return Ok(None);
        }
        // The user sees the uses of a link for as long as there is place.
        used_up.sort();
        for (_, id) in used_up.into_iter().take((known_count + 1).saturating_sub(max)) {
            self.0.store.remove(SHARE, &id).await?;
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        self.put(&id, &link).await?;
        let signature = Secret::from(URL_SAFE_NO_PAD.encode(hmac::sign(&self.0.key, &message(&id, link.expires.as_second()))));
        Ok(Some((link.into_link(id), signature)))
    }

    /// The links of a user on a system that have not ended, the newest first; also those that are used up, unless later ones needed their place.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn of_user(&self, user: &Username, system: &SystemName) -> Result<Vec<Link>, StoreError> {
        let records = self.0.store.list(SHARE, user.as_str()).await?;
        let links = records.into_iter().filter_map(|record| Some(decode(&record)?.into_link(record.id)));
        let mut links: Vec<Link> = links.filter(|link| link.system == *system).collect();
        links.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(links)
    }

    /// Removes a link of a user; whether there was one.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) async fn revoke(&self, user: &Username, system: &SystemName, id: &str) -> Result<bool, StoreError> {
        self.alone(format!("share/{id}"), async {
            let found = self.get(id).await?.filter(|link| link.requester.username == *user && link.system == *system);
            if found.is_none() {
                return Ok(false);
            }
            self.0.store.remove(SHARE, id).await
        })
        .await
    }

    /// The link that somebody presents, which is not counted as a use.
    ///
    /// # Errors
    /// If it was not made here, or is not valid any more.
    pub(super) async fn find(&self, Presented { id, expires, signature }: Presented<'_>) -> Result<StoredLink, Refused> {
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Unknown)?;
        hmac::verify(&self.0.key, &message(id, expires), &signature).map_err(|_| Refused::Unknown)?;
        if expires <= Timestamp::now().as_second() {
            return Err(Refused::Gone);
        }
        self.get(id).await?.filter(StoredLink::is_usable).ok_or(Refused::Gone)
    }

    /// Counts a use of a link; whether it was still valid.
    ///
    /// # Errors
    /// If the store does not answer, or is full.
    pub(super) async fn count(&self, id: &str) -> Result<bool, StoreError> {
        self.alone(format!("share/{id}"), async {
            let Some(mut link) = self.get(id).await?.filter(StoredLink::is_usable) else { return Ok(false) };
            link.uses += 1;
            self.put(id, &link).await?;
            Ok(true)
        })
        .await
    }

    /// Works with a lease, which is given back also where the client leaves.
    async fn alone<T>(&self, name: String, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let lease = Leased::take(&self.0.store, name, LEASE_TIME, LEASE_WAIT).await?;
        let lease = lease.ok_or_else(|| {
            StoreError::Unavailable("the share link, or the list of the user's links, is in use by another request: try again".into())
        })?;
        let outcome = work.await;
        lease.release().await;
        outcome
    }

    async fn get(&self, id: &str) -> Result<Option<StoredLink>, StoreError> {
        let link = self.0.store.get(SHARE, id).await?.as_ref().and_then(decode);
        Ok(link.filter(|link| link.expires > Timestamp::now()))
    }

    async fn put(&self, id: &str, link: &StoredLink) -> Result<(), StoreError> {
        let ttl = link.expires.duration_since(Timestamp::now()).unsigned_abs();
        let owner = link.requester.username.as_str().to_owned();
        let value = serde_json::to_vec(link).unwrap_or_default();
        self.0.store.put(&Record { kind: SHARE, id: id.to_owned(), owner, value, due_in: None, ttl }).await
    }
}

/// What is signed: no other use of the key has such a text.
fn message(id: &str, expires: i64) -> Vec<u8> {
    format!("goldcrest share link {id} {expires}").into_bytes()
}

fn decode(record: &Record) -> Option<StoredLink> {
    serde_json::from_slice(&record.value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sqlite, SqliteConfig};

    #[tokio::test]
    async fn a_client_that_leaves_does_not_keep_the_lease_of_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() }));
        let links = Links::new(store, Config { key: "k".repeat(32).into(), max_time: 60, max_uses: 5, max_per_user: 3 });
        let left = tokio::time::timeout(
            Duration::from_millis(500),
            links.alone("share/a".to_owned(), std::future::pending::<Result<bool, StoreError>>()),
        )
        .await;
        assert!(left.is_err());
        // The next one waits for two seconds, and the lease would last for ten.
        assert!(!links.count("a").await.expect("the lease is to be had"));
    }
}
