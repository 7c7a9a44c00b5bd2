//! Reads the headers of requests by the protocol tus, version 1.0.0, and checks each by itself.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::domain::is_file_name;
use crate::error::Kind;
use crate::http::Api;
use crate::http::extract::digest::Digests;
use crate::http::extract::forward_body::announced_length;
use crate::http::filesystem::content::upload::refuse_encodings;
use crate::http::problem::Problem;
use crate::http::problem::invalid::{InvalidInput, Place};

pub(super) const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const UPLOAD_METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const UPLOAD_CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");

/// Headers of the extensions concatenation and creation-defer-length.
const UNSUPPORTED: [HeaderName; 2] = [HeaderName::from_static("upload-concat"), HeaderName::from_static("upload-defer-length")];

pub(super) const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const MEDIA_TYPE: &str = "application/offset+octet-stream";

/// Proof that the client uses the supported version of the protocol.
pub(crate) struct SpokenVersion;

impl FromRequestParts<Api> for SpokenVersion {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        match parts.headers.get(TUS_RESUMABLE) {
            Some(version) if version == VERSION => Ok(Self),
            _ => Err(Problem::precondition_failed("send `Tus-Resumable: 1.0.0`, the version of the protocol that is spoken here")),
        }
    }
}

/// The headers about the content of a request.
pub(crate) struct ContentHeaders {
    /// Its length in bytes, if announced.
    pub(super) length: Option<u64>,
    /// The announced checksum, if there is one.
    pub(super) checksum: Option<Digests>,
}

/// The headers of the creation of an upload.
pub(crate) struct CreationHeaders {
    /// The length of the file, in bytes.
    pub(super) length: u64,
    /// `Upload-Metadata`, as it was sent.
    pub(super) metadata: String,
    /// The headers of the content, if the request has content.
    pub(super) content: Option<ContentHeaders>,
}

/// The headers of content for an existing upload.
pub(crate) struct ExtensionHeaders {
    /// The offset of the content in the file, in bytes.
    pub(super) offset: u64,
    pub(super) content: ContentHeaders,
}

impl FromRequestParts<Api> for CreationHeaders {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let headers = &parts.headers;
        refuse_extensions(headers)?;
        refuse_repeated(headers, &[(UPLOAD_LENGTH, "Upload-Length"), (UPLOAD_METADATA, "Upload-Metadata")])?;
        let upload_length = number(headers, &UPLOAD_LENGTH, "Upload-Length")?;
        let metadata = headers.get(UPLOAD_METADATA).map(|value| value.to_str().map_err(|_| wrong("Upload-Metadata", "it is not ASCII")));
        let metadata = metadata.transpose()?.unwrap_or_default().to_owned();
        let has_content = has_media_type(headers) && announced_length(headers) != Some(0);
        let content = has_content.then(|| ContentHeaders::read(headers)).transpose()?;
        Ok(Self { length: upload_length, metadata, content })
    }
}

impl CreationHeaders {
    /// The path of the file: below a path that ends with a slash, the name in the metadata (tus 1.0, creation).
    pub(super) fn target(&self, path: String) -> Result<String, InvalidInput> {
        if !path.ends_with('/') {
            return Ok(path);
        }
        let pairs = self.metadata.split(',').filter_map(|pair| pair.trim().split_once(' '));
        let mut names = pairs.filter(|(key, _)| *key == "filename");
        let name = names.find_map(|(_, value)| String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok());
        let name = name.filter(|name| is_file_name(name));
        let name = name.ok_or_else(|| wrong("Upload-Metadata", "its `filename` must be one file name of 1 to 255 bytes"))?;
        Ok(format!("{path}{name}"))
    }
}

impl FromRequestParts<Api> for ExtensionHeaders {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        if !has_media_type(&parts.headers) {
            return Err(Problem::unsupported_media(format!("send the content as `Content-Type: {MEDIA_TYPE}`")));
        }
        refuse_repeated(&parts.headers, &[(UPLOAD_OFFSET, "Upload-Offset")])?;
        let offset = number(&parts.headers, &UPLOAD_OFFSET, "Upload-Offset")?;
        Ok(Self { offset, content: ContentHeaders::read(&parts.headers)? })
    }
}

impl ContentHeaders {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        refuse_encodings(headers)?;
        Digests::refuse(headers, "announce the digest of this content as `Upload-Checksum`")?;
        refuse_repeated(headers, &[(UPLOAD_CHECKSUM, "Upload-Checksum")])?;
        let checksum = headers.get(UPLOAD_CHECKSUM).map(|value| {
            value.to_str().ok().and_then(Digests::of_tus).ok_or_else(|| {
                let message = format!("it is not an algorithm ({}), a space and the base64 of the digest", Digests::tus_algorithms());
                wrong("Upload-Checksum", message)
            })
        });
        Ok(Self { length: announced_length(headers), checksum: checksum.transpose()? })
    }
}

/// Refuses extensions that are not supported: without them, the request would mean another file, such as a part of one.
fn refuse_extensions(headers: &HeaderMap) -> Result<(), Problem> {
    match UNSUPPORTED.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            let message = format!(
                "`{name}` belongs to an extension of tus that is not offered here (OPTIONS tells which are): send the file as one upload with `Upload-Length`"
            );
            Err(Problem::new(Kind::Unsupported, message))
        }
        None => Ok(()),
    }
}

/// Refuses a header that is there more than once: which of the values is meant is not known.
fn refuse_repeated(headers: &HeaderMap, names: &[(HeaderName, &'static str)]) -> Result<(), InvalidInput> {
    match names.iter().find(|(name, _)| headers.get_all(name).iter().nth(1).is_some()) {
        Some((_, shown)) => Err(wrong(shown, "it is given more than once: send one value")),
        None => Ok(()),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName, shown: &'static str) -> Result<u64, InvalidInput> {
    let value = headers.get(name).ok_or_else(|| wrong(shown, "it is missing: send the number of bytes"))?.to_str().ok();
    let value = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    value.filter(|number| i64::try_from(*number).is_ok()).ok_or_else(|| wrong(shown, "it must be a number of bytes"))
}

fn has_media_type(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.to_str().is_ok_and(|value| value.trim() == MEDIA_TYPE))
}

fn wrong(name: &'static str, message: impl Into<String>) -> InvalidInput {
    InvalidInput::new(Place::Header, name, message)
}
