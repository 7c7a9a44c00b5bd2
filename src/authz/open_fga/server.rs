//! Calls to an OpenFGA server: finding the store, one check, and checks in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::credential::Credential;
use super::error::OpenFgaError;
use super::wire::{BatchCheckAnswer, BatchCheckItem, BatchCheckRequest, CheckAnswer, CheckRequest, ErrorBody, Stores, TupleKey, TupleKeys};
use crate::authz::OpenFgaConfig;
use crate::domain::excerpt;
use crate::rest::{Client, InvalidUrl, Object, Request, Response, RestError, Url};

/// The longest answer that is read, in bytes. The answer to fifty checks, or a list of stores, has a few kilobytes.
const MAX_BODY: usize = 64 * 1024;
/// The maximum number of checks in one batch: the default of OpenFGA.
const MAX_BATCH: usize = 50;
/// The maximum number of contextual tuples in one batch, so that its body stays far below OpenFGA's limit of half a megabyte.
const MAX_BATCH_TUPLES: usize = 1000;
/// The maximum number of characters of the server's message that are kept.
const MAX_WORDS: usize = 300;
/// The maximum number of concurrent checks of one decision, where the server does not support batches.
const MAX_PARALLEL: usize = 16;
/// The header with the id of the authorization model that OpenFGA used.
const MODEL_HEADER: &str = "openfga-authorization-model-id";

/// A server and its learned properties.
pub(super) struct Server {
    client: Client,
    base: Url,
    timeout: Duration,
    credential: Credential,
    store: StoreId,
    store_name: String,
    model: Option<Arc<str>>,
    slots: Option<Semaphore>,
    /// Servers before 1.8 know no batches.
    knows_no_batches: AtomicBool,
}

/// One relation to ask about. The user counts as a member of `groups`.
pub(super) struct Question {
    pub(super) user: String,
    pub(super) relation: String,
    pub(super) object: String,
    pub(super) groups: Vec<String>,
    pub(super) group_relation: String,
}

/// The server's answer to a question.
#[derive(Clone)]
pub(super) struct CheckResult {
    pub(super) allowed: bool,
    pub(super) model: Option<Arc<str>>,
}

/// The id of the store.
enum StoreId {
    Configured(Arc<str>),
    /// Looked up by the store's name; none before the first lookup.
    Found(RwLock<Option<Arc<str>>>),
}

impl Server {
    /// A server as configured. Nothing is sent yet.
    pub(super) fn new(config: &OpenFgaConfig, client: Client, timeout: Duration) -> Result<Self, InvalidUrl> {
        let url = Url::parse(&config.url)?;
        let segments: Vec<String> = url.segments().map(str::to_owned).collect();
        let (base, in_url) = match segments.iter().rposition(|segment| segment == "stores") {
            Some(at) if segments.len() > at + 1 => {
                (url.with_path(segments[..at].iter().map(String::as_str)), Some(segments[at + 1].clone()))
            }
            _ => (url, None),
        };
        let store = match config.store_id.clone().or(in_url) {
            Some(id) => StoreId::Configured(id.into()),
            None => StoreId::Found(RwLock::default()),
        };
        Ok(Self {
            base,
            timeout,
            credential: Credential::new(config, &client)?,
            client,
            store,
            store_name: config.store.clone(),
            model: config.authorization_model_id.as_deref().map(Into::into),
            slots: (config.max_connections > 0).then(|| Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            knows_no_batches: AtomicBool::new(false),
        })
    }

    /// The error when the time for a decision is over.
    pub(super) fn time_is_over(&self) -> OpenFgaError {
        OpenFgaError::TimeIsOver { url: self.base.to_string(), limit: self.timeout }
    }

    /// Answers to all questions, in their order.
    pub(super) async fn ask(&self, questions: &[Question]) -> Result<Vec<CheckResult>, OpenFgaError> {
        if let [question] = questions {
            return Ok(vec![self.check(question).await?]);
        }
        let tuples = questions.iter().map(|question| question.groups.len()).max().unwrap_or(0).max(1);
        let size = (MAX_BATCH_TUPLES / tuples).clamp(1, MAX_BATCH);
        let batches: Vec<_> = questions.chunks(size).map(|batch| self.ask_batch(batch)).collect();
        Ok(stream::iter(batches).buffered(MAX_PARALLEL).try_collect::<Vec<_>>().await?.concat())
    }

    async fn ask_batch(&self, questions: &[Question]) -> Result<Vec<CheckResult>, OpenFgaError> {
        if !self.knows_no_batches.load(Ordering::Relaxed)
            && let Some(answers) = self.batch_check(questions).await?
        {
            return Ok(answers);
        }
        let checks: Vec<_> = questions.iter().map(|question| self.check(question)).collect();
        stream::iter(checks).buffered(MAX_PARALLEL).try_collect().await
    }

    async fn check(&self, question: &Question) -> Result<CheckResult, OpenFgaError> {
        let body = CheckRequest {
            tuple_key: question.tuple_key(),
            contextual_tuples: question.contextual_tuples(),
            authorization_model_id: self.model.as_deref(),
        };
        let response = self.post("check", |request| request.json(&body)).await?;
        if response.status != 200 {
            return Err(self.refused("check", &response));
        }
        Ok(CheckResult { allowed: response.json::<CheckAnswer>().map_err(OpenFgaError::Answer)?.allowed, model: self.model_of(&response) })
    }

    /// `None` when the server does not accept these questions as a batch, for whatever reason. Single checks then find the reason.
    async fn batch_check(&self, questions: &[Question]) -> Result<Option<Vec<CheckResult>>, OpenFgaError> {
        let checks = questions.iter().enumerate().map(|(place, question)| BatchCheckItem {
            tuple_key: question.tuple_key(),
            contextual_tuples: question.contextual_tuples(),
            correlation_id: place.to_string(),
        });
        let body = BatchCheckRequest { checks: checks.collect(), authorization_model_id: self.model.as_deref() };
        let response = self.post("batch-check", |request| request.json(&body)).await?;
        match response.status {
            200 => {}
            404 | 405 | 501 => {
                if response.json::<ErrorBody>().map_or(true, |failure| failure.code != "store_id_not_found") {
                    tracing::info!("OpenFGA knows no batch-check here: systems are checked one by one");
                    self.knows_no_batches.store(true, Ordering::Relaxed);
                }
                return Ok(None);
            }
            // Such as a server that takes smaller batches than most.
            400 => return Ok(None),
            _ => return Err(self.refused("batch-check", &response)),
        }
        let model = self.model_of(&response);
        let mut results = response.json::<BatchCheckAnswer>().map_err(OpenFgaError::Answer)?.result;
        let answers = (0..questions.len()).map(|place| {
            let result = results.remove(&place.to_string()).map(|Object(result)| result);
            let result = result.filter(|result| result.error.is_none()).ok_or(OpenFgaError::Incomplete)?;
            Ok(CheckResult { allowed: result.allowed.ok_or(OpenFgaError::Incomplete)?, model: model.clone() })
        });
        answers.collect::<Result<_, _>>().map(Some)
    }

    async fn post(&self, operation: &str, fill: impl FnOnce(Request) -> Result<Request, RestError>) -> Result<Response, OpenFgaError> {
        let _slot = match &self.slots {
            Some(slots) => Some(slots.acquire().await.map_err(|_| self.time_is_over())?),
            None => None,
        };
        let store = self.store().await?;
        let url = self.base.with_segments(["stores", &store, operation]);
        let request = fill(Request::post(url.clone())).map_err(OpenFgaError::NotSent)?;
        let response = self.send(&url, request).await?;
        // The store may have been made anew, under another id: the next check looks it up.
        if matches!(response.status, 400 | 404)
            && operation == "check"
            && let StoreId::Found(found) = &self.store
        {
            *found.write() = None;
        }
        Ok(response)
    }

    async fn store(&self) -> Result<Arc<str>, OpenFgaError> {
        let found = match &self.store {
            StoreId::Configured(id) => return Ok(Arc::clone(id)),
            StoreId::Found(found) => found,
        };
        if let Some(id) = &*found.read() {
            return Ok(Arc::clone(id));
        }
        let name = self.store_name.as_str();
        let url = self.base.with_segments(["stores"]);
        let response = self.send(&url, Request::get(url.clone().with_query("name", name))).await?;
        if response.status != 200 {
            return Err(refused(&url, &response));
        }
        let list: Stores = response.json().map_err(OpenFgaError::Answer)?;
        // Servers that are older than the `name` parameter ignore it, so that the name is compared here as well.
        let mut ids = list.stores.into_iter().map(|Object(store)| store).filter(|store| store.name == name).map(|store| store.id);
        match (ids.next(), ids.next()) {
            (Some(id), None) => {
                let id: Arc<str> = id.into();
                *found.write() = Some(Arc::clone(&id));
                Ok(id)
            }
            (Some(_), Some(_)) => Err(OpenFgaError::AmbiguousStore { url: self.base.to_string(), name: name.to_owned() }),
            (None, _) => Err(OpenFgaError::NoStore { url: self.base.to_string(), name: name.to_owned() }),
        }
    }

    fn refused(&self, operation: &str, response: &Response) -> OpenFgaError {
        let store = match &self.store {
            StoreId::Configured(id) => Some(Arc::clone(id)),
            StoreId::Found(found) => found.read().clone(),
        };
        refused(&self.base.with_segments(["stores", store.as_deref().unwrap_or(&self.store_name), operation]), response)
    }

    async fn send(&self, url: &Url, request: Request) -> Result<Response, OpenFgaError> {
        let request = request.timeout(self.timeout).max_body(MAX_BODY);
        let request = match self.credential.token(self.timeout).await? {
            Some(token) => request.bearer(&token),
            None => request,
        };
        let response = self.client.send(request).await.map_err(|source| OpenFgaError::Call { url: url.to_string(), source })?;
        if response.status == 401 {
            self.credential.refused().await;
        }
        Ok(response)
    }

    /// The model that the server reports, otherwise the configured one.
    fn model_of(&self, response: &Response) -> Option<Arc<str>> {
        let is_id = |text: &&str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        response.header(MODEL_HEADER).filter(is_id).map(Into::into).or_else(|| self.model.clone())
    }
}

/// The error for an answer without a decision, with the code and the message of the server.
fn refused(url: &Url, response: &Response) -> OpenFgaError {
    let words = response.json::<ErrorBody>().map(|failure| format!("{} {}", failure.code, failure.message));
    let reason = words.map(|words| format!(" ({})", excerpt(&words, MAX_WORDS).trim())).unwrap_or_default();
    OpenFgaError::Refused { url: url.to_string(), status: response.status, reason }
}

impl Question {
    fn tuple_key(&self) -> TupleKey<'_> {
        TupleKey { user: &self.user, relation: &self.relation, object: &self.object }
    }

    fn contextual_tuples(&self) -> Option<TupleKeys<'_>> {
        let membership = |group| TupleKey { user: &self.user, relation: &self.group_relation, object: group };
        (!self.groups.is_empty()).then(|| TupleKeys { tuple_keys: self.groups.iter().map(|group| membership(group)).collect() })
    }
}
