//! Rules for `auth.authentication.validators`.

use super::super::interpret::Interpreter;
use super::{at_least_one, url};
use crate::authn::{self, ValidatorConfig};

/// `auth.authentication.validators`.
pub(super) fn check(walk: &mut Interpreter, config: &authn::Config) {
    let list = "auth.authentication.validators";
    if config.validators.is_empty() {
        walk.report_allowing(list, "is empty: no token could be verified", "a list of sections with the key `type`");
    }
    let is_jwt = |validator: &&ValidatorConfig| matches!(validator, ValidatorConfig::Jwt);
    for (index, validator) in config.validators.iter().enumerate() {
        let path = format!("{list}[{index}]");
        match validator {
            ValidatorConfig::Jwt if config.validators[..index].iter().any(|before| is_jwt(&before)) => {
                walk.report(&format!("{path}.type"), "is there already: the keys of JSON Web Tokens are those of auth.authentication");
            }
            ValidatorConfig::Jwt => {}
            ValidatorConfig::Jupyterhub(config) => jupyterhub(walk, &path, config),
            ValidatorConfig::Introspection(config) => introspection(walk, &path, config),
        }
    }
    if !config.accepts_jwts() && !config.public_certs.is_empty() {
        walk.warning("auth.authentication.public_certs", "has no effect: validators has no `jwt`");
    }
}

fn jupyterhub(walk: &mut Interpreter, path: &str, config: &authn::JupyterHubConfig) {
    url(walk, &format!("{path}.api_url"), &config.api_url);
    at_least_one(walk, &format!("{path}.timeout"), config.timeout);
    let scopes = format!("{path}.scopes");
    if config.scopes.is_empty() && !walk.is_wrong(&scopes) {
        walk.warning(&scopes, "is empty: every token that the Hub knows is accepted, also those of users' servers");
    }
    for (index, scope) in config.scopes.iter().enumerate() {
        let is_scope = !scope.is_empty() && !scope.contains(|c: char| c.is_whitespace() || c.is_control());
        if !is_scope {
            walk.report_allowing(&format!("{scopes}[{index}]"), "is no scope", "such as access:services!service=goldcrest");
        }
    }
}

fn introspection(walk: &mut Interpreter, path: &str, config: &authn::IntrospectionConfig) {
    url(walk, &format!("{path}.url"), &config.url);
    at_least_one(walk, &format!("{path}.timeout"), config.timeout);
    for (key, text) in [("client_id", &config.client_id), ("username_claim", &config.username_claim)] {
        if text.is_empty() {
            walk.report(&format!("{path}.{key}"), "is empty");
        }
    }
    if config.audience.is_empty() {
        walk.warning(&format!("{path}.audience"), "is not set: tokens that were issued for other applications are accepted");
    }
}
