//! The client and its responses.

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::error::Forbidden;
use super::{AddressGuard, Method, Object, Request, RestError};
use crate::error::certificate_in_words;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool of HTTP connections. Clones share it: one for the whole process is enough.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    guard: Option<AddressGuard>,
}

impl Client {
    /// A client that trusts the certificate authorities of the platform (or of `SSL_CERT_FILE`). If there are none, as
    /// in an empty container, every `https` call fails, and a warning says why; `http` calls work.
    ///
    /// `HTTP_PROXY` and the like are not followed: the services are internal, and a token must not leave through a proxy
    /// that was set for another purpose.
    ///
    /// # Errors
    /// [`RestError::Setup`] when TLS cannot be set up.
    pub fn new() -> Result<Self, RestError> {
        Self::build(None)
    }

    /// A client for addresses that callers choose: it calls only those that `guard` permits.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn guarded(guard: AddressGuard) -> Result<Self, RestError> {
        Self::build(Some(guard))
    }

    fn build(guard: Option<AddressGuard>) -> Result<Self, RestError> {
        let builder = || {
            let builder = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .retry(reqwest::retry::never())
                .user_agent(concat!("goldcrest/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .tcp_nodelay(true);
            match &guard {
                Some(guard) => builder.dns_resolver(guard.clone()),
                None => builder,
            }
        };
        if let Ok(http) = builder().build() {
            return Ok(Self { http, guard });
        }
        tracing::warn!("no certificate authorities were found on this host: https services cannot be reached; set SSL_CERT_FILE");
        let http = builder().tls_certs_only([]).build().map_err(|error| RestError::Setup(error.without_url()))?;
        Ok(Self { http, guard })
    }

    /// Sends a request and returns the status of its response, of which nothing else is read.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn status(&self, request: Request) -> Result<u16, RestError> {
        let (method, url, timeout) = (request.method, request.url.clone(), request.timeout);
        let outcome = self.respond(request).await.map_err(|error| classify(error, timeout));
        let outcome = outcome.map(|response| response.status().as_u16());
        tracing::debug!(?method, %url, ?outcome, "called an address of a user's");
        outcome
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// If there is no answer, or it is larger than the request allows.
    pub async fn send(&self, request: Request) -> Result<Response, RestError> {
        let started = Instant::now();
        let (method, url) = (request.method, request.url.clone());
        let outcome = self.send_untraced(request).await;
        let elapsed_ms = started.elapsed().as_millis();
        match &outcome {
            Ok(response) => {
                tracing::debug!(?method, %url, status = response.status, bytes = response.body.len(), elapsed_ms, "called a service");
            }
            Err(error) => tracing::debug!(?method, %url, %error, elapsed_ms, "a call to a service failed"),
        }
        outcome
    }

    async fn send_untraced(&self, request: Request) -> Result<Response, RestError> {
        let (limit, timeout) = (request.max_body, request.timeout);
        let mut response = self.respond(request).await.map_err(|error| classify(error, timeout))?;
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(RestError::TooLarge { limit });
        }
        let headers = std::mem::take(response.headers_mut());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(error.into(), timeout))? {
            if body.len() + chunk.len() > limit {
                return Err(RestError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: response.status().as_u16(), headers, body: body.freeze() })
    }

    /// Sends a request and reads the head of its answer.
    async fn respond(&self, request: Request) -> Result<reqwest::Response, Failure> {
        if let Some(guard) = &self.guard {
            guard.check_literal(&request.url).map_err(|error| Failure::Refused(error.into()))?;
        }
        let method = match request.method {
            Method::Head => reqwest::Method::HEAD,
            Method::Get => reqwest::Method::GET,
            Method::Put => reqwest::Method::PUT,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.http.request(method, request.url.inner().clone()).timeout(request.timeout);
        for (name, value) in &request.headers {
            let value = reqwest::header::HeaderValue::from_str(value.expose());
            let mut value = value.map_err(|_| Failure::Refused(RestError::Header))?;
            value.set_sensitive(true);
            builder = builder.header(*name, value);
        }
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        builder.send().await.map_err(Failure::from)
    }
}

/// Why there is no answer.
enum Failure {
    /// Nothing was sent.
    Refused(RestError),
    Http(reqwest::Error),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error)
    }
}

fn classify(failure: Failure, timeout: Duration) -> RestError {
    let error = match failure {
        Failure::Refused(error) => return error,
        Failure::Http(error) => error.without_url(),
    };
    if let Some(forbidden) = forbidden(&error) {
        RestError::Forbidden(forbidden)
    } else if error.is_connect() {
        RestError::Connect(root_cause(&error))
    } else if error.is_timeout() {
        RestError::Timeout(timeout)
    } else {
        RestError::Transport(root_cause(&error))
    }
}

/// The refusal of the guard among the causes of an error.
fn forbidden(error: &reqwest::Error) -> Option<Forbidden> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return Some(forbidden.clone());
        }
        cause = error.source();
    }
    None
}

/// The innermost cause: what the system or the TLS library says, such as `Connection refused`.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    certificate_in_words(cause.to_string())
}

/// The answer of a service.
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    headers: reqwest::header::HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Response {
    /// A header of the answer; `None` when it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer itself where its status is 2xx.
    ///
    /// # Errors
    /// [`RestError::Status`] for any other.
    pub fn success(self) -> Result<Self, RestError> {
        if (200..300).contains(&self.status) { Ok(self) } else { Err(RestError::Status(self.status)) }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`RestError::Decode`], which does not repeat the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RestError> {
        serde_json::from_slice(&self.body).map(|Object(value)| value).map_err(|error| RestError::decode(&error))
    }
}
