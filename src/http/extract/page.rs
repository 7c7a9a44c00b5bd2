//! Lists in pages: `page` and `pageSize` in the query, `Link` (RFC 8288) and `X-Total-Count` in the answer.
//!
//! Without either parameter a list is returned whole, as in the contract. This module must not know the content of the lists.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::Api;
use crate::http::extract::parameters::{Parameters, lenient};
use crate::http::extract::query;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};

/// The total number of entries.
pub(crate) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// The default number of entries on a page.
const DEFAULT_SIZE: u64 = 100;
/// The maximum number of entries of a page.
const MAX_PAGE_SIZE: u64 = 10_000;

/// The page of a list. Without parameters the list is returned whole.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParameters {
    /// The number of the page, from 1. The header `Link` has the other pages, `X-Total-Count` the number of entries on all of them.
    #[serde(default, deserialize_with = "lenient::count")]
    #[param(minimum = 1)]
    page: Option<u64>,
    /// The number of entries on a page; 100 if only `page` is given.
    #[serde(default, deserialize_with = "lenient::count_of::<1, 10_000, _>")]
    #[param(minimum = 1, maximum = 10_000)]
    page_size: Option<u64>,
}

/// The requested part of a list.
pub(crate) struct Paging {
    page: Option<Page>,
    /// The rest of the query as it was sent: the links to other pages repeat it.
    rest: String,
}

#[derive(Clone, Copy)]
struct Page {
    number: u64,
    size: u64,
}

impl FromRequestParts<Api> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Parameters(asked) = Parameters::<PageParameters>::from_request_parts(parts, api).await?;
        let rest = query::without(parts.uri.query().unwrap_or_default(), &["page", "pageSize"]);
        Ok(Self { page: asked.page()?, rest })
    }
}

impl PageParameters {
    fn page(&self) -> Result<Option<Page>, InvalidInput> {
        if self.page.is_none() && self.page_size.is_none() {
            return Ok(None);
        }
        let page = Page { number: self.page.unwrap_or(1), size: self.page_size.unwrap_or(DEFAULT_SIZE) };
        if page.number == 0 {
            return Err(InvalidInput::new(Place::Query, "page", "pages are counted from 1"));
        }
        if page.size == 0 || page.size > MAX_PAGE_SIZE {
            return Err(InvalidInput::new(Place::Query, "pageSize", format!("it should be from 1 to {MAX_PAGE_SIZE}")));
        }
        Ok(Some(page))
    }
}

impl Paging {
    /// Whether the whole list is requested.
    pub(crate) fn is_whole(&self) -> bool {
        self.page.is_none()
    }

    /// The entries of the page; none after the last page.
    pub(crate) fn of<'a, T>(&self, entries: &'a [T]) -> &'a [T] {
        let Some(page) = self.page else { return entries };
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).min(entries.len());
        let start = (page.number - 1).saturating_mul(page.size);
        &entries[index(start)..index(start.saturating_add(page.size))]
    }

    /// The links to the other pages of a list of `total` entries, and that number.
    pub(crate) fn headers(&self, total: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(page) = self.page else { return headers };
        headers.insert(TOTAL_COUNT, HeaderValue::from(total));
        let last = (total as u64).div_ceil(page.size).max(1);
        let mut links = vec![("first", 1)];
        links.extend((page.number > 1).then(|| ("prev", (page.number - 1).min(last))));
        links.extend((page.number < last).then(|| ("next", page.number + 1)));
        links.push(("last", last));
        // References that contain only a query keep the path (RFC 3986, 4.2), even if a proxy in front changes it.
        let links = links.iter().map(|(relation, number)| {
            let (rest, size) = (&self.rest, page.size);
            format!("<?{rest}page={number}&pageSize={size}>; rel=\"{relation}\"")
        });
        if let Ok(links) = HeaderValue::from_str(&links.collect::<Vec<_>>().join(", ")) {
            headers.insert(header::LINK, links);
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(number: u64, size: u64) -> Paging {
        Paging { page: Some(Page { number, size }), rest: "allusers=true&".to_owned() }
    }

    fn links(number: u64, size: u64, total: usize) -> String {
        paging(number, size).headers(total)[header::LINK].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_page_holds_its_entries_and_none_beyond_the_last() {
        let entries = [1, 2, 3, 4, 5];
        assert_eq!(paging(1, 2).of(&entries), [1, 2]);
        assert_eq!(paging(3, 2).of(&entries), [5]);
        assert_eq!(paging(4, 2).of(&entries), [0; 0]);
        assert_eq!(paging(u64::MAX, u64::MAX).of(&entries), [0; 0]);
        assert_eq!(Paging { page: None, rest: String::new() }.of(&entries), entries);
    }

    #[test]
    fn links_lead_to_the_pages_that_there_are() {
        assert_eq!(
            links(2, 2, 5),
            "<?allusers=true&page=1&pageSize=2>; rel=\"first\", <?allusers=true&page=1&pageSize=2>; rel=\"prev\", \
             <?allusers=true&page=3&pageSize=2>; rel=\"next\", <?allusers=true&page=3&pageSize=2>; rel=\"last\""
        );
        assert!(!links(1, 2, 5).contains("prev") && !links(3, 2, 5).contains("next"));
        assert!(links(9, 2, 5).contains("page=3&pageSize=2>; rel=\"prev\""));
        assert!(!links(1, 2, 0).contains("next"));
    }
}
