//! One server: its address, its versions, and one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::discovery::Discovery;
use super::failure::{token_refused, unanswered};
use super::version::{ApiVersion, Description, Offer};
use super::wire::{Answer, Ping};
use super::{Settings, UserToken};
use crate::domain::{Principal, Secret};
use crate::rest::{Client, Method, Request, Response, RestError, Url};
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::messages::CONTROLLER_DOWN;

/// The maximum number of bytes of an answer: 10,000 jobs of the wordiest version, and some.
const MAX_ANSWER: usize = 128 << 20;
/// The maximum number of bytes of a server's description of itself; one of two versions has 1.6 MB.
const MAX_DESCRIPTION: usize = 32 << 20;

/// The time without an answer after which the controller is pinged.
const PING_AFTER: Duration = Duration::from_secs(2);

/// The time for which a server that gave no answer is not tried again if there is a fallback.
const SILENT_BACKOFF: Duration = Duration::from_secs(10);

/// A slurmrestd.
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    tokens: Arc<dyn UserToken>,
    discovery: Discovery,
    timeout: Duration,
    silent_since: Mutex<Option<Instant>>,
}

/// The call.
#[derive(Clone)]
pub(super) struct Call {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
}

/// An answer that could be read.
pub(super) struct Answered<T> {
    /// The version of the call.
    pub(super) version: ApiVersion,
    /// Whether the status says that it went well. Not alone to be believed: see [`Answer`].
    pub(super) success: bool,
    /// The document.
    pub(super) answer: Answer<T>,
}

impl Call {
    /// A question to the controller's side.
    pub(super) fn slurm(version: ApiVersion, segments: &[&str]) -> Self {
        Self::to("slurm", version, segments)
    }

    /// A question to accounting's.
    pub(super) fn slurmdb(version: ApiVersion, segments: &[&str]) -> Self {
        Self::to("slurmdb", version, segments)
    }

    /// The same with a parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// A change with a document.
    pub(super) fn post(self, body: Value) -> Self {
        Self { method: Method::Post, body: Some(body), ..self }
    }

    /// A removal.
    pub(super) fn delete(self) -> Self {
        Self { method: Method::Delete, ..self }
    }

    fn to(family: &str, version: ApiVersion, segments: &[&str]) -> Self {
        let own = [family.to_owned(), version.to_string()];
        let segments = own.into_iter().chain(segments.iter().map(|segment| (*segment).to_owned())).collect();
        Self { method: Method::Get, segments, query: Vec::new(), body: None }
    }
}

impl Endpoint {
    /// A server; nothing is sent yet.
    pub(super) fn new(client: Client, settings: Settings, tokens: Arc<dyn UserToken>) -> Self {
        let discovery = Discovery::new(settings.api_version);
        Self { client, url: settings.url, tokens, discovery, timeout: settings.timeout, silent_since: Mutex::new(None) }
    }

    /// The versions to speak.
    ///
    /// # Errors
    /// [`SchedulerError::Down`] if the server does not report its versions, or supports none of the known ones: the call was not sent.
    pub(super) async fn offer(&self, principal: &Principal) -> Result<Offer, SchedulerError> {
        self.discovery.offer(|| self.discover(principal)).await.map_err(|error| match error {
            SchedulerError::Unanswered(reason) => SchedulerError::Down(reason),
            error => error,
        })
    }

    /// Whether the last call, a moment ago, brought no answer.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_since.lock().is_some_and(|since| since.elapsed() < SILENT_BACKOFF)
    }

    /// Sends what `make` says for the versions spoken. Where the server does not know the address, it may be another one by now:
    /// the versions are queried again, and the call is repeated once. Nothing else is ever sent twice.
    ///
    /// # Errors
    /// The errors of `make`; if there is no answer, or it is unreadable, or the token is refused.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        principal: &Principal,
        make: impl Fn(Offer) -> Result<Call, SchedulerError>,
    ) -> Result<Answered<T>, SchedulerError> {
        let offer = self.offer(principal).await?;
        let response = self.send_watched(principal, offer, make(offer)?).await?;
        if !is_unknown_address(&response) {
            return read(offer, &response);
        }
        if self.discovery.forget(offer) {
            let renewed = self.offer(principal).await?;
            if renewed != offer {
                tracing::info!(url = %self.url, version = %renewed.slurm, "slurmrestd speaks another version now");
                return read(renewed, &self.send_watched(principal, renewed, make(renewed)?).await?);
            }
        }
        Err(SchedulerError::Unanswered(format!("slurmrestd does not know the address that was asked, of version {}", offer.slurm)))
    }

    /// As [`Self::send`]. slurmrestd tries for longer than a caller waits where the controller is down: an answer that is late is checked
    /// by a ping, which tells at once.
    async fn send_watched(&self, principal: &Principal, offer: Offer, call: Call) -> Result<Response, SchedulerError> {
        if call.segments.first().is_some_and(|family| family == "slurmdb") {
            return self.send(principal, call).await;
        }
        let changes = !matches!(call.method, Method::Get);
        let answer = self.send(principal, call);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            down = self.is_found_down(principal, offer) => if !down {
                answer.await
            } else if changes {
                // It may have been reached before.
                Err(SchedulerError::Unanswered(CONTROLLER_DOWN.to_owned()))
            } else {
                Err(SchedulerError::Down(CONTROLLER_DOWN.to_owned()))
            },
        }
    }

    /// Whether the controller turns out to be down, once an answer is late.
    async fn is_found_down(&self, principal: &Principal, offer: Offer) -> bool {
        tokio::time::sleep(PING_AFTER).await;
        let Ok(response) = self.send(principal, Call::slurm(offer.slurm, &["ping"])).await else { return false };
        let pings = response.json::<Answer<Ping>>().ok().and_then(|answer| answer.into_records().0);
        pings.is_some_and(|pings| !pings.is_empty() && !pings.iter().any(Ping::is_up))
    }

    async fn send(&self, principal: &Principal, call: Call) -> Result<Response, SchedulerError> {
        let mut url = self.url.with_segments(call.segments.iter().map(String::as_str));
        for (name, value) in &call.query {
            url = url.with_query(name, value);
        }
        let request = Request::new(call.method, url).max_body(MAX_ANSWER);
        let request = match &call.body {
            Some(body) => request.json(body).map_err(|error| unanswered(&self.name(), &error))?,
            None => request,
        };
        self.send_as(principal, request).await
    }

    /// The name of the call in messages.
    fn name(&self) -> String {
        format!("slurmrestd at {}", self.url)
    }

    async fn send_as(&self, principal: &Principal, request: Request) -> Result<Response, SchedulerError> {
        let token = self.tokens.token(principal)?;
        let request = request
            .timeout(self.timeout)
            .header("x-slurm-user-name", Secret::from(principal.username.as_str().to_owned()))
            .header("x-slurm-user-token", token);
        let outcome = self.client.send(request).await;
        let silent = matches!(outcome, Err(RestError::Connect(_) | RestError::Timeout(_)));
        *self.silent_since.lock() = silent.then(Instant::now);
        let response = outcome.map_err(|error| unanswered(&self.name(), &error))?;
        // 401 says the server itself, 511 the controller.
        if matches!(response.status, 401 | 511) { Err(token_refused()) } else { Ok(response) }
    }

    async fn discover(&self, principal: &Principal) -> Result<Offer, SchedulerError> {
        // The second is the name in the first releases.
        for path in [["openapi", "v3"].as_slice(), ["openapi"].as_slice()] {
            let request = Request::get(self.url.with_segments(path.iter().copied())).max_body(MAX_DESCRIPTION);
            let response = self.send_as(principal, request).await?;
            if response.status == 404 {
                continue;
            }
            let description: Description =
                response.success().and_then(|response| response.json()).map_err(|error| unanswered(&self.name(), &error))?;
            let offer = description.offer().ok_or_else(|| {
                let (oldest, newest) = (ApiVersion::OLDEST, ApiVersion::NEWEST);
                SchedulerError::Unanswered(format!("slurmrestd speaks no version from {oldest} to {newest}"))
            })?;
            tracing::info!(url = %self.url, version = %offer.slurm, accounting = offer.slurmdb.is_some(), "slurmrestd was asked for its versions");
            return Ok(offer);
        }
        Err(SchedulerError::Unanswered("slurmrestd does not describe itself: set scheduler.api_version".to_owned()))
    }
}

/// Whether the server has no such address, which it says in a plain sentence; a job that is not there is 404 with a document.
fn is_unknown_address(response: &Response) -> bool {
    response.status == 404 && !response.body.trim_ascii_start().starts_with(b"{")
}

fn read<T: DeserializeOwned>(offer: Offer, response: &Response) -> Result<Answered<T>, SchedulerError> {
    let success = (200..300).contains(&response.status);
    match response.json::<Answer<T>>() {
        Ok(answer) if !answer.is_slurms() => {
            Err(SchedulerError::Unanswered(format!("something else than slurmrestd answered, with status {}", response.status)))
        }
        Ok(answer) => Ok(Answered { version: offer.slurm, success, answer }),
        Err(error) if success => Err(unanswered("slurmrestd", &error)),
        Err(_) => Err(SchedulerError::Unanswered(format!("slurmrestd answered with status {}", response.status))),
    }
}
