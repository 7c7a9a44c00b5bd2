//! Listings and searches below `/filesystem/{system_name}/ops`: whole, in pages, and as streams.

use axum::Json;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::filesystem::WalkOptions;
use crate::http::extract::access::ReadAccess;
use crate::http::extract::parameters::Parameters;
use crate::http::extract::query;
use crate::http::filesystem::json_stream;
use crate::http::filesystem::model::file::{File, GetDirectoryLsResponse, GetFileStatResponse};
use crate::http::filesystem::model::listing::{FindParameters, GetFindResponse, LsParameters};
use crate::http::filesystem::model::request::StatParameters;
use crate::http::filesystem::ndjson::Lines;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::service::entries;

/// The status of a file
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/stat",
    operation_id = "get_stat_filesystem__system_name__ops_stat_get",
    tag = "filesystem",
    params(StatParameters),
    responses((status = 200, description = "The status", body = GetFileStatResponse))
)]
pub(crate) async fn stat(ReadAccess(access): ReadAccess, query: Parameters<StatParameters>) -> Result<Json<GetFileStatResponse>, Problem> {
    let stat = entries::stat(&access, &query.0.path, query.0.dereference).await?;
    Ok(Json(stat.into()))
}

/// List a directory
///
/// The whole directory in one document, sorted by name or by `sort`. A directory of more than 20,000 entries is listed unsorted, in
/// the order in which it is read, and is refused (413) if `sort` is given. With `pageSize`, the response is one page with a `Link`
/// (`rel="next"`) to the next one. With `Accept: application/x-ndjson`, it has one line for each entry as it is found, without any
/// limit; an error on the way is reported in a last line with the member `error`.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/ls",
    operation_id = "get_ls_filesystem__system_name__ops_ls_get",
    tag = "filesystem",
    params(LsParameters),
    responses((
        status = 200,
        description = "The entries",
        content((GetDirectoryLsResponse = "application/json"), (File = "application/x-ndjson")),
        headers(("Link" = Option<String>, description = "The next page, as `rel=\"next\"` (RFC 8288)")),
    ))
)]
pub(crate) async fn ls(
    ReadAccess(access): ReadAccess,
    query: Parameters<LsParameters>,
    lines: Lines,
    uri: Uri,
) -> Result<Response, Problem> {
    let (path, options) = (&query.0.path, query.0.options());
    match (query.0.page(), query.0.order()) {
        (None, None) if lines.wanted() => {
            let entries = entries::walk(&access, path, WalkOptions { list: options, ..WalkOptions::default() }).await?;
            Ok(lines.answer(entries))
        }
        _ if lines.wanted() => {
            let message = "a stream has no order and no pages: leave `sort`, `order`, `pageSize` and `cursor` out, or ask for JSON";
            Err(InvalidInput::new(Place::Query, "sort", message).into())
        }
        (Some(page), _) => {
            let found = entries::page(&access, path, options, &page).await?;
            let link = found.cursor.map(|cursor| next_page(&uri, &cursor));
            let link = link.map(|link| [(header::LINK, link)]);
            Ok((link, Json(GetDirectoryLsResponse::from(found.entries))).into_response())
        }
        (None, Some(order)) => Ok(json_stream::entries(entries::sorted(&access, path, options, order).await?, None)),
        (None, None) => {
            let (ready, rest) = entries::whole(&access, path, options).await?;
            Ok(json_stream::entries(ready, rest))
        }
    }
}

/// Search a directory tree
///
/// Hidden entries are searched too, links are not followed unless `dereference` is set. With `Accept: application/x-ndjson`, the
/// response has one line for each result as it is found; an error on the way is reported in a last line with the member `error`.
#[utoipa::path(
    get,
    path = "/filesystem/{system_name}/ops/find",
    operation_id = "get_find_filesystem__system_name__ops_find_get",
    tag = "filesystem",
    params(FindParameters),
    responses((
        status = 200,
        description = "The results",
        content((GetFindResponse = "application/json"), (File = "application/x-ndjson")),
    ))
)]
pub(crate) async fn find(ReadAccess(access): ReadAccess, query: Parameters<FindParameters>, lines: Lines) -> Result<Response, Problem> {
    let (path, options, limit) = (&query.0.path, query.0.options(), query.0.limit);
    if lines.wanted() {
        return Ok(lines.answer(entries::search_stream(&access, path, options, limit).await?));
    }
    let found = entries::search(&access, path, options, limit).await?;
    Ok(Json(GetFindResponse::from(found)).into_response())
}

/// The `Link` to the next page (RFC 8288), relative to the request's own address: the same query with another cursor.
fn next_page(uri: &Uri, cursor: &str) -> HeaderValue {
    let mut target = query::without(uri.query().unwrap_or_default(), &["cursor"]);
    target.push_str("cursor=");
    target.extend(utf8_percent_encode(cursor, NON_ALPHANUMERIC));
    HeaderValue::from_str(&format!("<?{target}>; rel=\"next\"")).expect("the query of a URI has no character that a header cannot have")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_the_query_and_changes_the_cursor_alone() {
        let uri: Uri = "/filesystem/daint/ops/ls?path=/a%20b&cursor=old&pageSize=2".parse().unwrap();
        assert_eq!(next_page(&uri, "aZ_-"), "<?path=/a%20b&pageSize=2&cursor=aZ%5F%2D>; rel=\"next\"");
    }
}
