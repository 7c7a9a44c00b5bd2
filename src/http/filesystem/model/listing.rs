//! Query parameters of listings and searches, which go beyond the contract, and their response documents.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::FileType;
use crate::filesystem::{Filter, Glob, ListOptions, Sort, WalkOptions};
use crate::http::enumeration::enum_schema;
use crate::http::extract::parameters::lenient;
use crate::http::filesystem::model::file::File;
use crate::service::entries::{Ordered, PageQuery, SearchResult};

/// The parameters of a listing.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LsParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user")]
    pub(in crate::http) path: String,
    /// Include names that start with a dot.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    show_hidden: bool,
    /// Owners and groups as numbers.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    numeric_uid: bool,
    /// Include all levels below.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    recursive: bool,
    /// Show the entries that links point to instead of the links.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    dereference: bool,
    /// The size of a page, from 1 to 10000 entries. `Link` has the next page.
    #[serde(default, deserialize_with = "lenient::count_of::<1, 10_000, _>")]
    page_size: Option<u64>,
    /// Where the previous page ended, from its `Link`.
    cursor: Option<String>,
    /// The sort key of the entries. Without it, a whole listing is sorted by name.
    #[param(inline, value_type = Option<SortBy>)]
    sort: Option<Sort>,
    /// The direction of the order.
    #[param(inline)]
    order: Option<Direction>,
}

impl LsParameters {
    /// The options of the listing.
    pub(in crate::http) fn options(&self) -> ListOptions {
        ListOptions { hidden: self.show_hidden, numeric_ids: self.numeric_uid, recursive: self.recursive, dereference: self.dereference }
    }

    /// The requested order, if any.
    pub(in crate::http) fn order(&self) -> Option<Ordered> {
        ordered(self.sort, self.order)
    }

    /// The requested page, if any.
    pub(in crate::http) fn page(&self) -> Option<PageQuery> {
        let is_page = self.page_size.is_some() || self.cursor.is_some();
        is_page.then(|| PageQuery { size: self.page_size, cursor: self.cursor.clone(), order: self.order() })
    }
}

/// The requested order, if any: by name and ascending where only one of them is given.
pub(super) fn ordered(sort: Option<Sort>, order: Option<Direction>) -> Option<Ordered> {
    let is_ordered = sort.is_some() || order.is_some();
    is_ordered.then(|| Ordered { sort: sort.unwrap_or_default(), descending: order == Some(Direction::Desc) })
}

enum_schema! {
    /// The sort key of entries; entries with equal keys are sorted by name.
    SortBy of [Sort::Name, Sort::Size, Sort::Modified]
}

/// The direction of the order.
#[derive(Clone, Copy, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum Direction {
    /// The least first.
    Asc,
    /// The greatest first.
    Desc,
}

/// The parameters of a search. Entries must match all conditions.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct FindParameters {
    /// An absolute path inside a configured file system. Results are named relative to it.
    #[param(example = "/home/user")]
    pub(in crate::http) path: String,
    /// A pattern for the last component of the path, as in `find -name`: `*`, `?`, `[a-z]`, `[!a-z]`.
    #[serde(default, deserialize_with = "pattern")]
    #[param(value_type = Option<String>, max_length = 256, example = "slurm-*.out")]
    name: Option<Glob>,
    /// One or more of the letters of `find -type`, separated by commas: `f`, `d`, `l`, `b`, `c`, `p`, `s`.
    #[serde(rename = "type", default, deserialize_with = "types")]
    #[param(value_type = Option<String>, example = "f,l")]
    types: Vec<FileType>,
    /// The minimum size in bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    min_size: Option<u64>,
    /// The maximum size in bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    max_size: Option<u64>,
    /// Changed at this time or later: RFC 3339, or Unix seconds.
    #[serde(default, deserialize_with = "time")]
    #[param(value_type = Option<String>, example = "2026-01-31T08:00:00Z")]
    modified_since: Option<i64>,
    /// Changed before this time: RFC 3339, or Unix seconds.
    #[serde(default, deserialize_with = "time")]
    #[param(value_type = Option<String>)]
    modified_before: Option<i64>,
    /// The maximum depth; 1 is the directory itself.
    #[serde(default, deserialize_with = "lenient::count")]
    max_depth: Option<u64>,
    /// Owners and groups as numbers.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    numeric_uid: bool,
    /// Follow links, and report the entries that they point to.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    dereference: bool,
    /// The number of results after which the search ends, from 1 to 10000. Streams have no limit by default.
    #[serde(default, deserialize_with = "lenient::count_of::<1, 10_000, _>")]
    #[param(default = 1000)]
    pub(in crate::http) limit: Option<u64>,
}

impl FindParameters {
    /// The options of the walk, including the filter.
    pub(in crate::http) fn options(&self) -> WalkOptions {
        WalkOptions {
            list: ListOptions { hidden: true, numeric_ids: self.numeric_uid, recursive: true, dereference: self.dereference },
            max_depth: self.max_depth.map(|depth| u32::try_from(depth).unwrap_or(u32::MAX)),
            filter: Filter {
                name: self.name.clone(),
                types: self.types.clone(),
                min_size: self.min_size,
                max_size: self.max_size,
                modified_since: self.modified_since,
                modified_before: self.modified_before,
            },
        }
    }
}

/// The results, in no particular order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct GetFindResponse {
    output: Vec<File>,
    /// Whether the search was stopped at the limit.
    truncated: bool,
    /// What could not be searched, as text; null if everything was searched.
    incomplete: Option<String>,
}

impl From<SearchResult> for GetFindResponse {
    fn from(found: SearchResult) -> Self {
        let SearchResult { entries, truncated, incomplete } = found;
        Self { output: entries.into_iter().map(File::from).collect(), truncated, incomplete }
    }
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Glob>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Glob::new(&text).map(Some).map_err(serde::de::Error::custom)
}

fn types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FileType>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let letter = |letter: &str| match letter.trim() {
        "f" => Ok(FileType::Regular),
        "d" => Ok(FileType::Directory),
        "l" => Ok(FileType::Symlink),
        "b" => Ok(FileType::BlockDevice),
        "c" => Ok(FileType::CharacterDevice),
        "p" => Ok(FileType::Fifo),
        "s" => Ok(FileType::Socket),
        _ => Err(serde::de::Error::custom("types are the letters f, d, l, b, c, p and s, separated by commas")),
    };
    text.split(',').map(letter).collect()
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if let Ok(seconds) = text.parse() {
        return Ok(Some(seconds));
    }
    let time: Timestamp =
        text.parse().map_err(|_| serde::de::Error::custom("a time is written as 2026-01-31T08:00:00Z, or in Unix seconds"))?;
    Ok(Some(time.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn find(parameter: &str, value: &str) -> Option<WalkOptions> {
        serde_json::from_value::<FindParameters>(json!({"path": "/", parameter: value})).ok().map(|query| query.options())
    }

    #[test]
    fn types_and_times_are_read_in_their_ways_of_writing_and_nothing_else_is() {
        assert_eq!(find("type", "f,d").unwrap().filter.types, [FileType::Regular, FileType::Directory]);
        for time in ["1769846400", "2026-01-31T08:00:00Z", "2026-01-31T09:00:00+01:00"] {
            assert_eq!(find("modifiedSince", time).unwrap().filter.modified_since, Some(1_769_846_400));
        }
        for (parameter, value) in [("type", "x"), ("type", ""), ("modifiedSince", "yesterday"), ("modifiedBefore", ""), ("minSize", "-1")] {
            assert!(find(parameter, value).is_none(), "{parameter}={value}");
        }
    }
}
