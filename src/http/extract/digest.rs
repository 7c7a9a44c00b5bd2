//! Digests of content: `Repr-Digest`, `Content-Digest` and their requests (RFC 9530), and the older `Digest` (RFC 3230).
//!
//! Content whose digest was announced is checked while it passes, and fails at its end if the digest differs: then nothing is written.
//! To add an algorithm: a variant, its place in `Algorithm::ALL`, and its arms.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{self, Context};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use futures::stream;

use crate::filesystem::{ContentStream, FilesystemError};
use crate::http::list_field::members;
use crate::http::problem::invalid::{InvalidInput, Place};

/// The digest of the whole file.
pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
/// The digest of the content sent, which is the whole file here.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The older form.
const DIGEST: HeaderName = HeaderName::from_static("digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
const WANT_DIGEST: HeaderName = HeaderName::from_static("want-digest");

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// Only for tus, which requires it.
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// The algorithm of this name, in any case, as used in HTTP's own fields.
    fn of_field(name: &str) -> Option<Self> {
        let has_name = |algorithm: &Self| *algorithm != Self::Sha1 && algorithm.field_name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(has_name)
    }

    /// The algorithm of this name in tus.
    fn of_tus(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.tus_name() == name)
    }

    /// Its name in HTTP (RFC 9530, 7.2).
    fn field_name(self) -> &'static str {
        match self {
            // No field has it; its name is that of tus.
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha-256",
            Self::Sha512 => "sha-512",
        }
    }

    /// Its name in tus (tus 1.0, checksum).
    fn tus_name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    /// The announced digest of this algorithm, decoded from base64.
    fn announced(self, text: &str) -> Option<Announced> {
        let sum = STANDARD.decode(text).ok()?;
        (sum.len() == self.algorithm().output_len()).then_some(Announced { algorithm: self, sum })
    }
}

/// A digest that the content is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Announced {
    algorithm: Algorithm,
    sum: Vec<u8>,
}

/// The digests that a request announces for its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Digests {
    announced: Vec<Announced>,
    wanted: Option<DigestPreference>,
}

/// A digest requested for the response, and its field.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DigestPreference {
    algorithm: Algorithm,
    field: HeaderName,
}

impl DigestPreference {
    /// The digest that a request asks for: the supported algorithm with the highest preference.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let ask = |asked: &HeaderName, field: HeaderName, weight: fn(&str) -> Option<(&str, f32)>| {
            let members = members(headers, asked).filter_map(weight);
            let known = members.filter_map(|(name, weight)| Some((Algorithm::of_field(name)?, weight))).filter(|(_, weight)| *weight > 0.0);
            let (algorithm, _) = known.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
            Some(Self { algorithm, field })
        };
        ask(&WANT_REPR_DIGEST, REPR_DIGEST, integer).or_else(|| ask(&WANT_DIGEST, DIGEST, quality))
    }

    /// Writes the digest into its field.
    fn write(&self, sum: &[u8], headers: &mut HeaderMap) {
        let (name, text) = (self.algorithm.field_name(), STANDARD.encode(sum));
        let value = if self.field == DIGEST { format!("{name}={text}") } else { format!("{name}=:{text}:") };
        headers.insert(self.field.clone(), HeaderValue::from_str(&value).expect("names and base64 are printable ASCII"));
    }
}

impl Digests {
    /// The fields that announce a digest.
    const FIELDS: [(HeaderName, &str); 3] = [(REPR_DIGEST, "Repr-Digest"), (CONTENT_DIGEST, "Content-Digest"), (DIGEST, "Digest")];

    /// The digests of a request.
    ///
    /// # Errors
    /// If none of the announced digests can be checked: a client that wants its content checked must not believe that it
    /// was.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, InvalidInput> {
        let mut announced = Vec::new();
        for (field, name) in Self::FIELDS {
            let wrong = |message: &'static str| InvalidInput::new(Place::Header, name, message);
            let before = announced.len();
            for member in members(headers, &field) {
                let (algorithm, value) = member.split_once('=').ok_or_else(|| wrong("it is not a list of digests"))?;
                let Some(algorithm) = Algorithm::of_field(algorithm.trim()) else { continue };
                let value = value.split(';').next().unwrap_or_default().trim();
                let text = if field == DIGEST { Some(value) } else { value.strip_prefix(':').and_then(|value| value.strip_suffix(':')) };
                let digest = text.and_then(|text| algorithm.announced(text));
                announced.push(digest.ok_or_else(|| wrong("the digest is not one of its algorithm in base64"))?);
            }
            if headers.contains_key(&field) && announced.len() == before {
                return Err(wrong("it holds no digest that can be checked: send sha-256 or sha-512"));
            }
        }
        Ok(Self { announced, wanted: DigestPreference::of(headers) })
    }

    /// Refuses the digests of content that is not the file itself, such as a form, or a part of a file: they would not be checked.
    ///
    /// # Errors
    /// If there is one; the message names what to send `instead`.
    pub(crate) fn refuse(headers: &HeaderMap, instead: &str) -> Result<(), InvalidInput> {
        match Self::FIELDS.iter().find(|(field, _)| headers.contains_key(field)) {
            Some((_, name)) => Err(InvalidInput::new(Place::Header, *name, format!("it would not be checked here: {instead}"))),
            None => Ok(()),
        }
    }

    /// The checksum of content as tus announces it (tus 1.0, checksum): an algorithm and base64. `None` if it is invalid.
    pub(crate) fn of_tus(value: &str) -> Option<Self> {
        let (name, text) = value.trim().split_once(' ')?;
        Some(Self { announced: vec![Algorithm::of_tus(name)?.announced(text)?], wanted: None })
    }

    /// The algorithms of [`Digests::of_tus`], as the protocol lists them.
    pub(crate) fn tus_algorithms() -> String {
        Algorithm::ALL.map(Algorithm::tus_name).join(",")
    }

    /// The content, which now fails at its end if it does not have the announced digests; and the place that receives its digest at the
    /// end.
    pub(crate) fn check(self, content: ContentStream) -> (ContentStream, DigestResult) {
        let result = DigestResult::default();
        let mut algorithms: Vec<Algorithm> = self.announced.iter().map(|announced| announced.algorithm).collect();
        algorithms.extend(self.wanted.as_ref().map(|wanted| wanted.algorithm));
        if algorithms.is_empty() {
            return (content, result);
        }
        let sums: Vec<_> = algorithms.into_iter().map(|algorithm| (algorithm, Context::new(algorithm.algorithm()))).collect();
        let state = Some((content, sums, self, result.clone()));
        let checked = stream::unfold(state, |state| async move {
            let (mut content, mut sums, digests, result) = state?;
            match content.next().await {
                Some(Ok(piece)) => {
                    sums.iter_mut().for_each(|(_, sum)| sum.update(&piece));
                    Some((Ok(piece), Some((content, sums, digests, result))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => digests.compare(sums, &result).err().map(|error| (Err(error), None)),
            }
        });
        (checked.boxed(), result)
    }

    fn compare(self, sums: Vec<(Algorithm, Context)>, result: &DigestResult) -> Result<(), FilesystemError> {
        let sums: Vec<_> = sums.into_iter().map(|(algorithm, sum)| (algorithm, sum.finish())).collect();
        let sum = |algorithm| sums.iter().find(|(other, _)| *other == algorithm).map(|(_, sum)| sum.as_ref());
        if let Some(wrong) = self.announced.iter().find(|announced| sum(announced.algorithm) != Some(&announced.sum[..])) {
            return Err(FilesystemError::Digest(wrong.algorithm.field_name()));
        }
        if let Some((wanted, sum)) = self.wanted.and_then(|wanted| sum(wanted.algorithm).map(|sum| (wanted, sum.to_vec()))) {
            // It is sent once: the content ends once.
            let _ = result.0.set((wanted, sum));
        }
        Ok(())
    }
}

/// The digest for the response, once it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestResult(Arc<OnceLock<(DigestPreference, Vec<u8>)>>);

impl DigestResult {
    /// Writes the digest into the headers of the response, if it was requested.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Some((wanted, sum)) = self.0.get() {
            wanted.write(sum, headers);
        }
    }
}

/// A member such as `sha-256=10`.
fn integer(member: &str) -> Option<(&str, f32)> {
    let (name, weight) = member.split_once('=')?;
    Some((name.trim(), weight.trim().parse().ok()?))
}

/// A member such as `sha-256;q=0.5`, as the older form has it.
fn quality(member: &str) -> Option<(&str, f32)> {
    match member.split_once(';') {
        None => Some((member, 1.0)),
        Some((name, weight)) => Some((name.trim(), weight.trim().strip_prefix("q=")?.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::TryStreamExt;

    const ABC: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    const ABC_512: &str = "3a81oZNherrMQXNJriBBMRLm+k6JqX6iCp7u5ktV05ohkpkqJ0/BqDa6PCOj/uu9RU1EI2Q86A4qmslPpUyknw==";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    async fn check(fields: &[(&'static str, &str)]) -> Result<HeaderMap, String> {
        let digests = Digests::of(&headers(fields)).map_err(|error| error.to_string())?;
        let content = stream::iter(["a", "bc"]).map(|piece| Ok(Bytes::from(piece))).boxed();
        let (content, result) = digests.check(content);
        let pieces: Vec<Bytes> = content.try_collect().await.map_err(|error| error.to_string())?;
        assert_eq!(pieces.concat(), b"abc");
        let mut answer = HeaderMap::new();
        result.write(&mut answer);
        Ok(answer)
    }

    #[tokio::test]
    async fn the_right_digest_passes_in_each_of_its_forms() {
        for (name, value) in [
            ("repr-digest", format!("sha-256=:{ABC}:")),
            ("content-digest", format!("md5=:AAAA:, sha-512=:{ABC_512}:")),
            ("digest", format!("SHA-256={ABC}")),
            ("digest", format!("unixsum=30637,sha-256={ABC},sha-512={ABC_512}")),
        ] {
            assert!(check(&[(name, &value)]).await.is_ok(), "{name}: {value}");
        }
        assert!(check(&[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_wrong_digest_fails_at_the_end() {
        let wrong = ABC.replace('u', "v");
        for value in [format!("sha-256=:{wrong}:"), format!("sha-512=:{ABC_512}:, sha-256=:{wrong}:")] {
            let error = check(&[("repr-digest", &value)]).await.unwrap_err();
            assert_eq!(error, "the content does not have the sha-256 digest that was announced", "{value}");
        }
    }

    #[tokio::test]
    async fn a_digest_that_cannot_be_checked_is_refused() {
        for (name, value) in [
            ("repr-digest", format!("sha-256={ABC}")),
            ("repr-digest", "sha-256=:AAAA:".to_owned()),
            ("repr-digest", "md5=:AAAA:".to_owned()),
            ("content-digest", "sha-256".to_owned()),
            ("digest", "sha-256=$".to_owned()),
            ("digest", String::new()),
        ] {
            assert!(Digests::of(&headers(&[(name, &value)])).is_err(), "{name}: {value}");
        }
    }

    #[tokio::test]
    async fn the_digest_that_is_wanted_most_is_told() {
        for (name, value, field, result) in [
            ("want-repr-digest", "sha-256=1, sha-512=10, md5=10", "repr-digest", format!("sha-512=:{ABC_512}:")),
            ("want-repr-digest", "sha-512=0, sha-256=3", "repr-digest", format!("sha-256=:{ABC}:")),
            ("want-digest", "md5, SHA-256;q=0.3", "digest", format!("sha-256={ABC}")),
        ] {
            assert_eq!(check(&[(name, value)]).await.unwrap().get(field).unwrap(), result.as_str(), "{name}: {value}");
        }
        for value in ["md5=1", "sha-256=0", "sha-256", "=", ""] {
            assert!(check(&[("want-repr-digest", value)]).await.unwrap().is_empty(), "{value}");
        }
    }
}
