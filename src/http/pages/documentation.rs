//! The documentation pages. They need nothing from the internet.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config as SwaggerConfig;

use crate::error::Kind;
use crate::http::Api;
use crate::http::Docs;
use crate::http::Examples;
use crate::http::middleware::normalise;
use crate::http::problem::Problem;
use crate::http::request_info::Prefix;

/// The paths of the pages.
pub(crate) const PATHS: [&str; 4] = ["/", "/docs/", "/redoc", "/openapi.json"];

/// The paths of their resources.
pub(crate) const PARTS: [&str; 3] = ["/docs", "/docs/{*file}", "/redoc/redoc.standalone.js"];

/// The front page: a description of the server with links.
const FRONT_PAGE: &str = include_str!("front.html");

/// Redoc 2.5 as distributed by its makers, but for the URL of their logo, compressed with gzip. The licences are in the same folder.
const REDOC: &[u8] = include_bytes!("../../../openapi/redoc/redoc.standalone.js.gz");

/// The page around it. The script is named relative to the page, so that prefixes do not matter.
const REDOC_PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Goldcrest API</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png" sizes="32x32">
<style>body { margin: 0; padding: 0; }</style>
</head>
<body>
<redoc spec-url="openapi.json"></redoc>
<script src="redoc/redoc.standalone.js"></script>
</body>
</html>
"#;

/// The title of Swagger UI's page, which is replaced.
const SWAGGER_TITLE: &str = "<title>Swagger UI</title>";
const TITLE: &str = "<title>Goldcrest API</title>";

/// Files of a page may be kept for a day; they change with the version only.
const ONE_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");
/// Pages and the document are fetched again each time.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

struct Pages {
    document: Bytes,
    swagger: Arc<SwaggerConfig<'static>>,
    policy: HeaderValue,
}

/// The routes of the pages for a document.
pub(crate) fn router(document: &OpenApi, docs: &Docs) -> Router<Api> {
    let swagger = SwaggerConfig::new(["../openapi.json"]).validator_url("none").persist_authorization(false);
    let mut document = serde_json::to_value(document).expect("the document holds strings, numbers and maps");
    if let Some(examples) = &docs.examples {
        fill_in(&mut document, examples);
    }
    let pages = Arc::new(Pages { document: document.to_string().into(), swagger: Arc::new(swagger), policy: content_policy(docs) });
    Router::new()
        .route("/", get(front_page))
        .route("/docs", get(to_docs))
        .route("/docs/", get(swagger_page))
        .route("/docs/{*file}", get(swagger_file))
        .route("/redoc", get(redoc_page))
        .route("/redoc/redoc.standalone.js", get(redoc_script))
        .route("/openapi.json", get(document_json))
        .with_state(pages)
}

/// The home directory that the examples of the document name.
const EXAMPLE_HOME: &str = "/home/user";

/// Puts a system and a home directory that exist into the examples of the document.
fn fill_in(document: &mut Value, examples: &Examples) {
    match document {
        Value::Object(members) => {
            if members.get("name").is_some_and(|name| name == "system_name") {
                members.insert("example".to_owned(), examples.system.clone().into());
            }
            for (name, member) in members {
                if name == "example" {
                    move_home(member, &examples.home);
                } else {
                    fill_in(member, examples);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill_in(item, examples)),
        _ => {}
    }
}

fn move_home(example: &mut Value, home: &str) {
    match example {
        Value::String(text) => {
            if let Some(rest) = text.strip_prefix(EXAMPLE_HOME) {
                *text = format!("{home}{rest}");
            }
        }
        Value::Object(members) => members.values_mut().for_each(|member| move_home(member, home)),
        Value::Array(items) => items.iter_mut().for_each(|item| move_home(item, home)),
        _ => {}
    }
}

async fn to_docs(request: Request) -> Response {
    let prefix = request.extensions().get::<Prefix>().map_or("", Prefix::as_str);
    normalise::redirect(&format!("{prefix}/docs/"))
}

/// Serves the front page. Its links are relative, unless the request had the site's prefix, after which the slash may be missing.
async fn front_page(State(pages): State<Arc<Pages>>, request: Request) -> Response {
    match request.extensions().get::<Prefix>().map_or("", Prefix::as_str) {
        "" => html(&pages, FRONT_PAGE),
        prefix => html(&pages, FRONT_PAGE.replace("href=\"", &format!("href=\"{prefix}/"))),
    }
}

async fn document_json(State(pages): State<Arc<Pages>>) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::CACHE_CONTROL, NO_CACHE)];
    (headers, pages.document.clone()).into_response()
}

async fn swagger_page(State(pages): State<Arc<Pages>>) -> Response {
    swagger(&pages, "index.html")
}

async fn swagger_file(State(pages): State<Arc<Pages>>, Path(file): Path<String>) -> Response {
    swagger(&pages, &file)
}

fn swagger(pages: &Pages, file: &str) -> Response {
    match utoipa_swagger_ui::serve(file, Arc::clone(&pages.swagger)) {
        Ok(Some(found)) => {
            let caching = if matches!(file, "index.html" | "swagger-initializer.js") { NO_CACHE } else { ONE_DAY };
            let content_type = HeaderValue::from_str(&found.content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let headers = [
                (header::CONTENT_TYPE, content_type),
                (header::CACHE_CONTROL, caching),
                (header::CONTENT_SECURITY_POLICY, pages.policy.clone()),
            ];
            let mut content = found.bytes.into_owned();
            if file == "index.html" {
                content = String::from_utf8_lossy(&content).replace(SWAGGER_TITLE, TITLE).into_bytes();
            }
            (headers, content).into_response()
        }
        Ok(None) | Err(_) => Problem::new(Kind::NotFound, "Not Found").into_response(),
    }
}

async fn redoc_page(State(pages): State<Arc<Pages>>) -> Response {
    html(&pages, REDOC_PAGE)
}

fn html(pages: &Pages, page: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, NO_CACHE),
        (header::CONTENT_SECURITY_POLICY, pages.policy.clone()),
    ];
    (headers, page).into_response()
}

async fn redoc_script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        (header::CACHE_CONTROL, ONE_DAY),
    ];
    (headers, REDOC).into_response()
}

/// The content security policy of the pages: themselves, tokens from the identity provider, and the servers that they name. Both
/// pages build their styles at run time.
fn content_policy(docs: &Docs) -> HeaderValue {
    let urls = docs.token_url.iter().chain(docs.servers.iter().map(|server| &server.url));
    let origins: Vec<String> = urls.filter_map(|url| origin(url)).collect();
    let origins = origins.join(" ");
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
         worker-src blob:; connect-src 'self' {origins}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Scheme and authority of a URL, if they contain no character with a meaning in a policy.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    (matches!(scheme, "http" | "https") && !authority.is_empty() && authority.chars().all(allowed))
        .then(|| format!("{scheme}://{authority}"))
}
