//! The development issuer over HTTP: discovery, keys and the token endpoint for the client credentials grant.
//!
//! It signs nothing itself and must not know what a token holds. It is for evaluation and tests, never beside a real API.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{DevelopmentIssuer, IssuerError};
use crate::domain::Secret;
use crate::error::ErrorChain;

/// The largest token request that is read, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

/// Where the issuer is reached beside an API.
pub const PATH: &str = "/issuer";

/// The API, and below [`PATH`] the issuer: one port for both, as a container publishes one.
pub fn beside(api: Router, issuer: Arc<DevelopmentIssuer>) -> Router {
    Router::new().nest(PATH, router(issuer)).fallback_service(api)
}

/// The routes of the issuer. Pages of any origin may ask: the documentation pages of the API, which get tokens here, have another
/// origin, and what proves a client is its secret, never something that a browser sends by itself.
pub fn router(issuer: Arc<DevelopmentIssuer>) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request());
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/certs", get(jwks))
        .route("/token", post(token))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(cors)
        .with_state(issuer)
}

async fn discovery(State(issuer): State<Arc<DevelopmentIssuer>>) -> Json<Value> {
    Json(issuer.discovery())
}

async fn jwks(State(issuer): State<Arc<DevelopmentIssuer>>) -> Json<Value> {
    Json(issuer.jwks())
}

async fn token(State(issuer): State<Arc<DevelopmentIssuer>>, headers: HeaderMap, body: Bytes) -> Result<Response, TokenError> {
    let form = TokenForm::read(&headers, &body)?;
    let (client_id, secret) = credentials(&headers, &form)?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(TokenError::UnsupportedGrantType),
        None => return Err(TokenError::InvalidRequest("grant_type is missing")),
    }
    let basic = headers.contains_key(AUTHORIZATION);
    let issued = issuer.token(&client_id, &secret).map_err(|error| match error {
        IssuerError::InvalidClient => TokenError::InvalidClient { basic },
        IssuerError::Key | IssuerError::Sign(_) => {
            tracing::error!(error = %ErrorChain(&error), "no token could be made");
            TokenError::Failed
        }
    })?;
    let answer = json!({"access_token": issued.access_token.expose(), "token_type": "Bearer", "expires_in": issued.expires_in});
    // RFC 6749, 5.1: no cache may keep a token.
    Ok(([(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], Json(answer)).into_response())
}

/// The parameters that are read of a token request (RFC 6749, 4.4.2 and 2.3.1). Unknown ones are ignored, as the RFC wants.
#[derive(Default)]
struct TokenForm {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
}

impl TokenForm {
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, TokenError> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(TokenError::InvalidRequest("the body must be application/x-www-form-urlencoded"));
        }
        let body = std::str::from_utf8(body).map_err(|_| TokenError::InvalidRequest("the body is not UTF-8"))?;
        let mut form = Self::default();
        for pair in body.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            let Some(name @ ("grant_type" | "client_id" | "client_secret")) = name.as_deref() else { continue };
            let value = decode(value).ok_or(TokenError::InvalidRequest("a parameter is not UTF-8"))?;
            // RFC 6749, 3.2: a parameter must not come twice, and an empty one counts as absent.
            if value.is_empty() {
                continue;
            }
            let repeated = match name {
                "grant_type" => form.grant_type.replace(value).is_some(),
                "client_id" => form.client_id.replace(value).is_some(),
                _ => form.client_secret.replace(value.into()).is_some(),
            };
            if repeated {
                return Err(TokenError::InvalidRequest("a parameter is repeated"));
            }
        }
        Ok(form)
    }
}

/// The client's id and secret, by exactly one of the two methods of RFC 6749, 2.3.1.
fn credentials(headers: &HeaderMap, form: &TokenForm) -> Result<(String, Secret), TokenError> {
    let Some(header) = headers.get(AUTHORIZATION) else {
        let (Some(id), Some(secret)) = (&form.client_id, &form.client_secret) else {
            return Err(TokenError::InvalidClient { basic: false });
        };
        return Ok((id.clone(), secret.clone()));
    };
    if form.client_secret.is_some() {
        return Err(TokenError::InvalidRequest("the client authenticates in two ways at once"));
    }
    let refused = || TokenError::InvalidClient { basic: true };
    let (scheme, encoded) = header.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused());
    }
    let pair = BASE64_STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(refused)?;
    let (id, secret) = pair.split_once(':').ok_or_else(refused)?;
    let (id, secret) = (decode(id).ok_or_else(refused)?, decode(secret).ok_or_else(refused)?);
    if form.client_id.as_ref().is_some_and(|other| *other != id) {
        return Err(TokenError::InvalidRequest("client_id differs from the one that authenticates"));
    }
    Ok((id, secret.into()))
}

/// Undoes the `application/x-www-form-urlencoded` encoding of one name or value.
fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The errors of a token endpoint (RFC 6749, 5.2).
enum TokenError {
    InvalidRequest(&'static str),
    InvalidClient { basic: bool },
    UnsupportedGrantType,
    Failed,
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let (status, code, description) = match &self {
            Self::InvalidRequest(what) => (StatusCode::BAD_REQUEST, "invalid_request", *what),
            Self::InvalidClient { .. } => (StatusCode::UNAUTHORIZED, "invalid_client", "unknown client or wrong secret"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type", "only client_credentials is known here"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "no token could be made"),
        };
        let body = Json(json!({"error": code, "error_description": description}));
        let mut response = (status, [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")], body).into_response();
        if matches!(self, Self::InvalidClient { basic: true }) {
            let challenge = HeaderValue::from_static("Basic realm=\"goldcrest development issuer\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::super::DevelopmentClient;
    use super::*;
    use crate::domain::Username;

    const GRANT: &str = "grant_type=client_credentials";

    #[tokio::test]
    async fn a_client_authenticates_with_http_basic() {
        // `s%2Bc` in the header is `s+c`: RFC 6749 has both parts form-encoded before base64.
        let (status, answer) = ask(Some("Basic ZGVtbzpzJTJCYw=="), GRANT).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["token_type"], "Bearer");
        assert!(answer["access_token"].as_str().is_some_and(|token| token.contains('.')), "{answer}");
        assert!(answer["expires_in"].as_u64().is_some_and(|seconds| seconds > 0), "{answer}");
    }

    #[tokio::test]
    async fn a_client_authenticates_in_the_form() {
        let (status, answer) = ask(None, &format!("{GRANT}&client_id=demo&client_secret=s%2Bc&scope=openid")).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    #[tokio::test]
    async fn a_wrong_secret_is_an_invalid_client() {
        for (header, body) in [
            (Some("Basic ZGVtbzp3cm9uZw=="), GRANT.to_owned()),
            (Some("Bearer abc"), GRANT.to_owned()),
            (Some("Basic !!!"), GRANT.to_owned()),
            (None, format!("{GRANT}&client_id=demo&client_secret=wrong")),
            (None, format!("{GRANT}&client_id=nobody&client_secret=s%2Bc")),
            (None, format!("{GRANT}&client_id=demo")),
            (None, format!("{GRANT}&client_id=demo&client_secret=")),
        ] {
            let (status, answer) = ask(header, &body).await;
            assert_eq!((status, answer["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")), "{header:?} {body}");
        }
    }

    #[tokio::test]
    async fn only_client_credentials_are_granted() {
        let (status, answer) = ask(None, "grant_type=password&client_id=demo&client_secret=s%2Bc").await;
        assert_eq!((status, answer["error"].as_str()), (StatusCode::BAD_REQUEST, Some("unsupported_grant_type")));
    }

    #[tokio::test]
    async fn malformed_requests_are_invalid() {
        for (header, body) in [
            (None, "client_id=demo&client_secret=s%2Bc".to_owned()),
            (None, format!("{GRANT}&{GRANT}&client_id=demo&client_secret=s%2Bc")),
            (None, format!("{GRANT}&client_id=demo&client_secret=%FF")),
            (Some("Basic ZGVtbzpzJTJCYw=="), format!("{GRANT}&client_secret=s%2Bc")),
            (Some("Basic ZGVtbzpzJTJCYw=="), format!("{GRANT}&client_id=other")),
        ] {
            let (status, answer) = ask(header, &body).await;
            assert_eq!((status, answer["error"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_request")), "{header:?} {body}");
        }
    }

    #[tokio::test]
    async fn no_answer_of_the_token_endpoint_may_be_cached() {
        for secret in ["s%2Bc", "wrong"] {
            let response = send(None, &format!("{GRANT}&client_id=demo&client_secret={secret}")).await;
            assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(response.headers()[PRAGMA], "no-cache");
        }
    }

    #[tokio::test]
    async fn the_documentation_pages_may_ask_although_they_have_another_origin() {
        let preflight = Request::options("/token")
            .header("origin", "http://127.0.0.1:8025")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,x-requested-with");
        let response = app().oneshot(preflight.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(response.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
        assert_eq!(response.headers()["access-control-allow-headers"], "authorization,x-requested-with");
        let answer = send(Some("Basic ZGVtbzpzJTJCYw=="), GRANT).await;
        assert_eq!((answer.status(), &answer.headers()["access-control-allow-origin"]), (StatusCode::OK, &"*".parse().unwrap()));
        assert!(!answer.headers().contains_key("access-control-allow-credentials"));
    }

    #[tokio::test]
    async fn discovery_leads_to_the_keys_and_the_token_endpoint() {
        let response = app().oneshot(Request::get("/.well-known/openid-configuration").body(Body::empty()).unwrap()).await.unwrap();
        let document = body(response).await;
        assert_eq!(document["issuer"], "http://127.0.0.1:1");
        assert_eq!(document["token_endpoint"], "http://127.0.0.1:1/token");
        assert_eq!(document["jwks_uri"], "http://127.0.0.1:1/certs");
        let keys = body(app().oneshot(Request::get("/certs").body(Body::empty()).unwrap()).await.unwrap()).await;
        assert!(keys["keys"][0]["kid"].is_string(), "{keys}");
    }

    fn app() -> Router {
        let client = DevelopmentClient {
            id: "demo".to_owned(),
            secret: Secret::from("s+c".to_owned()),
            username: Username::new("fulmar").unwrap(),
            email: None,
            groups: Vec::new(),
        };
        router(Arc::new(DevelopmentIssuer::new("http://127.0.0.1:1".to_owned(), vec![client]).unwrap()))
    }

    async fn ask(authorization: Option<&str>, form: &str) -> (StatusCode, Value) {
        let response = send(authorization, form).await;
        (response.status(), body(response).await)
    }

    async fn send(authorization: Option<&str>, form: &str) -> Response {
        let mut request = Request::post("/token").header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        app().oneshot(request.body(Body::from(form.to_owned())).unwrap()).await.unwrap()
    }

    async fn body(response: Response) -> Value {
        serde_json::from_slice(&to_bytes(response.into_body(), MAX_REQUEST).await.unwrap()).unwrap()
    }
}
