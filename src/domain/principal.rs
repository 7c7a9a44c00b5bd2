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
    /// The `email` claim.
    pub email: Option<String>,
    /// The values of the configured groups claim.
    pub groups: Vec<String>,
    /// The values of the `scope` claim.
    pub scopes: Vec<String>,
    /// When the token expires, or has to be verified again.
    pub expires_at: Timestamp,
    /// The token itself, for credential services and schedulers that take it in the caller's name.
    pub token: Secret,
    /// Whether the token counts as that of a service account, not of a person.
    pub is_service_account: bool,
    /// What accepted the token; none for a user who sent none, and for whom the proxy only looks at jobs.
    pub validator: Option<TokenValidator>,
}

impl Principal {
    /// The name of what accepted the token, for logs.
    pub fn validator_name(&self) -> Option<&'static str> {
        self.validator.map(TokenValidator::name)
    }
}

/// A kind of tokens, by what accepts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenValidator {
    /// The keys of an identity provider: JSON Web Tokens.
    Jwt,
    /// A JupyterHub.
    JupyterHub,
    /// The introspection endpoint of an authorization server (RFC 7662).
    Introspection,
}

impl TokenValidator {
    /// The `type` in the configuration, which is the name in logs too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::JupyterHub => "jupyterhub",
            Self::Introspection => "introspection",
        }
    }
}
