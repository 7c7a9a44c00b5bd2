//! Checks the claims of a token whose signature is valid, or which an authorization server vouches for: is it an access token for this service, and valid now?
//!
//! Pure: the clock is an argument. Every reason is a fixed text, so that no part of a token can reach an answer or a log, except the
//! issuer and the audiences, which are not secret.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{AuthnError, Config, usernames};
use crate::domain::{Principal, Secret, TokenValidator, Username};

/// The maximum number of characters of an issuer, or of the audiences, that are shown.
const MAX_SHOWN: usize = 200;

/// The rules of RFC 9068, section 4, and RFC 8725, section 3, with what the site configured.
pub(super) fn principal(
    claims: &Map<String, Value>,
    header_type: Option<&str>,
    config: &Config,
    (token, validator): (&Secret, TokenValidator),
    now: Timestamp,
) -> Result<Principal, AuthnError> {
    check_kind(claims, header_type)?;
    let expires_at = check_times(claims, config, now)?;
    check_issuer_and_audience(claims, config)?;
    let username = at_path(claims, &config.username_claim).and_then(Value::as_str).and_then(|name| Username::new(name).ok());
    let username = username.ok_or_else(|| AuthnError::UsernameClaim { claim: config.username_claim.clone() })?;
    usernames::check(&username, &config.refused_usernames, config.username_pattern.as_ref())?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    let email = text("email");
    Ok(Principal {
        subject: text("sub").unwrap_or_else(|| username.as_str().to_owned()),
        username,
        client_id: text("azp").or_else(|| text("client_id")),
        // Providers write no address into the tokens of service accounts.
        is_service_account: email.is_none(),
        email,
        groups: texts(at_path(claims, &config.groups_claim)),
        scopes: text("scope").map(|scope| scope.split_ascii_whitespace().map(str::to_owned).collect()).unwrap_or_default(),
        expires_at,
        token: token.clone(),
        validator: Some(validator),
    })
}

/// Refuses a token that has expired or expires too soon.
pub(super) fn check_expiry(expires_at: Timestamp, config: &Config, now: Timestamp) -> Result<(), AuthnError> {
    let remaining = expires_at.as_second().saturating_sub(now.as_second());
    if remaining.saturating_add(seconds(config.leeway)) <= 0 {
        return Err(AuthnError::Expired);
    }
    if config.min_token_ttl > 0 && remaining < seconds(config.min_token_ttl) {
        return Err(AuthnError::EndsTooSoon { remaining, required: config.min_token_ttl });
    }
    Ok(())
}

/// What issuers call an access token of which no possession of a key has to be proved, in `token_type` and `token_use`.
const ACCESS_KINDS: [&str; 6] = ["bearer", "access", "access_token", "jwt", "at+jwt", "urn:ietf:params:oauth:token-type:access_token"];

fn check_kind(claims: &Map<String, Value>, header_type: Option<&str>) -> Result<(), AuthnError> {
    // RFC 9068, 2.1 and RFC 8725, 3.11; most providers still write `JWT`, or nothing.
    let header_type = header_type.map(str::to_ascii_lowercase);
    let marked_access = match header_type.as_deref().map(|text| text.strip_prefix("application/").unwrap_or(text)) {
        None | Some("jwt") => false,
        Some("at+jwt") => true,
        Some(_) => return Err(AuthnError::Invalid("it is another kind of token than an access token")),
    };
    // Keycloak says in the claims what a token is: Bearer or DPoP, ID, Refresh, Offline, Logout.
    let marked_access = match claims.get("typ").and_then(Value::as_str) {
        None => marked_access,
        Some(kind) if kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("dpop") => true,
        Some(kind) if kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("at+jwt") => marked_access,
        Some(_) => return Err(AuthnError::Invalid("it is another kind of token than an access token")),
    };
    // RFC 7662, 2.2, and Cognito and Hydra: an introspection answers for refresh tokens too, and a DPoP token has to be proved.
    let is_access = |kind: &str| ACCESS_KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known));
    let mut kinds = ["token_type", "token_use"].into_iter().filter_map(|name| claims.get(name)).filter(|kind| !kind.is_null());
    if kinds.any(|kind| !kind.as_str().is_some_and(is_access)) {
        return Err(AuthnError::Invalid("it is another kind of token than a bearer access token"));
    }
    // RFC 7800: the presenter of such a token must prove possession of the key (RFC 8705, RFC 9449). This is not checked here, so these
    // tokens are refused.
    if claims.contains_key("cnf") {
        return Err(AuthnError::Invalid("it is bound to a key of its client (cnf): have the identity provider issue plain bearer tokens"));
    }
    // OpenID Connect Core, 2 and 3.3.2.11: only ID tokens carry hashes of other tokens. Older Keycloak releases put `nonce`
    // into access tokens as well, which is why it counts only where nothing marks the token as one.
    if claims.contains_key("at_hash") || claims.contains_key("c_hash") || (claims.contains_key("nonce") && !marked_access) {
        return Err(AuthnError::Invalid("it is an ID token: send the access token"));
    }
    Ok(())
}

fn check_times(claims: &Map<String, Value>, config: &Config, now: Timestamp) -> Result<Timestamp, AuthnError> {
    let leeway = seconds(config.leeway);
    let latest_start = now.as_second().saturating_add(leeway);
    let expires = date(claims, "exp")?.ok_or(AuthnError::Invalid("it does not say when it expires"))?;
    let expires_at = Timestamp::from_second(expires).map_err(|_| AuthnError::Invalid("a time in it is no time"))?;
    if date(claims, "nbf")?.is_some_and(|start| start > latest_start) {
        return Err(AuthnError::Invalid("it is not valid yet"));
    }
    if date(claims, "iat")?.is_some_and(|issued| issued > latest_start) {
        return Err(AuthnError::Invalid("it was issued in the future: are the clocks right?"));
    }
    check_expiry(expires_at, config, now)?;
    Ok(expires_at)
}

fn check_issuer_and_audience(claims: &Map<String, Value>, config: &Config) -> Result<(), AuthnError> {
    let issuer = claims.get("iss").and_then(Value::as_str);
    if let Some(wanted) = &config.issuer
        && issuer != Some(wanted)
    {
        return Err(AuthnError::Issuer { seen: printable(issuer.unwrap_or("nobody")), wanted: wanted.clone() });
    }
    if !config.audience.is_empty() {
        let seen = texts(claims.get("aud"));
        if !seen.iter().any(|audience| config.audience.contains(audience)) {
            let seen = if seen.is_empty() { "nobody".to_owned() } else { printable(&seen.join(", ")) };
            return Err(AuthnError::Audience { seen, wanted: config.audience.join(", ") });
        }
    }
    Ok(())
}

/// The beginning of a text, in printable form for a message. The token's signature was checked, so the provider wrote the text.
fn printable(text: &str) -> String {
    text.chars().take(MAX_SHOWN).filter(|c| !c.is_control()).collect()
}

/// A NumericDate (RFC 7519, 2) in whole seconds.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, AuthnError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // What lies beyond the calendar is taken as its end.
    let latest = Timestamp::MAX.as_second();
    let seconds = value.as_i64().or_else(|| value.as_u64().map(|_| latest)).or_else(|| {
        #[expect(clippy::cast_possible_truncation, reason = "the cast of a float saturates")]
        value.as_f64().map(|seconds| seconds.floor() as i64)
    });
    let seconds = seconds.ok_or(AuthnError::Invalid("a time in it is no time"))?;
    if seconds < 0 { Err(AuthnError::Invalid("a time in it is no time")) } else { Ok(Some(seconds.min(latest))) }
}

/// The claim with that name, or at that dotted path.
fn at_path<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut segments = path.split('.');
    let first = claims.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| value.get(segment))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
