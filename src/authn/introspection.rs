//! Tokens of any form that an authorization server vouches for (RFC 7662).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::lookups::Lookups;
use super::validator::{Rejection, SetupError, TokenService, TokenServiceError, Validator};
use super::{Config as CommonConfig, IntrospectionConfig, claims};
use crate::domain::{Principal, Secret, TokenValidator};
use crate::rest::{Client, ClientCredentials, Request, RestError, Url};

const NAME: &str = "the introspection endpoint";
const MAX_ANSWER: usize = 256 * 1024;
/// A request that lasts has to be sent again after this time where the server does not say when the token ends, in seconds.
const MAX_REQUEST: i64 = 60 * 60;

/// Asks an authorization server.
pub(super) struct Introspection {
    endpoint: Url,
    credentials: ClientCredentials,
    timeout: Duration,
    client: Client,
    /// The rules for the answers: those of `auth.authentication`, with the names of this section.
    rules: CommonConfig,
    lookups: Lookups<Map<String, Value>>,
}

impl Introspection {
    /// A validator with the rules for user names and times of `auth.authentication`.
    pub(super) fn new(config: &IntrospectionConfig, common: &CommonConfig, client: Client) -> Result<Self, SetupError> {
        let endpoint = Url::parse(&config.url).map_err(|source| SetupError::Url { key: "url", url: config.url.clone(), source })?;
        let credentials = ClientCredentials {
            endpoint: endpoint.clone(),
            method: config.auth_method,
            client_id: config.client_id.clone(),
            secret: config.client_secret.clone(),
            fields: Vec::new(),
        };
        let rules = CommonConfig {
            username_claim: config.username_claim.clone(),
            groups_claim: config.groups_claim.clone(),
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ..common.clone()
        };
        let lookups = Lookups::new(NAME, Duration::from_secs(config.cache_seconds));
        Ok(Self { endpoint, credentials, timeout: Duration::from_secs(config.timeout), client, rules, lookups })
    }

    /// The server's statements about a token; `None` if it is not active.
    async fn statements(&self, token: &Secret) -> Result<Option<Map<String, Value>>, TokenServiceError> {
        let failed = |source| TokenServiceError::call(NAME, &self.endpoint, source);
        let request = Request::post(self.endpoint.clone()).timeout(self.timeout).max_body(MAX_ANSWER);
        let request = request.header("accept", Secret::from("application/json".to_owned()));
        let request = self.credentials.authenticate(request, vec![("token", token.expose()), ("token_type_hint", "access_token")]);
        let response = self.client.send(request).await.map_err(failed)?;
        if matches!(response.status, 400 | 401 | 403) {
            return Err(TokenServiceError::own_credentials(NAME, &self.endpoint, "client_id, client_secret"));
        }
        let mut statements: Map<String, Value> = response.success().and_then(|response| response.json()).map_err(failed)?;
        match statements.get("active") {
            Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Ok(None),
            _ => return Err(failed(RestError::Decode { what: "no member `active`", line: 1, column: 1 })),
        }
        if statements.get("exp").is_none_or(Value::is_null) {
            statements.insert("exp".to_owned(), (Timestamp::now().as_second() + MAX_REQUEST).into());
        }
        Ok(Some(statements))
    }
}

#[async_trait]
impl Validator for Introspection {
    async fn validate(&self, token: &Secret) -> Result<Arc<Principal>, Rejection> {
        let statements = self.lookups.get(token, "the authorization server says that it is not active", self.statements(token)).await?;
        let token = (token, TokenValidator::Introspection);
        Ok(Arc::new(claims::principal(&statements, None, &self.rules, token, Timestamp::now())?))
    }
}

#[async_trait]
impl TokenService for Introspection {
    fn name(&self) -> &'static str {
        "token introspection"
    }

    async fn probe(&self) -> Result<String, TokenServiceError> {
        // No server knows this one, and it takes the right credentials to be told so.
        self.statements(&Secret::from("goldcrest-check-config".to_owned())).await.map(|_| String::new())
    }
}
