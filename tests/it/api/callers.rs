//! Who calls in the tests, and what they may do.

use std::sync::Arc;

use async_trait::async_trait;
use goldcrest::authn::{Authenticator, AuthnError, PrincipalSource};
use goldcrest::authz::{Authorizer, AuthzError, Basis, Decision, Relation, Ruling};
use goldcrest::domain::{Principal, Secret, SystemName, Username};

use crate::support::principal;

/// The token `token-of-<user>` is that user's, `two-seconds-of-<user>` for two seconds; `expiring` ends too soon; `no-keys` cannot be checked; others do not hold.
pub struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, token: &Secret) -> Result<Arc<Principal>, AuthnError> {
        match token.expose() {
            "expiring" => Err(AuthnError::EndsTooSoon { remaining: 3, required: 30 }),
            "no-keys" => Err(AuthnError::KeysUnavailable("connection to 10.0.0.1 refused".into())),
            token if token.starts_with("two-seconds-of-") => {
                let expires_at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(2);
                Ok(Arc::new(Principal { expires_at, ..principal(&token["two-seconds-of-".len()..]) }))
            }
            token => match token.strip_prefix("token-of-") {
                Some(user) if Username::new(user).is_ok() => Ok(Arc::new(principal(user))),
                Some(_) => Err(AuthnError::Invalid("the claim that holds the user name has no usable user name")),
                None => Err(AuthnError::Invalid("its signature does not match")),
            },
        }
    }
}

/// Everyone but `mallory` may use every cluster; about `nobody` there is no decision. Of a cluster named `hidden`, only
/// `alice` knows.
pub struct Relations;

#[async_trait]
impl Authorizer for Relations {
    async fn check_all(&self, by: &Principal, relation: Relation, systems: &[&SystemName]) -> Result<Vec<Ruling>, AuthzError> {
        if by.username.as_str() == "nobody" {
            return Err(AuthzError::Unavailable("connection to 10.0.0.2 refused".into()));
        }
        let decide = |system: &&SystemName| {
            let denied = match by.username.as_str() {
                "mallory" => true,
                "reader" => relation != Relation::Read,
                "submitter" => matches!(relation, Relation::Write | Relation::Run),
                user => system.as_str() == "hidden" && user != "alice",
            };
            let basis = Basis {
                authorizer: "double",
                relation: "access".to_owned(),
                object: format!("system:{system}"),
                by: Some("01MODEL".into()),
                cached: true,
            };
            Ruling { decision: if denied { Decision::Denied } else { Decision::Allowed }, basis }
        };
        Ok(systems.iter().map(decide).collect())
    }
}

/// The service account, or an identity provider that is down.
pub struct Source(pub bool);

#[async_trait]
impl PrincipalSource for Source {
    async fn principal(&self) -> Result<Principal, AuthnError> {
        if self.0 { Ok(principal("checker")) } else { Err(AuthnError::ServiceAccount("connection to 10.0.0.3 refused".into())) }
    }
}
