//! The kinds of error, independent of HTTP.
//!
//! Every error enum of the crate implements [`Classify`], so that one place (`http::problem`) can turn any of them into an
//! answer. This module must not know status codes, SSH or JSON. A new kind of failure is a new variant of [`Kind`]; the
//! compiler then names the one table that must learn it.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// The classes of failure that a caller can act on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is wrong; the message says what to change.
    Invalid,
    /// No token, or one that does not hold.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// The system, job or file does not exist.
    NotFound,
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
