//! The common part of providers that call a service: the limit of concurrent calls, and the meaning of its answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{CallerKey, Credential, CredentialError, SetupError, keys};
use crate::domain::{Principal, Secret};
use crate::rest::{Client, Request, Response, Url};

/// The longest answer that is read, in bytes: two keys and a certificate.
const MAX_ANSWER: usize = 64 * 1024;

/// A service that is called with callers' tokens.
pub(super) struct Service {
    /// Its name in messages.
    pub(super) name: &'static str,
    url: Url,
    client: Client,
    places: Option<Semaphore>,
    timeout: Duration,
}

impl Service {
    /// The service at `url` and these segments. `max_connections` 0 means no limit.
    ///
    /// # Errors
    /// If the URL cannot be used.
    pub(super) fn new(
        name: &'static str,
        (url, path): (&str, &[&str]),
        max_connections: usize,
        timeout: u64,
        client: Client,
    ) -> Result<Self, SetupError> {
        let url = Url::parse(url).map_err(|error| SetupError { key: "url".to_owned(), reason: format!("is {error}") })?;
        let url = url.with_segments(path.iter().copied());
        let places = (max_connections > 0).then(|| Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Ok(Self { name, url, client, places, timeout: Duration::from_secs(timeout) })
    }

    /// Posts what `build` makes of the bare request, when there is a place for it, and returns an answer of success.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn post(
        &self,
        principal: &Principal,
        build: impl FnOnce(Request) -> Result<Request, crate::rest::RestError>,
    ) -> Result<Response, CredentialError> {
        let failed = |source| CredentialError::Service { service: self.name, source: Arc::new(source) };
        let request = Request::post(self.url.clone()).timeout(self.timeout).max_body(MAX_ANSWER);
        let request = build(request).map_err(failed)?;
        let _place = match &self.places {
            None => None,
            Some(places) => match tokio::time::timeout(self.timeout, places.acquire()).await {
                Ok(place) => place.ok(),
                Err(_) => return Err(CredentialError::Busy { service: self.name, waited: self.timeout }),
            },
        };
        let response = self.client.send(request).await.map_err(failed)?;
        let (service, user, status) = (self.name, principal.username.clone(), response.status);
        match status {
            400 | 401 => Err(CredentialError::Token { service, user, status }),
            403 => Err(CredentialError::Refused { service, user, status }),
            _ => response.success().map_err(failed),
        }
    }

    /// The credential in an answer, once it was found good.
    ///
    /// # Errors
    /// If the certificate cannot be used with the key.
    pub(super) fn credential(
        &self,
        principal: &Principal,
        private_key: Secret,
        certificate: &str,
    ) -> Result<Arc<Credential>, CredentialError> {
        let not_after = keys::check(certificate, &private_key).map_err(|reason| self.unusable(reason))?;
        Ok(Arc::new(Credential {
            private_key,
            passphrase: None,
            certificate: Some(certificate.trim().to_owned()),
            not_after,
            caller: Some(Arc::new(CallerKey::of(principal))),
        }))
    }

    /// The error for an answer that cannot be used.
    pub(super) fn unusable(&self, reason: &'static str) -> CredentialError {
        CredentialError::Answer { service: self.name, reason }
    }
}

/// The default of `max_connections`, which is FirecREST's.
pub(super) fn default_max_connections() -> usize {
    100
}

/// The default of `timeout`, which is FirecREST's.
pub(super) fn default_timeout() -> u64 {
    5
}
