//! A request as a value.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::{RestError, Url};
use crate::domain::Secret;

/// The characters that a form escapes (WHATWG URL Standard, 5.2). Escaping more would be harmless, except for identity providers that
/// do not decode client ids.
const FORM: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// The methods that services are called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads the headers of a GET without its content.
    Head,
    /// Reads.
    Get,
    /// Puts something in place.
    Put,
    /// Changes, or asks with a body.
    Post,
    /// Deletes.
    Delete,
}

/// A request: built, then given to [`super::Client::send`].
pub struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(&'static str, Secret)>,
    pub(super) body: Option<Bytes>,
    pub(super) timeout: Duration,
    pub(super) max_body: usize,
}

impl Request {
    /// A request without a body, with 10 s to end and 1 MiB for the answer.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), body: None, timeout: Duration::from_secs(10), max_body: 1024 * 1024 }
    }

    /// A GET request; see [`Request::new`].
    pub fn get(url: Url) -> Self {
        Self::new(Method::Get, url)
    }

    /// A POST request; see [`Request::new`].
    pub fn post(url: Url) -> Self {
        Self::new(Method::Post, url)
    }

    /// The time for the whole call, the reading of the answer included.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The maximum number of bytes that the answer's body may have.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// A header whose value is never logged.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: Secret) -> Self {
        self.headers.push((name, value));
        self
    }

    /// `Authorization: Bearer` (RFC 6750, 2.1).
    #[must_use]
    pub fn bearer(self, token: &Secret) -> Self {
        let value = Secret::from(format!("Bearer {}", token.expose()));
        self.header("authorization", value)
    }

    /// `Authorization: Basic` (RFC 7617). The texts are taken as they are: OAuth2 clients form-encode them first.
    #[must_use]
    pub fn basic(self, user: &str, password: &Secret) -> Self {
        use base64::Engine;
        let pair = Secret::from(format!("{user}:{}", password.expose()));
        let value = base64::engine::general_purpose::STANDARD.encode(pair.expose());
        self.header("authorization", Secret::from(format!("Basic {value}")))
    }

    /// A JSON body.
    ///
    /// # Errors
    /// [`RestError::Encode`] when the value has no JSON form.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, RestError> {
        self.body = Some(serde_json::to_vec(body).map_err(RestError::Encode)?.into());
        Ok(self.header("content-type", Secret::from("application/json".to_owned())))
    }

    /// A body of this media type.
    #[must_use]
    pub fn body(mut self, media_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", Secret::from(media_type.to_owned()))
    }

    /// An XML body.
    #[must_use]
    pub fn xml(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", Secret::from("application/xml".to_owned()))
    }

    /// An `application/x-www-form-urlencoded` body.
    #[must_use]
    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut body = String::new();
        for (name, value) in fields {
            if !body.is_empty() {
                body.push('&');
            }
            body.push_str(&Self::form_encode(name));
            body.push('=');
            body.push_str(&Self::form_encode(value));
        }
        self.body = Some(body.into());
        self.header("content-type", Secret::from("application/x-www-form-urlencoded".to_owned()))
    }

    /// A text as `application/x-www-form-urlencoded` writes it, a space as `%20`.
    pub fn form_encode(text: &str) -> String {
        percent_encoding::utf8_percent_encode(text, FORM).to_string()
    }
}
