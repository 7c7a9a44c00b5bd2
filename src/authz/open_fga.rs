//! An OpenFGA server decides (its HTTP API: `POST /stores/{store_id}/check`).
//!
//! Only `"allowed": true` in the body of a 200 allows. Whatever else comes back, or does not, is no decision.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{Authorizer, AuthzError, Decision, OpenFgaConfig, Relation};
use crate::domain::{Principal, SystemName, Username};
use crate::rest::{Client, InvalidUrl, Request, RestError, Url};

/// An answer of a check is a few bytes, a list of stores a few kilobytes.
const MAX_BODY: usize = 64 * 1024;
const MAX_REMEMBERED: u64 = 100_000;

/// The authorizer over an OpenFGA server.
pub struct OpenFga {
    client: Client,
    base: Url,
    config: OpenFgaConfig,
    timeout: Duration,
    store_id: StoreId,
    slots: Option<Semaphore>,
    permissions: Option<Cache<(Username, SystemName), ()>>,
}

impl OpenFga {
    /// A client of the server; nothing is sent yet.
    ///
    /// # Errors
    /// When `url` is none.
    pub fn new(config: OpenFgaConfig, client: Client) -> Result<Self, InvalidUrl> {
        let url = Url::parse(&config.url)?;
        let segments: Vec<String> = url.segments().map(str::to_owned).collect();
        let (base, in_url) = match segments.iter().rposition(|segment| segment == "stores") {
            Some(at) if segments.len() > at + 1 => {
                (url.with_path(segments[..at].iter().map(String::as_str)), Some(segments[at + 1].clone()))
            }
            _ => (url, None),
        };
        let store_id = match config.store_id.clone().or(in_url) {
            Some(id) => StoreId::Configured(id.into()),
            None => StoreId::Found(RwLock::default()),
        };
        let permissions = (config.cache_ttl > 0)
            .then(|| Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(Duration::from_secs(config.cache_ttl)).build());
        let slots = (config.max_connections > 0).then(|| Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        Ok(Self { client, base, timeout: Duration::from_secs(config.timeout.max(1)), store_id, slots, permissions, config })
    }

    async fn ask(&self, principal: &Principal, system: &SystemName) -> Result<bool, OpenFgaError> {
        let _slot = match &self.slots {
            Some(slots) => Some(slots.acquire().await.map_err(|_| OpenFgaError::Saturated)?),
            None => None,
        };
        let store_id = self.store().await?;
        let body = CheckRequest {
            tuple_key: TupleKey {
                user: format!("user:{}", principal.username),
                relation: &self.config.relation,
                object: format!("{}:{system}", self.config.object_type),
            },
            authorization_model_id: self.config.authorization_model_id.as_deref(),
        };
        let request = Request::post(self.base.with_segments(["stores", &store_id, "check"])).json(&body)?;
        let response = self.client.send(self.prepare(request)).await?;
        if response.status != 200 {
            // The store may have been made anew, under another id: the next check looks it up.
            if matches!(response.status, 400 | 404)
                && let StoreId::Found(found) = &self.store_id
            {
                *found.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            return Err(RestError::Status(response.status).into());
        }
        Ok(response.json::<CheckAnswer>()?.allowed)
    }

    async fn store(&self) -> Result<Arc<str>, OpenFgaError> {
        let found = match &self.store_id {
            StoreId::Configured(id) => return Ok(Arc::clone(id)),
            StoreId::Found(found) => found,
        };
        if let Some(id) = &*found.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(id));
        }
        let name = self.config.store.as_str();
        let request = Request::get(self.base.with_segments(["stores"]).with_query("name", name));
        let list: Stores = self.client.send(self.prepare(request)).await?.success()?.json()?;
        // Servers that are older than the `name` parameter ignore it, so that the name is compared here as well.
        let mut ids = list.stores.into_iter().filter(|store| store.name == name).map(|store| store.id);
        match (ids.next(), ids.next()) {
            (Some(id), None) => {
                let id: Arc<str> = id.into();
                *found.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&id));
                Ok(id)
            }
            (Some(_), Some(_)) => Err(OpenFgaError::AmbiguousStore(name.to_owned())),
            (None, _) => Err(OpenFgaError::NoStore(name.to_owned())),
        }
    }

    fn prepare(&self, request: Request) -> Request {
        let request = request.timeout(self.timeout).max_body(MAX_BODY);
        match &self.config.api_token {
            Some(token) => request.bearer(token),
            None => request,
        }
    }
}

#[async_trait]
impl Authorizer for OpenFga {
    async fn check(&self, principal: &Principal, relation: Relation, system: &SystemName) -> Result<Decision, AuthzError> {
        let Relation::Access = relation;
        let key = (principal.username.clone(), system.clone());
        if let Some(permissions) = &self.permissions
            && permissions.get(&key).await.is_some()
        {
            return Ok(Decision::Allowed);
        }
        let answer = tokio::time::timeout(self.timeout, self.ask(principal, system)).await;
        match answer.unwrap_or(Err(OpenFgaError::Saturated)) {
            Ok(true) => {
                if let Some(permissions) = &self.permissions {
                    permissions.insert(key, ()).await;
                }
                Ok(Decision::Allowed)
            }
            Ok(false) => Ok(Decision::Denied),
            Err(error) => Err(AuthzError::Unavailable(Box::new(error))),
        }
    }
}

/// The id of the store.
enum StoreId {
    Configured(Arc<str>),
    /// Looked up by the store's name, when it was.
    Found(RwLock<Option<Arc<str>>>),
}

/// Why the server gave no decision.
#[derive(Debug, thiserror::Error)]
enum OpenFgaError {
    #[error(transparent)]
    Call(#[from] RestError),
    #[error("OpenFGA has no store named {0:?}")]
    NoStore(String),
    #[error("OpenFGA has several stores named {0:?}: configure store_id")]
    AmbiguousStore(String),
    #[error("no decision within the time for a check")]
    Saturated,
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    tuple_key: TupleKey<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_model_id: Option<&'a str>,
}

#[derive(Serialize)]
struct TupleKey<'a> {
    user: String,
    relation: &'a str,
    object: String,
}

#[derive(Deserialize)]
struct CheckAnswer {
    allowed: bool,
}

#[derive(Deserialize)]
struct Stores {
    stores: Vec<Store>,
}

#[derive(Deserialize)]
struct Store {
    id: String,
    name: String,
}
