//! Tokens of a JupyterHub, which is asked whose they are.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;

use super::lookups::Lookups;
use super::validator::{Recognition, Rejection, SetupError, TokenService, TokenServiceError, Validator};
use super::{AuthnError, Config as CommonConfig, JupyterHubConfig, UsernamePattern, jwt, usernames};
use crate::domain::{Principal, Secret, TokenValidator, Username};
use crate::rest::{Client, Request, Response, Url};

const NAME: &str = "the JupyterHub";
/// The maximum size of the Hub's description of a user, which lists groups, servers and scopes.
const MAX_ANSWER: usize = 1024 * 1024;
/// A request that lasts, such as the following of a log, has to be sent again after this time: the Hub does not say when a token ends.
const MAX_REQUEST: Duration = Duration::from_secs(60 * 60);
/// The maximum number of characters of scopes that are shown.
const MAX_SHOWN: usize = 200;

/// Asks a Hub.
pub(super) struct JupyterHub {
    config: JupyterHubConfig,
    api_url: Url,
    client: Client,
    refused_usernames: Vec<String>,
    username_pattern: Option<UsernamePattern>,
    lookups: Lookups<User>,
}

/// The owner of a token, as the Hub describes them. Unknown members are ignored.
#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    groups: Vec<String>,
    /// Absent in answers of Hubs before 2.0, whose tokens have no scopes.
    #[serde(default)]
    scopes: Vec<String>,
}

/// The Hub's description of itself.
#[derive(Deserialize)]
struct Version {
    version: String,
}

impl JupyterHub {
    /// A validator with the rules for user names of `auth.authentication`.
    pub(super) fn new(config: &JupyterHubConfig, common: &CommonConfig, client: Client) -> Result<Self, SetupError> {
        let api_url = Url::parse(&config.api_url);
        let api_url = api_url.map_err(|source| SetupError::Url { key: "api_url", url: config.api_url.clone(), source })?;
        if config.scopes.is_empty() {
            tracing::warn!("no scopes are required of the tokens of {api_url}: tokens of users' servers are accepted too");
        }
        Ok(Self {
            config: config.clone(),
            api_url,
            client,
            refused_usernames: common.refused_usernames.clone(),
            username_pattern: common.username_pattern.clone(),
            lookups: Lookups::new(NAME, Duration::from_secs(config.cache_seconds)),
        })
    }

    /// The owner of a token; `None` if the Hub does not know it, which it says with 403.
    async fn owner(&self, token: &Secret) -> Result<Option<User>, TokenServiceError> {
        let url = self.api_url.with_segments(["user"]);
        let failed = |source| TokenServiceError::call(NAME, &url, source);
        let authorization = Secret::from(format!("token {}", token.expose()));
        let response = self.client.send(self.request(url.clone()).header("authorization", authorization)).await.map_err(failed)?;
        if matches!(response.status, 401 | 403) {
            return Ok(None);
        }
        response.success().and_then(|response| response.json()).map(Some).map_err(failed)
    }

    fn request(&self, url: Url) -> Request {
        let json = Secret::from("application/json".to_owned());
        Request::get(url).timeout(Duration::from_secs(self.config.timeout)).max_body(MAX_ANSWER).header("accept", json)
    }

    fn principal(&self, user: &User, token: &Secret) -> Result<Principal, AuthnError> {
        let username =
            Username::new(&user.name).map_err(|_| AuthnError::Invalid("the name of its user in the JupyterHub is no login name"))?;
        if !self.config.scopes.is_empty() && !self.config.scopes.iter().any(|wanted| is_covered(wanted, &user.scopes)) {
            let seen: String = user.scopes.join(" ").chars().take(MAX_SHOWN).filter(|c| !c.is_control()).collect();
            return Err(AuthnError::Scopes { seen, wanted: self.config.scopes.join(" ") });
        }
        usernames::check(&username, &self.refused_usernames, self.username_pattern.as_ref())?;
        Ok(Principal {
            subject: user.name.clone(),
            username,
            client_id: None,
            email: None,
            groups: user.groups.iter().map(|group| format!("{}{group}", self.config.group_prefix)).collect(),
            scopes: user.scopes.clone(),
            expires_at: Timestamp::now() + MAX_REQUEST,
            token: token.clone(),
            is_service_account: user.kind == "service",
            validator: Some(TokenValidator::JupyterHub),
        })
    }
}

/// Whether scopes of a token include a required one: itself, or the same without its filter (`access:services` for
/// `access:services!service=goldcrest`).
fn is_covered(wanted: &str, scopes: &[String]) -> bool {
    let unfiltered = wanted.split_once('!').map_or(wanted, |(scope, _)| scope);
    scopes.iter().any(|scope| scope == wanted || scope == unfiltered)
}

#[async_trait]
impl Validator for JupyterHub {
    async fn validate(&self, token: &Secret) -> Result<Arc<Principal>, Rejection> {
        // The Hub's tokens have another form, and a token of the identity provider is none of its business.
        if jwt::is_jwt(token.expose()) {
            let error = AuthnError::Invalid("it is not a token of the JupyterHub");
            return Err(Rejection { error, recognition: Recognition::OtherKind });
        }
        let user = self.lookups.get(token, "the JupyterHub does not know it", self.owner(token)).await?;
        Ok(Arc::new(self.principal(&user, token)?))
    }
}

#[async_trait]
impl TokenService for JupyterHub {
    fn name(&self) -> &'static str {
        "JupyterHub"
    }

    async fn probe(&self) -> Result<String, TokenServiceError> {
        // The API's own address answers without a token.
        let url = self.api_url.with_segments([]);
        let failed = |source| TokenServiceError::call(NAME, &url, source);
        let response = self.client.send(self.request(url.clone())).await.and_then(Response::success).map_err(failed)?;
        let Version { version } = response.json().map_err(failed)?;
        let version: String = version.chars().take(20).filter(|c| !c.is_control()).collect();
        let Some(api_token) = &self.config.api_token else { return Ok(format!("version {version}")) };
        match self.owner(api_token).await? {
            Some(user) => Ok(format!("version {version}, Goldcrest is the {} {}", user.kind, user.name)),
            None => Err(TokenServiceError::own_credentials(NAME, &url, "api_token")),
        }
    }
}
