//! Access tokens for this service itself: the client credentials grant (RFC 6749, 4.4).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Client, Request, RestError, Url};
use crate::domain::Secret;

const MAX_ANSWER: usize = 64 * 1024;

/// Client authentication at the token endpoint (OpenID Connect Core, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenEndpointAuthMethod {
    /// HTTP Basic.
    #[default]
    ClientSecretBasic,
    /// Form fields.
    ClientSecretPost,
}

/// A client of an identity provider that gets tokens for itself.
pub struct ClientCredentials {
    /// The token endpoint.
    pub endpoint: Url,
    /// How the secret is sent to the token endpoint.
    pub method: TokenEndpointAuthMethod,
    /// Id of the client.
    pub client_id: String,
    /// The client's secret.
    pub secret: Secret,
    /// Further fields of the request, such as `scope` or `audience`.
    pub fields: Vec<(&'static str, String)>,
}

/// The answer of the token endpoint (RFC 6749, 5.1).
#[derive(Debug, Deserialize)]
pub struct Grant {
    /// The token.
    pub access_token: Secret,
    /// Its lifetime in seconds, where the endpoint states it.
    pub expires_in: Option<u64>,
}

/// The reason why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The endpoint refused, with one of the codes of RFC 6749, 5.2.
    #[error("the identity provider at {endpoint} refused the client: {code}")]
    Refused {
        /// The token endpoint.
        endpoint: Url,
        /// The code.
        code: &'static str,
    },
    /// The endpoint gave no answer, or none that is understood.
    #[error("the identity provider at {endpoint} gave no token")]
    Call {
        /// The token endpoint.
        endpoint: Url,
        /// Why not.
        source: RestError,
    },
}

impl ClientCredentials {
    /// Asks for a token.
    ///
    /// # Errors
    /// If the endpoint gives none within `timeout`.
    pub async fn grant(&self, client: &Client, timeout: Duration) -> Result<Grant, GrantError> {
        let request = Request::post(self.endpoint.clone()).timeout(timeout).max_body(MAX_ANSWER);
        let request = request.header("accept", Secret::from("application/json".to_owned()));
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(self.fields.iter().map(|(name, value)| (*name, value.as_str())));
        let request = self.authenticate(request, fields);
        let failed = |source| GrantError::Call { endpoint: self.endpoint.clone(), source };
        let response = client.send(request).await.map_err(failed)?;
        if response.status == 400 || response.status == 401 {
            // The code is one of a few words; anything else is not repeated.
            let code =
                response.json::<GrantErrorBody>().ok().and_then(|refusal| KNOWN_CODES.into_iter().find(|code| *code == refusal.error));
            return Err(GrantError::Refused { endpoint: self.endpoint.clone(), code: code.unwrap_or("no reason given") });
        }
        response.success().and_then(|response| response.json()).map_err(failed)
    }

    /// The request with these fields as its form, and with the client's authentication.
    pub fn authenticate<'a>(&'a self, request: Request, mut fields: Vec<(&'a str, &'a str)>) -> Request {
        match self.method {
            TokenEndpointAuthMethod::ClientSecretBasic => {
                // RFC 6749, 2.3.1: both are form-encoded before they become a user name and a password.
                let secret = Secret::from(Request::form_encode(self.secret.expose()));
                request.basic(&Request::form_encode(&self.client_id), &secret).form(&fields)
            }
            TokenEndpointAuthMethod::ClientSecretPost => {
                fields.extend([("client_id", self.client_id.as_str()), ("client_secret", self.secret.expose())]);
                request.form(&fields)
            }
        }
    }
}

const KNOWN_CODES: [&str; 6] =
    ["invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope"];

#[derive(Deserialize)]
struct GrantErrorBody {
    error: String,
}
