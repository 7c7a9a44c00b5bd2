//! The kinds of error, independent of HTTP.
//!
//! Every error enum of the crate implements [`Classify`], so that one place (`http::problem`) can turn any of them into an
//! answer. This module must not know status codes, SSH or JSON. A new kind of failure is a new variant of [`Kind`]; the
//! compiler then names the one table that must learn it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The classes of failure that a caller can act on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request itself is wrong; the message says what to change.
    Invalid,
    /// No token, or one that does not hold.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// The system, job or file does not exist.
    NotFound,
    /// It was there, and will not be again.
    Gone,
    /// A remote command did not end within its time.
    RemoteTimeout,
    /// The present state forbids it, for example a target that exists.
    Conflict,
    /// The answer, or the body sent, is larger than the configured cap.
    TooLarge,
    /// A cluster could not be reached, or refused the connection.
    DependencyFailed,
    /// The caller asks more often than allowed.
    TooManyRequests,
    /// A defect of this program, or output that it does not understand.
    Internal,
    /// The backend, or its configured connection mode, cannot do this.
    Unsupported,
    /// A service that the request needs is unhealthy or saturated.
    Unavailable,
    /// The whole request ran out of its time.
    DeadlineExceeded,
}

impl Kind {
    /// Whether a failure of this class passes often, so that the same may succeed later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RemoteTimeout | Self::DependencyFailed | Self::TooManyRequests | Self::Unavailable | Self::DeadlineExceeded)
    }
}

/// A failure of work that is done again and again: only what is new of it belongs into the log.
#[derive(Debug, Default)]
pub struct Recurring(Mutex<Option<String>>);

impl Recurring {
    /// Whether this failure is news: the first one, or another one than the last.
    pub fn begins(&self, failure: &(impl fmt::Display + ?Sized)) -> bool {
        let failure = failure.to_string();
        let mut last = self.0.lock();
        let is_news = last.as_ref() != Some(&failure);
        *last = Some(failure);
        is_news
    }

    /// Whether a failure is over, since the work was done now.
    pub fn ends(&self) -> bool {
        self.0.lock().take().is_some()
    }
}

/// An error that knows its [`Kind`], and which part of it clients may read.
///
/// Never implement it for a type-erased error: what such an error holds is unknown, and secrets leave that way.
pub trait Classify: Error + Send + Sync + 'static {
    /// The class of the failure.
    fn kind(&self) -> Kind;

    /// The error that this one only passes on, and that speaks for it.
    fn wrapped(&self) -> Option<&dyn Classify> {
        None
    }

    /// The cause, if it is an error of this crate that says more than this one. A foreign error may contain anything, such as an
    /// address.
    fn public_cause(&self) -> Option<&dyn Classify> {
        self.wrapped().and_then(Classify::public_cause)
    }

    /// The message for the client: no secret; what failed, by its address, and what to change where the client can.
    fn public_message(&self) -> Cow<'static, str> {
        self.wrapped().map_or_else(|| self.to_string().into(), Classify::public_message)
    }

    /// Whether the same request would fail the same way whenever it is sent again, although its class of failure often passes.
    fn is_final(&self) -> bool {
        self.wrapped().is_some_and(Classify::is_final)
    }

    /// Whether the same may succeed later.
    fn is_transient(&self) -> bool {
        self.kind().is_transient() && !self.is_final()
    }

    /// For a write whose effect is unknown (`true`) or known not to have happened (`false`); `None` where it does not apply.
    fn maybe_effected(&self) -> Option<bool> {
        self.wrapped().and_then(Classify::maybe_effected)
    }
}

/// The causes of an error that clients may read, the nearest first.
pub fn public_causes(error: &dyn Classify) -> impl Iterator<Item = &dyn Classify> {
    std::iter::successors(error.public_cause(), |cause| cause.public_cause())
}

/// Displays an error and then each of its sources, once.
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// The message of the TLS library about a peer's certificate, where it gives only a name of its own, in words that say what to change.
pub fn certificate_in_words(message: String) -> String {
    let meanings = [
        (
            "CaUsedAsEndEntity",
            "the server's certificate is that of an authority (CA:TRUE), which is not accepted for a server: give the server one that the \
             authority has issued, or a self-signed one that is none (openssl req -x509 -addext basicConstraints=critical,CA:FALSE)",
        ),
        (
            "UnknownIssuer",
            "no authority that is trusted here has issued the server's certificate (UnknownIssuer): the environment variable SSL_CERT_FILE names a \
             file with the certificates of a private one",
        ),
        (
            "UnsupportedSignatureAlgorithm",
            "the signature of the server's certificate cannot be checked: if it is self-signed, or of a private authority, the environment variable \
             SSL_CERT_FILE names a file with the authority's certificate; else it has a kind of signature that is not supported \
             (UnsupportedSignatureAlgorithm)",
        ),
    ];
    let found = meanings.into_iter().find(|(name, _)| message.contains(name));
    found.map_or(message, |(_, words)| words.to_owned())
}

/// The messages of an error's sources, outermost first, without the error itself.
pub fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut messages = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        messages.push(cause.to_string());
        source = cause.source();
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::{Recurring, certificate_in_words};

    #[test]
    fn the_names_of_the_tls_library_are_told_in_words() {
        let name = "UnsupportedSignatureAlgorithmForPublicKeyContext { signature_algorithm_id: [6], public_key_algorithm_id: [5] }";
        let words = certificate_in_words(format!("invalid peer certificate: {name}"));
        assert!(words.contains("SSL_CERT_FILE") && !words.contains("algorithm_id"), "{words}");
        assert_eq!(certificate_in_words("connection reset".to_owned()), "connection reset");
    }

    #[test]
    fn a_failure_is_news_when_it_begins_when_it_is_another_and_after_it_has_ended() {
        let failure = Recurring::default();
        assert!(!failure.ends(), "there was none");
        assert!(failure.begins("full") && !failure.begins("full") && failure.begins("gone") && !failure.begins("gone"));
        assert!(failure.ends() && !failure.ends());
        assert!(failure.begins("gone"));
    }
}
