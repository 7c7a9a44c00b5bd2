//! Conditional requests and ranges (RFC 9110, 13 and 14) for the files of a cluster.
//!
//! A file's tag consists of its size, the second of its last change, and its inode if known. Two states within one
//! second may be indistinguishable, so a file that was changed within the last [`UNSETTLED_SECONDS`] seconds has a weak tag of
//! another spelling, which never proves that a client's copy is the present one. This module must not know where files are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::{ByteRange, FileVersion};
use crate::http::Api;
use crate::http::list_field::members;
use crate::http::problem::invalid::{InvalidInput, Place};

/// The time after a change, in seconds, in which a further change may be invisible. It is longer than the one second of the clock,
/// because the cluster's clock may differ.
const UNSETTLED_SECONDS: i64 = 5;

/// The validators of a file's state in a response.
#[derive(Clone, Debug)]
pub(crate) struct Validators {
    /// Between its quotes.
    tag: String,
    settled: bool,
    modified: i64,
    now: i64,
}

impl Validators {
    /// The validators of a file's state at this moment.
    pub(crate) fn of(version: &FileVersion) -> Self {
        Self::at(version, seconds(SystemTime::now()).unwrap_or_default())
    }

    fn at(version: &FileVersion, now: i64) -> Self {
        let settled = now.saturating_sub(version.modified) >= UNSETTLED_SECONDS;
        let mut tag = format!("{:x}-{:x}", version.size, version.modified);
        if version.inode != 0 {
            tag.push_str(&format!("-{:x}", version.inode));
        }
        if !settled {
            tag.push('~');
        }
        Self { tag, settled, modified: version.modified, now }
    }

    /// Adds `ETag` and `Last-Modified`.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let tag = format!("{}\"{}\"", if self.settled { "" } else { "W/" }, self.tag);
        headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal numbers, hyphens and quotes are printable ASCII"));
        // A future time must not be sent (RFC 9110, 8.8.2.1), and one before 1970 or after 9999 cannot be.
        let modified = u64::try_from(self.modified).ok().filter(|_| self.modified <= self.now && self.modified < 253_402_300_800);
        if let Some(modified) = modified.and_then(|modified| UNIX_EPOCH.checked_add(Duration::from_secs(modified))) {
            let date = httpdate::fmt_http_date(modified);
            headers.insert(header::LAST_MODIFIED, HeaderValue::from_str(&date).expect("a date is printable ASCII"));
        }
    }

    /// Strong comparison (RFC 9110, 8.8.3.2).
    fn is(&self, tag: &str) -> bool {
        self.settled && quoted(tag) == Some(&self.tag)
    }

    /// Weak comparison, except that a file which has just changed matches nothing.
    fn is_like(&self, tag: &str) -> bool {
        self.is(strong(tag))
    }
}

/// The conditions of a request on the state of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    matches: Option<Vec<String>>,
    unmodified_since: Option<i64>,
    none_matches: Option<Vec<String>>,
    modified_since: Option<i64>,
    if_range: Option<String>,
    range: Option<ByteRange>,
}

/// The result of evaluating the conditions (RFC 9110, 13.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evaluation {
    /// A condition does not hold: 412.
    Failed,
    /// The client has the current state: 304.
    NotModified,
    /// The request is carried out, for this range or for the whole file.
    Proceed(Option<ByteRange>),
}

impl Conditions {
    /// Whether the state must be known before the request is executed.
    pub(crate) fn any(&self) -> bool {
        let dates = self.unmodified_since.or(self.modified_since).is_some();
        self.matches.is_some() || self.none_matches.is_some() || dates || (self.if_range.is_some() && self.range.is_some())
    }

    /// The requested range, if it is valid and there are no conditions.
    pub(crate) fn range(&self) -> Option<ByteRange> {
        self.range
    }

    /// Whether a write must not replace an existing file.
    pub(crate) fn only_new(&self) -> bool {
        self.none_matches.as_ref().is_some_and(|tags| tags.iter().any(|tag| tag == "*"))
    }

    /// The same for an operation that evaluates no other condition.
    ///
    /// # Errors
    /// If there is another condition.
    pub(crate) fn new_or_any(&self) -> Result<bool, InvalidInput> {
        let wrong = |name| InvalidInput::new(Place::Header, name, "only `If-None-Match: *` is evaluated by this operation");
        if self.matches.is_some() {
            return Err(wrong("If-Match"));
        }
        if self.unmodified_since.is_some() {
            return Err(wrong("If-Unmodified-Since"));
        }
        match &self.none_matches {
            Some(_) if !self.only_new() => Err(wrong("If-None-Match")),
            conditions => Ok(conditions.is_some()),
        }
    }

    /// Whether a write must replace an existing file.
    pub(crate) fn only_existing(&self) -> bool {
        self.matches.is_some() || self.unmodified_since.is_some()
    }

    /// Evaluates the conditions in the order of RFC 9110, 13.2.2. `reads` for GET and HEAD.
    pub(crate) fn evaluate(&self, present: &Validators, reads: bool) -> Evaluation {
        let allowed = match (&self.matches, self.unmodified_since) {
            (Some(tags), _) => tags.iter().any(|tag| tag == "*" || present.is(tag)),
            (None, Some(since)) => present.modified <= since,
            (None, None) => true,
        };
        if !allowed {
            return Evaluation::Failed;
        }
        let known = match (&self.none_matches, self.modified_since.filter(|_| reads)) {
            (Some(tags), _) => tags.iter().any(|tag| tag == "*" || present.is_like(tag)),
            (None, Some(since)) => present.settled && present.modified <= since,
            (None, None) => false,
        };
        match known {
            true if reads => Evaluation::NotModified,
            true => Evaluation::Failed,
            false => Evaluation::Proceed(self.range.filter(|_| self.if_range.as_deref().is_none_or(|validator| same(present, validator)))),
        }
    }
}

impl FromRequestParts<Api> for Conditions {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Self::Rejection> {
        Ok(Self::from(&parts.headers))
    }
}

impl From<&HeaderMap> for Conditions {
    /// Invalid values are ignored, as the RFC demands.
    fn from(headers: &HeaderMap) -> Self {
        let one = |name: &HeaderName| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?;
            values.next().is_none().then_some(value.trim())
        };
        let date = |name: &HeaderName| one(name).and_then(date);
        Self {
            matches: tags(headers, &header::IF_MATCH),
            unmodified_since: date(&header::IF_UNMODIFIED_SINCE),
            none_matches: tags(headers, &header::IF_NONE_MATCH),
            modified_since: date(&header::IF_MODIFIED_SINCE),
            if_range: headers.contains_key(header::IF_RANGE).then(|| one(&header::IF_RANGE).unwrap_or_default().to_owned()),
            range: one(&header::RANGE).and_then(range),
        }
    }
}

/// The tags of a condition; none if the header is absent.
pub(crate) fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    headers.contains_key(name).then(|| members(headers, name).map(str::to_owned).collect())
}

/// Whether the validator of `If-Range` matches the current state (RFC 9110, 13.1.5).
fn same(present: &Validators, validator: &str) -> bool {
    match date(validator) {
        Some(date) => present.settled && date == present.modified,
        None => present.is(validator),
    }
}

/// The single range of a `Range` value; `None` for several, which may be answered with the whole file, and for invalid values.
fn range(value: &str) -> Option<ByteRange> {
    let (unit, set) = value.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    let number = |digits: &str| {
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    match (first, last) {
        ("", last) => Some(ByteRange::Last(number(last)?)),
        (first, "") => Some(ByteRange::From(number(first)?, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

/// The tag without the mark that weak comparison ignores (RFC 9110, 8.8.3.2).
pub(crate) fn strong(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn quoted(tag: &str) -> Option<&str> {
    tag.strip_prefix('"')?.strip_suffix('"')
}

fn date(text: &str) -> Option<i64> {
    seconds(httpdate::parse_http_date(text).ok()?)
}

fn seconds(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Changed 2026-11-21 08:00:00, of ten bytes.
    const VERSION: FileVersion = FileVersion { size: 10, modified: 1_795_248_000, inode: 0 };
    const TAG: &str = "\"a-6b014f80\"";
    const THEN: &str = "Sat, 21 Nov 2026 08:00:00 GMT";
    const BEFORE: &str = "Sat, 21 Nov 2026 07:59:59 GMT";

    fn settled() -> Validators {
        Validators::at(&VERSION, VERSION.modified + UNSETTLED_SECONDS)
    }

    fn fresh() -> Validators {
        Validators::at(&VERSION, VERSION.modified + UNSETTLED_SECONDS - 1)
    }

    fn conditions(fields: &[(&'static str, &str)]) -> Conditions {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        Conditions::from(&headers)
    }

    fn evaluate(fields: &[(&'static str, &str)]) -> Evaluation {
        conditions(fields).evaluate(&settled(), true)
    }

    const WHOLE: Evaluation = Evaluation::Proceed(None);
    const PART: Evaluation = Evaluation::Proceed(Some(ByteRange::From(2, Some(5))));

    fn written(validators: &Validators) -> (String, Option<String>) {
        let mut headers = HeaderMap::new();
        validators.write(&mut headers);
        let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
        (text(header::ETAG).unwrap(), text(header::LAST_MODIFIED))
    }

    #[test]
    fn a_tag_is_strong_once_another_change_would_show() {
        assert_eq!(written(&settled()), (TAG.to_owned(), Some(THEN.to_owned())));
        assert_eq!(written(&fresh()), ("W/\"a-6b014f80~\"".to_owned(), Some(THEN.to_owned())));
        let with_inode = Validators::at(&FileVersion { inode: 31, ..VERSION }, VERSION.modified + 100);
        assert_eq!(written(&with_inode).0, "\"a-6b014f80-1f\"");
        let to_come = Validators::at(&VERSION, VERSION.modified - 100);
        assert_eq!(written(&to_come), ("W/\"a-6b014f80~\"".to_owned(), None));
        let ancient = Validators::at(&FileVersion { modified: -1, ..VERSION }, VERSION.modified);
        assert_eq!(written(&ancient).1, None);
    }

    #[test]
    fn a_client_that_has_the_file_is_told_so() {
        for tags in [TAG, "W/\"a-6b014f80\"", "\"x\", \"a-6b014f80\"", "*"] {
            assert_eq!(evaluate(&[("if-none-match", tags)]), Evaluation::NotModified, "{tags}");
        }
        for tags in ["\"x\"", "a-6b014f80", "", "\"A-6B014F80\"", "\"a-6b014f80~\""] {
            assert_eq!(evaluate(&[("if-none-match", tags)]), WHOLE, "{tags}");
        }
        assert_eq!(evaluate(&[("if-modified-since", THEN)]), Evaluation::NotModified);
        assert_eq!(evaluate(&[("if-modified-since", BEFORE)]), WHOLE);
        assert_eq!(evaluate(&[("if-modified-since", "yesterday")]), WHOLE);
        // A tag takes precedence over a date (RFC 9110, 13.1.3).
        assert_eq!(evaluate(&[("if-none-match", "\"x\""), ("if-modified-since", THEN)]), WHOLE);
    }

    #[test]
    fn a_file_that_has_just_changed_is_never_taken_for_a_copy() {
        let evaluate = |fields| conditions(fields).evaluate(&fresh(), true);
        assert_eq!(evaluate(&[("if-none-match", "W/\"a-6b014f80~\"")]), WHOLE);
        assert_eq!(evaluate(&[("if-modified-since", THEN)]), WHOLE);
        assert_eq!(evaluate(&[("if-match", "\"a-6b014f80~\"")]), Evaluation::Failed);
        assert_eq!(evaluate(&[("range", "bytes=2-5"), ("if-range", "W/\"a-6b014f80~\"")]), WHOLE);
        assert_eq!(evaluate(&[("range", "bytes=2-5"), ("if-range", THEN)]), WHOLE);
        assert_eq!(evaluate(&[("if-match", "*")]), WHOLE);
    }

    #[test]
    fn what_was_expected_and_is_not_there_fails() {
        assert_eq!(evaluate(&[("if-match", TAG)]), WHOLE);
        assert_eq!(evaluate(&[("if-match", "*")]), WHOLE);
        for tags in ["\"x\"", "W/\"a-6b014f80\"", ""] {
            assert_eq!(evaluate(&[("if-match", tags)]), Evaluation::Failed, "{tags}");
        }
        assert_eq!(evaluate(&[("if-unmodified-since", THEN)]), WHOLE);
        assert_eq!(evaluate(&[("if-unmodified-since", BEFORE)]), Evaluation::Failed);
        assert_eq!(evaluate(&[("if-match", TAG), ("if-unmodified-since", BEFORE)]), WHOLE);
        assert_eq!(evaluate(&[("if-match", "\"x\""), ("if-none-match", TAG)]), Evaluation::Failed);
    }

    #[test]
    fn a_range_counts_while_the_file_is_the_one_that_was_begun() {
        assert_eq!(evaluate(&[("range", "bytes=2-5")]), PART);
        for validator in [TAG, THEN] {
            assert_eq!(evaluate(&[("range", "bytes=2-5"), ("if-range", validator)]), PART, "{validator}");
        }
        for validator in ["\"x\"", "W/\"a-6b014f80\"", BEFORE, "", "*"] {
            assert_eq!(evaluate(&[("range", "bytes=2-5"), ("if-range", validator)]), WHOLE, "{validator}");
        }
        assert_eq!(evaluate(&[("range", "bytes=2-5"), ("if-none-match", TAG)]), Evaluation::NotModified);
    }

    #[test]
    fn a_write_that_is_not_to_replace_the_present_state_fails() {
        let evaluate = |fields| conditions(fields).evaluate(&settled(), false);
        assert_eq!(evaluate(&[("if-none-match", TAG)]), Evaluation::Failed);
        assert_eq!(evaluate(&[("if-modified-since", THEN)]), WHOLE);
        assert!(conditions(&[("if-none-match", "*")]).only_new() && !conditions(&[("if-none-match", TAG)]).only_new());
    }

    #[test]
    fn one_range_is_read_and_everything_else_is_answered_whole() {
        assert_eq!(range("bytes=0-"), Some(ByteRange::From(0, None)));
        assert_eq!(range("Bytes = 7-7"), Some(ByteRange::From(7, Some(7))));
        assert_eq!(range("bytes=-5"), Some(ByteRange::Last(5)));
        assert_eq!(range("bytes=99999999999999999999-"), Some(ByteRange::From(u64::MAX, None)));
        for value in ["bytes=5-4", "bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "bytes=+1-2", "bytes=1 - 2", "lines=0-1", "0-1", ""] {
            assert_eq!(range(value), None, "{value}");
        }
        // A repeated header counts as absent.
        assert_eq!(evaluate(&[("range", "bytes=2-5"), ("range", "bytes=2-5")]), WHOLE);
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_harm(value in "[ -~]{0,40}") {
            for name in ["range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] {
                let mut headers = HeaderMap::new();
                headers.append(name, value.parse().unwrap());
                let evaluation = Conditions::from(&headers).evaluate(&settled(), true);
                if let Evaluation::Proceed(Some(range)) = evaluation {
                    prop_assert!(range.within(VERSION.size).is_none_or(|range| range.end <= VERSION.size));
                }
            }
        }
    }
}
