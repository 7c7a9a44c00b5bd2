//! What the failures of requests to the API server mean.

use std::error::Error;

use crate::error::ErrorChain;
use crate::scheduler::SchedulerError;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum ApiFailure {
    /// The API server refused it.
    Refused {
        /// The status code of HTTP.
        code: u16,
        /// The API server's word for the case, such as `AlreadyExists`.
        reason: String,
        /// The API server's words.
        message: String,
    },
    /// It was not sent.
    Unreached(String),
    /// It was sent, and no answer came that could be read.
    Unanswered(String),
}

impl ApiFailure {
    /// The error of a request that changes nothing, or certainly had no effect.
    pub(super) fn without_effect(self) -> SchedulerError {
        match self {
            Self::Refused { code, message, .. } => refused(code, message),
            Self::Unreached(reason) | Self::Unanswered(reason) => SchedulerError::Down(reason),
        }
    }

    /// The message of the API server, or ours.
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Refused { message: reason, .. } | Self::Unreached(reason) | Self::Unanswered(reason) => reason,
        }
    }

    /// The error of a request that may have changed something.
    pub(super) fn of_write(self) -> SchedulerError {
        match self {
            Self::Refused { code: 500.., message, .. } | Self::Unanswered(message) => SchedulerError::Unanswered(message),
            other => other.without_effect(),
        }
    }
}

fn refused(code: u16, message: String) -> SchedulerError {
    match code {
        400 | 409 | 413 | 422 => SchedulerError::Rejected(message),
        401 => SchedulerError::Down(format!("the API server does not accept Goldcrest's credentials: {message}")),
        403 => SchedulerError::Denied(message),
        404 => SchedulerError::JobNotFound,
        _ => SchedulerError::Down(format!("the API server answers with {code}: {message}")),
    }
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused { code: status.code, reason: status.reason, message: status.message },
            kube::Error::Auth(error) => Self::Unreached(format!("no credentials for the API server: {}", ErrorChain(&error))),
            kube::Error::Service(error) => {
                let text = chain(error.as_ref());
                // The connector, which makes the TLS connection too, says so in its client's text; its type is not public.
                if text.contains("(Connect)") { Self::Unreached(text) } else { Self::Unanswered(text) }
            }
            other => Self::Unanswered(ErrorChain(&other).to_string()),
        }
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    ErrorChain(error).to_string()
}
