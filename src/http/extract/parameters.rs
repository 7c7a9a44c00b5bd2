//! Queries and JSON documents, read as FastAPI reads them: lenient about the notation of booleans and numbers, strict about
//! their values, with the wrong field named in errors.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::domain::bytes_to_text;
use crate::error::Kind;
use crate::http::Api;
use crate::http::extract::forward_body::announced_length;
use crate::http::extract::known_names::{repeated, unknown_member};
use crate::http::extract::query::pairs;
use crate::http::extract::repeated_member::repeated_member;
use crate::http::extract::wrong_value::in_plain_words;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};
use crate::rest::Object;

/// The query as a `T`. Parameters that `T` does not have are ignored here, since more than one `T` may be read from a query (see
/// [`QueryNames`](crate::http::extract::known_names::QueryNames)); of repeated ones, which are accepted only where `server.lenient` is set, the last
/// counts.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let pairs = parts.uri.query().map(read_pairs).unwrap_or_default();
        Ok(Self(read(Place::Query, Value::Object(pairs))?))
    }
}

/// The JSON document of a request as a `T`. Members that `T` does not have, or that an object has twice, are refused, or ignored where
/// `server.lenient` is set.
pub(crate) struct Document<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Api> for Document<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        WrittenDocument::from_request(request, api).await.map(|written| Self(written.document))
    }
}

/// The same with the bytes as they were sent.
pub(crate) struct WrittenDocument<T> {
    /// The document.
    pub(crate) document: T,
    /// The content of the request.
    pub(crate) bytes: Bytes,
}

impl<T: DeserializeOwned> FromRequest<Api> for WrittenDocument<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let message = "send the document as `Content-Type: application/json`";
            return Err(InvalidInput::new(Place::Header, "Content-Type", message).into());
        }
        if request.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(Problem::unsupported_media("a content coding is not taken off; send the document as it is"));
        }
        let limit = api.config.max_body_size;
        if announced_length(request.headers()).is_some_and(|length| length > limit as u64) {
            return Err(too_large(limit));
        }
        let bytes = Bytes::from_request(request, api).await.map_err(|rejection| {
            if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                too_large(limit)
            } else {
                Problem::new(Kind::Invalid, "the document could not be received whole")
            }
        })?;
        Ok(Self { document: read_document(&bytes, api.config.lenient)?, bytes })
    }
}

fn too_large(limit: usize) -> Problem {
    let message = format!(
        "the document is larger than the limit of {limit} bytes (server.max_body_size): send less at a time; a large job script can be uploaded \
         as a file and named by `scriptPath`"
    );
    Problem::new(Kind::TooLarge, message)
}

/// The maximum number of members of a document that are ignored.
const MAX_IGNORED: usize = 32;

fn read_document<T: DeserializeOwned>(bytes: &[u8], is_lenient: bool) -> Result<T, InvalidInput> {
    if let Some(at) = repeated_member(bytes).filter(|_| !is_lenient) {
        return Err(repeated(Place::Body, &at).into());
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize(&mut json) {
        Ok(Object(document)) => {
            json.end().map_err(|error| InvalidInput::new(Place::Body, "body", error.to_string()))?;
            return Ok(document);
        }
        Err(error) => error,
    };
    if !is_lenient || !error.inner().is_data() {
        return Err(invalid(Place::Body, &error));
    }
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| InvalidInput::new(Place::Body, "body", error.to_string()))?;
    let mut ignored = 0;
    loop {
        let error = match serde_path_to_error::deserialize(&value) {
            Ok(Object(document)) => return Ok(document),
            Err(error) => error,
        };
        ignored += 1;
        if ignored > MAX_IGNORED || !ignore(&mut value, &error) {
            return Err(invalid(Place::Body, &error));
        }
    }
}

/// Removes the unknown member that the error names; false if it is another error, or about something that no client of FirecREST
/// sends: a member of an element of a list.
fn ignore(document: &mut Value, error: &serde_path_to_error::Error<serde_json::Error>) -> bool {
    use serde_path_to_error::Segment;
    let Some((name, _)) = unknown_member(".", &error.inner().to_string()) else { return false };
    let mut parents: Vec<&Segment> = error.path().iter().filter(|segment| !matches!(segment, Segment::Unknown)).collect();
    // The path is that of the member itself, where serde reads it with the members around it.
    parents.pop_if(|last| matches!(last, Segment::Map { key } if *key == name));
    let parent = parents.into_iter().try_fold(document, |parent, segment| match segment {
        Segment::Map { key } => parent.get_mut(key),
        _ => None,
    });
    parent.and_then(Value::as_object_mut).is_some_and(|parent| parent.remove(&name).is_some())
}

fn read<T: DeserializeOwned>(place: Place, value: Value) -> Result<T, InvalidInput> {
    serde_path_to_error::deserialize(value).map_err(|error| invalid(place, &error))
}

fn invalid(place: Place, error: &serde_path_to_error::Error<serde_json::Error>) -> InvalidInput {
    let path = known_part(error.path());
    if error.inner().is_syntax() || error.inner().is_eof() {
        let near = if path == "." { String::new() } else { format!(", in {path}") };
        let reason = error.inner().to_string();
        let hint = if reason.starts_with("control character") { ". Write a line break in a text as `\\n`, a tab as `\\t`" } else { "" };
        return InvalidInput::new(place, "body", format!("the document is no JSON: {reason}{near}{hint}"));
    }
    let message = without_position(error.inner());
    if let Some((_, unknown)) = unknown_member(&path, &message) {
        return unknown.into();
    }
    let message: String = in_plain_words(&path, &message).chars().take(500).collect();
    // A missing member is reported at the object that lacks it, so that its own name has to be read from serde's message.
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name.to_owned());
    let name = match (path.as_str(), missing) {
        (".", Some(missing)) => missing,
        (_, Some(missing)) => format!("{path}.{missing}"),
        (".", None) => "body".to_owned(),
        (_, None) => path,
    };
    InvalidInput::new(place, name, message)
}

/// The message of an error in a value, without the place in the text: the path to the value is named, and is easier to find.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&position).map(str::to_owned).unwrap_or(message)
}

/// A path without the segments whose names are not known, which are shown as `?`.
fn known_part(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let text = path.iter().filter(|segment| !matches!(segment, Segment::Unknown)).fold(String::new(), |mut text, segment| {
        let dot = if text.is_empty() || matches!(segment, Segment::Seq { .. }) { "" } else { "." };
        text.push_str(dot);
        text.push_str(&segment.to_string());
        text
    });
    if text.is_empty() { ".".to_owned() } else { text }
}

/// The pairs, decoded; bytes that are not UTF-8 survive.
pub(crate) fn read_pairs(query: &str) -> Map<String, Value> {
    pairs(query).map(|(name, value)| (read_text(name).into_owned(), Value::String(read_text(value).into_owned()))).collect()
}

/// The names of the pairs in their order, decoded.
pub(crate) fn read_names(query: &str) -> Vec<Cow<'_, str>> {
    pairs(query).map(|(name, _)| read_text(name)).collect()
}

fn read_text(encoded: &str) -> Cow<'_, str> {
    if !encoded.contains(['+', '%']) {
        return encoded.into();
    }
    let spaced = encoded.replace('+', " ");
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(&spaced).collect();
    String::from_utf8(bytes).unwrap_or_else(|error| bytes_to_text(error.as_bytes())).into()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// For `#[serde(deserialize_with)]`: the ways in which clients write booleans and counts.
pub(crate) mod lenient {
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

    /// A boolean as FastAPI reads it: `true`, `1`, `yes`, `on`, `t`, `y` and their opposites, in any case, as text or number.
    pub(in crate::http) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(Flag)
    }

    /// A count that may be written as text. Negative, fractional and huge numbers are refused.
    pub(in crate::http) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        count_of::<0, { i64::MAX as u64 }, D>(deserializer)
    }

    /// The same where only this range has a meaning, which the refusal of anything but a count names. The use case checks the range.
    pub(in crate::http) fn count_of<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(Count::<MIN, MAX>).map(Some)
    }

    /// A string for which null counts as absent.
    pub(in crate::http) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        Option::deserialize(deserializer).map(Option::unwrap_or_default)
    }

    struct Flag;

    impl Visitor<'_> for Flag {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a valid boolean")
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
            match value {
                0 => Ok(false),
                1 => Ok(true),
                other => Err(E::invalid_value(Unexpected::Unsigned(other), &self)),
            }
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
            match value.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
                "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
                _ => Err(E::invalid_value(Unexpected::Str(value), &self)),
            }
        }
    }

    struct Count<const MIN: u64, const MAX: u64>;

    impl<const MIN: u64, const MAX: u64> Visitor<'_> for Count<MIN, MAX> {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an integer from {MIN} to {MAX}")
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<u64, E> {
            if i64::try_from(value).is_ok() { Ok(value) } else { Err(E::invalid_value(Unexpected::Unsigned(value), &self)) }
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<u64, E> {
            u64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<u64, E> {
            let number = value.trim().parse::<u64>().map_err(|_| E::invalid_value(Unexpected::Str(value), &self))?;
            self.visit_u64(number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Query {
        path: String,
        #[serde(default, deserialize_with = "lenient::flag")]
        hidden: bool,
        #[serde(default, deserialize_with = "lenient::count")]
        bytes: Option<u64>,
    }

    fn query(text: &str) -> Result<Query, String> {
        read(Place::Query, Value::Object(read_pairs(text))).map_err(|error| error.0[0].name.to_string())
    }

    #[test]
    fn booleans_and_counts_are_read_as_fastapi_reads_them() {
        for text in ["true", "True", "1", "yes", "ON", "t", "y"] {
            assert!(query(&format!("path=/a&hidden={text}")).unwrap().hidden, "{text}");
        }
        assert_eq!(query("path=%2Fa+b&bytes=%2B5&path=/c").unwrap(), Query { path: "/c".to_owned(), hidden: false, bytes: Some(5) });
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        assert_eq!(query("hidden=1"), Err("path".to_owned()));
        assert_eq!(query("path=/a&hidden=maybe"), Err("hidden".to_owned()));
        for number in ["-1", "1.5", "ten", "", "9223372036854775808", "99999999999999999999999"] {
            assert_eq!(query(&format!("path=/a&bytes={number}")), Err("bytes".to_owned()), "{number:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_comes_back_from_a_query(bytes in proptest::collection::vec(1u8.., 0..20)) {
            let encoded = percent_encoding::percent_encode(&bytes, percent_encoding::NON_ALPHANUMERIC);
            let path = query(&format!("path={encoded}")).unwrap().path;
            // Bytes that spell an escape character of ours in UTF-8 mean the byte that it stands for.
            let meant = String::from_utf8(bytes.clone()).map_or(bytes, |text| crate::domain::text_to_bytes(&text));
            prop_assert_eq!(crate::domain::text_to_bytes(&path), meant);
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_survives_and_so_does_its_text_form() {
        let raw = query("path=/a%FF").unwrap().path;
        assert_eq!(crate::domain::text_to_bytes(&raw), b"/a\xFF");
        let text: String = percent_encoding::utf8_percent_encode(&raw, percent_encoding::NON_ALPHANUMERIC).to_string();
        assert_eq!(query(&format!("path={text}")).unwrap().path, raw);
    }
}
