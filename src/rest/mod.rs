//! HTTP calls to other services: identity provider, authorization service, slurmrestd.
//!
//! The only module that knows reqwest; the rest of the crate sees [`Client`], [`Request`] and [`Response`]. It must not know
//! what the services mean. Every call has a deadline, a cap on the answer, no redirects, no proxy from the
//! environment, TLS by rustls with the platform's certificate authorities, and a trace line that holds no secret.
//! A further capability, such as a new kind of body, is a method of [`Request`].

mod client;
mod error;
mod grant;
mod guard;
mod object;
mod request;
mod token_cache;
mod url;

pub use client::{Client, Response};
pub use error::{Forbidden, RestError};
pub use grant::{ClientCredentials, Grant, GrantError, TokenEndpointAuthMethod};
pub use guard::AddressGuard;
pub use object::Object;
pub use request::{Method, Request};
pub use token_cache::TokenCache;
pub use url::{InvalidUrl, Url};
