//! Directories as streams, in pages and searched.
//!
//! A page is found again in the whole directory, after the entry that the cursor names: any replica can serve it, nothing has to
//! be stored between two pages, and an entry that is created or removed meanwhile neither duplicates nor hides another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use futures::future::ready;

use super::{Access, InvalidRequest, Ready, ReadyPermit, ServiceError};
use crate::domain::{DirectoryEntry, FileStat};
use crate::error::Classify;
use crate::filesystem::{EntryStream, FilesystemError, ListOptions, Page, PageRequest, Position, Sort, WalkOptions};

/// The maximum number of entries of a page.
pub const MAX_PAGE_SIZE: usize = 10_000;
/// The default number of entries on a page.
const DEFAULT_PAGE: usize = 1_000;
/// The default number of results of a search.
pub const DEFAULT_FINDINGS: usize = 1_000;
/// The maximum number of results of a search in one response.
pub const MAX_FINDINGS: usize = 10_000;
/// The maximum length of a cursor, in characters. It contains one file name.
const MAX_CURSOR: usize = 1_024;

/// The order of entries that the caller requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// The sort key.
    pub sort: Sort,
    /// Greatest first.
    pub descending: bool,
}

/// The page that the caller requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// The number of entries.
    pub size: Option<u64>,
    /// The end of the previous page: see [`Found::cursor`].
    pub cursor: Option<String>,
    /// The order; that of the cursor if absent.
    pub order: Option<Ordered>,
}

/// A page that was found.
#[derive(Debug)]
pub struct Found {
    /// The entries.
    pub entries: Vec<DirectoryEntry>,
    /// The cursor of the next page; none on the last one.
    pub cursor: Option<String>,
}

/// Walks a directory or a tree, in no particular order.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not let it be read.
pub async fn walk(access: &Access, path: &str, options: WalkOptions) -> Result<EntryStream, ServiceError> {
    let path = access.path(path).await?;
    let files = access.files().await?;
    let (found, transfer) = access.transfer(files.walk(access.principal(), &path, options)).await?;
    Ok(transfer.carry(found))
}

/// The results of a search in one response.
#[derive(Debug)]
pub struct SearchResult {
    /// The entries, in no particular order.
    pub entries: Vec<DirectoryEntry>,
    /// Whether there are more results than the limit.
    pub truncated: bool,
    /// A description of what could not be searched; none if everything was searched.
    pub incomplete: Option<String>,
}

/// Searches a tree for at most `limit` entries, [`DEFAULT_FINDINGS`] by default.
///
/// # Errors
/// If the limit is invalid, the path breaks the policy, or the cluster does not allow it.
pub async fn search(access: &Access, path: &str, options: WalkOptions, limit: Option<u64>) -> Result<SearchResult, ServiceError> {
    let limit = limit.map_or(Some(DEFAULT_FINDINGS), |limit| usize::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=MAX_FINDINGS).contains(limit)).ok_or_else(wrong_limit)?;
    let mut found = walk(access, path, options).await?;
    let (mut entries, mut incomplete) = (Vec::new(), None);
    while entries.len() <= limit
        && let Some(item) = found.next().await
    {
        match item {
            Ok(more) => entries.extend(more),
            Err(error @ FilesystemError::Incomplete { .. }) => incomplete = Some(error.public_message().into_owned()),
            Err(error) => return Err(error.into()),
        }
    }
    let truncated = entries.len() > limit;
    entries.truncate(limit);
    Ok(SearchResult { entries, truncated, incomplete })
}

/// Searches a tree as a stream, for at most `limit` entries if there is a limit.
///
/// # Errors
/// As [`search`]; any limit except 0 is valid.
pub async fn search_stream(access: &Access, path: &str, options: WalkOptions, limit: Option<u64>) -> Result<EntryStream, ServiceError> {
    if limit == Some(0) {
        return Err(wrong_limit().into());
    }
    let mut left = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let found = walk(access, path, options).await?;
    let limited = found.scan((), move |(), item| {
        let item = match item {
            _ if left == 0 => None,
            Ok(mut entries) => {
                entries.truncate(left);
                left -= entries.len();
                Some(Ok(entries))
            }
            error => Some(error),
        };
        ready(item)
    });
    Ok(limited.boxed())
}

fn wrong_limit() -> InvalidRequest {
    InvalidRequest::new("limit", format!("it must be from 1 to {MAX_FINDINGS}"))
}

/// Lists a directory sorted by name; one that is too large for that as an unsorted stream, with no entries in memory before it.
///
/// # Errors
/// If the path breaks the policy, the cluster does not deliver the list, or too many earlier responses are unread.
pub async fn whole(
    access: &Access,
    path: &str,
    options: ListOptions,
) -> Result<(Ready<Vec<DirectoryEntry>>, Option<EntryStream>), ServiceError> {
    match gathered(access, path, options).await {
        Err(ServiceError::Filesystem(FilesystemError::TooManyEntries { .. })) => {
            let rest = walk(access, path, WalkOptions { list: options, ..WalkOptions::default() }).await?;
            Ok((ReadyPermit::take(access, 0)?.hold(Vec::new(), 0)?, Some(rest)))
        }
        listed => Ok((listed?, None)),
    }
}

/// Lists a directory in the requested order.
///
/// # Errors
/// As [`whole`], and if it is too large to be sorted.
pub async fn sorted(access: &Access, path: &str, options: ListOptions, order: Ordered) -> Result<Ready<Vec<DirectoryEntry>>, ServiceError> {
    let mut entries = gathered(access, path, options).await?;
    let value = |entry: &DirectoryEntry| order.sort.value(entry.size, entry.modified);
    entries.value.sort_unstable_by(|a, b| {
        let ascending = (value(a), &a.name).cmp(&(value(b), &b.name));
        if order.descending { ascending.reverse() } else { ascending }
    });
    Ok(entries)
}

async fn gathered(access: &Access, path: &str, options: ListOptions) -> Result<Ready<Vec<DirectoryEntry>>, ServiceError> {
    let path = access.path(path).await?;
    let place = ReadyPermit::take(access, 0)?;
    let entries = access.files().await?.list(access.principal(), &path, options).await?;
    let bytes = entries.iter().map(|entry| size_of::<DirectoryEntry>() + entry.name.len() + 32).sum();
    place.hold(entries, bytes)
}

/// One page of a directory.
///
/// # Errors
/// If the page cannot be, the path breaks the policy, or the cluster does not let it be read.
pub async fn page(access: &Access, path: &str, options: ListOptions, query: &PageQuery) -> Result<Found, ServiceError> {
    let request = query.request()?;
    if options.recursive {
        return Err(InvalidRequest::new("recursive", "a recursive listing has no pages: read it as a stream").into());
    }
    let path = access.path(path).await?;
    let Page { entries, next } = access.files().await?.page(access.principal(), &path, options, &request).await?;
    let order = Ordered { sort: request.sort, descending: request.descending };
    Ok(Found { entries, cursor: next.map(|position| write_cursor(order, &position)) })
}

impl PageQuery {
    fn request(&self) -> Result<PageRequest, InvalidRequest> {
        let size = match self.size {
            None => DEFAULT_PAGE,
            Some(size) => usize::try_from(size)
                .ok()
                .filter(|size| (1..=MAX_PAGE_SIZE).contains(size))
                .ok_or_else(|| InvalidRequest::new("page_size", format!("it must be from 1 to {MAX_PAGE_SIZE}")))?,
        };
        let wrong = |message: &str| InvalidRequest::new("cursor", message);
        let (order, after) = match &self.cursor {
            None => (self.order.unwrap_or_default(), None),
            Some(cursor) => {
                let (order, after) =
                    read_cursor(cursor).ok_or_else(|| wrong("not a cursor issued by this server: take it from the page before"))?;
                if self.order.is_some_and(|asked| asked != order) {
                    return Err(wrong("it belongs to another order than that of `sort` and `order`"));
                }
                (order, Some(after))
            }
        };
        Ok(PageRequest { size, sort: order.sort, descending: order.descending, after })
    }
}

/// Writes the place after which the next page begins. It grants nothing, so that nothing keeps a caller from making one.
fn write_cursor(order: Ordered, position: &Position) -> String {
    let sort = match order.sort {
        Sort::Name => b'n',
        Sort::Size => b's',
        Sort::Modified => b'm',
    };
    let head = [b'1', sort, if order.descending { b'd' } else { b'a' }];
    URL_SAFE_NO_PAD.encode([&head[..], &position.value.to_be_bytes(), &position.name].concat())
}

fn read_cursor(text: &str) -> Option<(Ordered, Position)> {
    if text.len() > MAX_CURSOR {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (head, rest) = bytes.split_first_chunk::<3>()?;
    let (value, name) = rest.split_first_chunk::<16>()?;
    let sort = match head[1] {
        b'n' => Sort::Name,
        b's' => Sort::Size,
        b'm' => Sort::Modified,
        _ => return None,
    };
    let descending = match (head[0], head[2]) {
        (b'1', b'a') => false,
        (b'1', b'd') => true,
        _ => return None,
    };
    Some((Ordered { sort, descending }, Position { value: i128::from_be_bytes(*value), name: name.to_vec() }))
}

/// The status of a file; follows a link when `dereference` is set.
///
/// # Errors
/// If the path breaks the policy, or the cluster does not answer.
pub async fn stat(access: &Access, path: &str, dereference: bool) -> Result<FileStat, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.stat(access.principal(), &path, dereference).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back(
            sort in proptest::sample::select(vec![Sort::Name, Sort::Size, Sort::Modified]),
            descending: bool,
            value: i64,
            name in proptest::collection::vec(0u8.., 0..256),
        ) {
            let (order, position) = (Ordered { sort, descending }, Position { value: value.into(), name });
            prop_assert_eq!(read_cursor(&write_cursor(order, &position)), Some((order, position)));
        }

        #[test]
        fn whatever_a_client_sends_for_a_cursor_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = read_cursor(&text);
        }
    }

    #[test]
    fn a_cursor_of_another_order_and_pages_out_of_bounds_are_refused() {
        let cursor = write_cursor(Ordered::default(), &Position { value: 0, name: b"a".to_vec() });
        let query = |size, order| PageQuery { size, cursor: Some(cursor.clone()), order }.request();
        assert_eq!(query(None, None).unwrap().after, Some(Position { value: 0, name: b"a".to_vec() }));
        assert!(query(None, Some(Ordered::default())).is_ok());
        assert!(query(None, Some(Ordered { sort: Sort::Size, descending: false })).is_err());
        for size in [0, 10_001, u64::MAX] {
            assert!(query(Some(size), None).is_err(), "{size}");
        }
        for cursor in ["", "x", "MW5h", &"A".repeat(2_000)] {
            assert!(PageQuery { cursor: Some(cursor.to_owned()), ..PageQuery::default() }.request().is_err(), "{cursor}");
        }
    }
}
