//! Normalises the path of a request: the prefix of the site, the case of letters, and slashes at the end.

use axum::extract::{MatchedPath, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::error::Kind;
use crate::http::Api;
use crate::http::problem::Problem;
use crate::http::request_info::Prefix;

/// Removes the site's prefix if the proxy in front left it, and lowers the letters of the path except for the
/// ids of jobs and uploads: the contract is case-insensitive, and they are not.
pub(crate) fn normalise(root_path: &str, mut request: Request) -> Request {
    let path = request.uri().path();
    let (prefix, rest) = match path.strip_prefix(root_path) {
        Some(rest) if !root_path.is_empty() && (rest.is_empty() || rest.starts_with('/')) => (root_path, rest),
        _ => ("", path),
    };
    let method = overridden(request.method(), rest, request.headers());
    let as_it_is = prefix.is_empty() && !rest.is_empty() && !rest.bytes().any(|byte| byte.is_ascii_uppercase());
    let prefix = Prefix::new(prefix);
    let lowered = (!as_it_is).then(|| lower(if rest.is_empty() { "/" } else { rest }));
    if let Some(method) = method {
        *request.method_mut() = method;
    }
    match lowered.map(|lowered| with_path(request.uri(), &lowered)) {
        Some(None) => return request,
        Some(Some(uri)) => *request.uri_mut() = uri,
        None => {}
    }
    request.extensions_mut().insert(prefix);
    request
}

/// The actual method of a POST to a resumable upload (tus 1.0, `X-HTTP-Method-Override`).
fn overridden(method: &Method, path: &str, headers: &HeaderMap) -> Option<Method> {
    let name = headers.get("x-http-method-override").filter(|_| *method == Method::POST)?.as_bytes();
    if !is_item(&path.split('/').collect::<Vec<_>>(), "filesystem", "uploads") {
        return None;
    }
    [Method::PATCH, Method::DELETE, Method::HEAD].into_iter().find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name))
}

/// No route has this path. If one has it with or without a slash at its end, the client is redirected there.
pub(crate) async fn not_found(State(api): State<Api>, request: Request) -> Response {
    let path = request.uri().path();
    let other = path.strip_suffix('/').map_or_else(|| format!("{path}/"), ToOwned::to_owned);
    let prefix = request.extensions().get::<Prefix>().map_or("", Prefix::as_str);
    if !api.routes.iter().any(|route| matches(route, &other)) {
        return Problem::new(Kind::NotFound, format!("Not Found: no operation has this path; {prefix}/docs lists them")).into_response();
    }
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    redirect(&format!("{prefix}{other}{query}"))
}

/// The route does not have this method; `Allow` is added by the router.
pub(crate) async fn method_not_allowed(State(api): State<Api>, request: Request) -> Response {
    if request.method() == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let prefix = request.extensions().get::<Prefix>().map_or("", Prefix::as_str);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let methods = api.query_names.methods(route);
    // The pages of the documentation are in no document.
    let methods = if methods.is_empty() { vec![&Method::GET] } else { methods };
    let methods: Vec<&str> = methods.into_iter().map(Method::as_str).collect();
    Problem::method_not_allowed(&methods, &format!("{prefix}/docs")).into_response()
}

/// Marks an OPTIONS request that is no preflight (Fetch, 3.2.2) while it passes the CORS layer, which treats each as a preflight.
#[derive(Clone)]
struct PlainOptions;

/// Keeps OPTIONS requests that are no preflight from being answered as one: they are for the resource, as those of tus.
pub(crate) async fn set_options_aside(mut request: Request) -> Request {
    let headers = request.headers();
    let preflight = headers.contains_key(header::ORIGIN) && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() == Method::OPTIONS && !preflight {
        request.extensions_mut().insert(PlainOptions);
        *request.method_mut() = Method::GET;
    }
    request
}

/// Undoes [`set_options_aside`].
pub(crate) async fn restore_options(mut request: Request) -> Request {
    if request.extensions_mut().remove::<PlainOptions>().is_some() {
        *request.method_mut() = Method::OPTIONS;
    }
    request
}

/// Redirects the client, with the same method and body.
pub(crate) fn redirect(location: &str) -> Response {
    match HeaderValue::from_str(location) {
        Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response(),
        Err(_) => Problem::new(Kind::NotFound, "Not Found").into_response(),
    }
}

/// Whether the segments of a path are those of an item of a collection on a system, such as `/compute/{system}/jobs/{id}`, or of a path below it.
fn is_item(segments: &[&str], subject: &str, collection: &str) -> bool {
    segments.len() > 4 && segments[1].eq_ignore_ascii_case(subject) && segments[3].eq_ignore_ascii_case(collection)
}

fn lower(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').collect();
    let has_id = is_item(&segments, "compute", "jobs") || is_item(&segments, "filesystem", "uploads");
    let lowered = segments.iter().enumerate().map(|(index, segment)| match index {
        4 if has_id => (*segment).to_owned(),
        _ => segment.to_ascii_lowercase(),
    });
    lowered.collect::<Vec<_>>().join("/")
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

/// Whether `path` is an instance of `template`, whose parameters are in braces and match one segment.
fn matches(template: &str, path: &str) -> bool {
    let is_parameter = |part: &str| part.starts_with('{');
    template.split('/').count() == path.split('/').count()
        && template.split('/').zip(path.split('/')).all(|(part, segment)| part == segment || (is_parameter(part) && !segment.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use proptest::prelude::*;

    fn normalised(root_path: &str, uri: &str) -> (String, String) {
        let request = normalise(root_path, Request::get(uri).body(Body::empty()).unwrap());
        let prefix = request.extensions().get::<Prefix>().unwrap().as_str().to_owned();
        (prefix, request.uri().to_string())
    }

    #[test]
    fn letters_are_lowered_but_for_job_ids_and_queries() {
        assert_eq!(normalised("", "/Status/DAINT/Nodes?Path=A").1, "/status/daint/nodes?Path=A");
        assert_eq!(normalised("", "/Filesystem/Daint/Uploads/aBc").1, "/filesystem/daint/uploads/aBc");
        assert_eq!(normalised("", "/COMPUTE/Daint/Jobs/12.Server/METADATA").1, "/compute/daint/jobs/12.Server/metadata");
    }

    #[test]
    fn the_prefix_is_taken_off_where_it_is_a_whole_one() {
        assert_eq!(normalised("/api/v2", "/api/v2/status/systems"), ("/api/v2".to_owned(), "/status/systems".to_owned()));
        assert_eq!(normalised("/api/v2", "/api/v2"), ("/api/v2".to_owned(), "/".to_owned()));
        assert_eq!(normalised("/api/v2", "/api/v22/status"), (String::new(), "/api/v22/status".to_owned()));
        assert_eq!(normalised("/api/v2", "/status/systems"), (String::new(), "/status/systems".to_owned()));
    }

    proptest! {
        #[test]
        fn any_path_is_normalised_once_and_for_all(path in "/[!-~]{0,40}") {
            let request = |uri: &str| Request::get(uri).body(Body::empty()).ok();
            if let Some(first) = request(&path).map(|request| normalise("/api", request)) {
                let uri = first.uri().to_string();
                let second = normalise("", request(&uri).unwrap());
                prop_assert_eq!(second.uri().to_string(), uri);
            }
        }
    }

    #[test]
    fn a_template_takes_one_segment_for_each_parameter() {
        assert!(matches("/status/{system_name}/nodes", "/status/daint/nodes"));
        assert!(!matches("/status/{system_name}/nodes", "/status//nodes"));
        assert!(!matches("/status/{system_name}/nodes", "//evil.example/nodes"));
        assert!(!matches("/status/{system_name}/nodes", "/status/daint/nodes/"));
    }
}
