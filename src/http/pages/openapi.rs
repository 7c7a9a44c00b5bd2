//! The parts of the OpenAPI document that the handlers do not declare themselves.

use std::time::Duration;

use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ClientCredentials, Flow, Http, HttpAuthScheme, OAuth2, Scopes, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Required, ServerBuilder};

use crate::http::DocServer;
use crate::http::Docs;
use crate::http::problem::{self, ApiResponseError, ErrorType};

/// The security scheme for tokens of the identity provider, and that for any token. The names are FirecREST's.
const OAUTH2: &str = "APIAuthDependency";
const BEARER: &str = "HTTPBearer";

/// The document that is committed as `openapi/openapi.json`, with an example's token endpoint.
pub fn document() -> String {
    let docs = Docs {
        token_url: Some("https://identity.example.org/token".to_owned()),
        scopes: std::collections::BTreeMap::new(),
        servers: Vec::new(),
        examples: None,
    };
    let document = complete(crate::http::routes(Duration::ZERO).into_openapi(), &docs, "");
    let mut text = serde_json::to_string_pretty(&document).expect("the document holds strings, numbers and maps");
    text.push('\n');
    text
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Goldcrest",
        description = "Jobs and files on HPC clusters, for callers with an OAuth2 access token. The interface is that of FirecREST v2.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ApiResponseError, ErrorType)),
    tags(
        (name = "compute", description = "Jobs"),
        (name = "filesystem", description = "Files"),
        (name = "status", description = "Systems and their health"),
        (name = "tasks", description = "Work that goes on after its request"),
    ),
)]
struct Base;

/// The frame that the routes are added to.
pub(crate) fn base() -> OpenApi {
    Base::openapi()
}

/// Adds the common parts of all operations: parameters of the path, error responses, and security.
pub(crate) fn complete(mut document: OpenApi, docs: &Docs, root_path: &str) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        // Whoever has a share link may follow it.
        let is_open = path == "/status/liveness/" || path == "/shares/{share_id}";
        for operation in operations(item) {
            add_path_parameters(operation, path);
            add_conditions(operation);
            add_errors(operation);
            operation.security = Some(if is_open { Vec::new() } else { requirements(docs) });
        }
    }
    let components = document.components.get_or_insert_default();
    if let Some(token_url) = &docs.token_url {
        let scopes = docs.scopes.iter().map(|(scope, description)| (scope.as_str(), description.as_str()));
        let flow = Flow::ClientCredentials(ClientCredentials::new(token_url, Scopes::from_iter(scopes)));
        components.add_security_scheme(OAUTH2, SecurityScheme::OAuth2(OAuth2::new([flow])));
    }
    components.add_security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let server = |server: &DocServer| ServerBuilder::new().url(&server.url).description(server.description.as_ref()).build();
    if !docs.servers.is_empty() {
        document.servers = Some(docs.servers.iter().map(server).collect());
    } else {
        document.servers = Some(vec![ServerBuilder::new().url(if root_path.is_empty() { "/" } else { root_path }).build()]);
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete, &mut item.options]
        .into_iter()
        .flatten()
}

/// One of the security schemes that there are.
fn requirements(docs: &Docs) -> Vec<SecurityRequirement> {
    let schemes = docs.token_url.is_some().then_some(OAUTH2).into_iter().chain([BEARER]);
    schemes.map(|scheme| SecurityRequirement::new(scheme, std::iter::empty::<String>())).collect()
}

fn add_path_parameters(operation: &mut Operation, path: &str) {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = names.map(|name| {
        let description = if name == "job_id" {
            "The scheduler's id for the job, such as `1234`, `1234_5` or `123[1].server`"
        } else if name == "template_name" {
            "The name of the template"
        } else if name == "schedule_id" {
            "The id of the schedule"
        } else if name == "task_id" {
            "The id of the task"
        } else if name == "share_id" {
            "The id of the share link"
        } else if name == "upload_id" {
            "The id of the upload, from the `Location` of its creation"
        } else {
            "The name of the system, in any case"
        };
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build()
            .into()
    });
    let own = operation.parameters.take().unwrap_or_default();
    let all: Vec<_> = parameters.chain(own).collect();
    operation.parameters = (!all.is_empty()).then_some(all);
}

/// Adds the parts of conditional requests: the request header, the response 304, and the headers of the full response.
fn add_conditions(operation: &mut Operation) {
    let says_so_itself = operation.responses.responses.contains_key("412");
    if !operation.responses.responses.contains_key("304") || says_so_itself {
        return;
    }
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let known = ParameterBuilder::new()
        .name("If-None-Match")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some("The `ETag` of the response that the client has"))
        .schema(Some(text()))
        .build();
    operation.parameters.get_or_insert_default().push(known.into());
    let fields = [
        ("Age", "Seconds since the scheduler gave this information"),
        ("Cache-Control", "Seconds for which the same response is given again, as `max-age`"),
        ("ETag", "Changes whenever the response changes"),
    ];
    for status in ["200", "304"] {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
            let header = |description: &str| RefOr::T(HeaderBuilder::new().schema(Some(text())).description(Some(description)).build());
            response.headers.extend(fields.map(|(name, description)| (name.to_owned(), header(description))));
        }
    }
}

fn add_errors(operation: &mut Operation) {
    for (status, description) in [("4XX", "The request failed; see `message`"), ("5XX", "The request failed; see `message`")] {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ApiResponseError"))).build();
        let response = ResponseBuilder::new().description(description).content(problem::MEDIA_TYPE, content).build();
        operation.responses.responses.insert(status.to_owned(), response.into());
    }
}
