//! The authenticated caller.

use jiff::Timestamp;

use super::{Secret, Username};

/// The sender of the request, from the verified token.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The login name on the clusters, from the configured claim.
    pub username: Username,
    /// The token's `sub`.
    pub subject: String,
    /// The OAuth2 client that the token was issued to (`azp` or `client_id`), where the token says.
    pub client_id: Option<String>,
    /// The `email` claim. A token with one belongs to a person, a token without to a service account.
    pub email: Option<String>,
    /// The values of the configured groups claim.
    pub groups: Vec<String>,
    /// The values of the `scope` claim.
    pub scopes: Vec<String>,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The token itself, for credential services and schedulers that take it in the caller's name.
    pub token: Secret,
}

impl Principal {
    /// Whether the token belongs to a service account, not to a person.
    pub fn is_service_account(&self) -> bool {
        self.email.is_none()
    }
}
