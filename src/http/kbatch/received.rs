//! The document of a submission: a job or schedule, and the code that it brings.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::Value;

use super::config::KbatchConfig;
use super::dictionary::{Dictionary, Unusable};
use super::shapes::without_nulls;
use crate::error::Kind;
use crate::http::Api;
use crate::http::problem::Problem;

/// What was sent, unchecked but for the size of the code.
pub(super) struct Received {
    pub(super) job: Value,
    /// A zip archive.
    pub(super) code: Option<Arc<[u8]>>,
}

impl FromRequest<Api> for Received {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let config = request.extensions().get::<Arc<KbatchConfig>>().cloned();
        let limit = config.map_or(0, |config| config.max_code_size);
        let bytes = Bytes::from_request(request, api).await.map_err(|rejection| {
            if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
                too_large("more", limit)
            } else {
                Problem::new(Kind::Invalid, "the document could not be received whole")
            }
        })?;
        read(&bytes, limit)
    }
}

fn read(bytes: &[u8], limit: usize) -> Result<Received, Problem> {
    let mut document: Value =
        serde_json::from_slice(bytes).map_err(|error| Problem::unprocessable(format!("the body is no JSON: {error}")))?;
    let job = document.get_mut("job").map(Value::take).filter(|job| !job.is_null());
    let job = job.ok_or_else(|| Problem::unprocessable("job: is missing"))?;
    let code = code(&document["code"])?;
    match &code {
        Some(code) if code.len() > limit => Err(too_large(&code.len().to_string(), limit)),
        _ => Ok(Received { job, code }),
    }
}

/// The code in a ConfigMap.
fn code(config_map: &Value) -> Result<Option<Arc<[u8]>>, Unusable> {
    if config_map.is_null() {
        return Ok(None);
    }
    let mut config_map = Dictionary::new(without_nulls("V1ConfigMap", config_map, "code")?, "code");
    config_map.skip(&["api_version", "kind", "metadata"]);
    let mut data = config_map.dictionary("binary_data");
    let path = data.path("code");
    let text = data.text("code").ok_or_else(|| Unusable::new(path.as_str(), "is missing"))?;
    data.end()?;
    config_map.end()?;
    let code = BASE64_STANDARD.decode(text).map_err(|_| Unusable::new(path.as_str(), "is not in base64"))?;
    Ok(Some(code.into()))
}

fn too_large(size: &str, limit: usize) -> Problem {
    let message = format!(
        "the code has {size} bytes, and a job's can have at most {limit} (compat.kbatch.max_code_size): leave out what the job does not need, \
         or put it into the image"
    );
    Problem::new(Kind::TooLarge, message)
}

impl From<Unusable> for Problem {
    fn from(error: Unusable) -> Self {
        Self::unprocessable(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn code_is_taken_up_to_the_limit() {
        let document = |code: &[u8]| json!({"job": {}, "code": {"binary_data": {"code": BASE64_STANDARD.encode(code)}, "metadata": null}});
        let sent = |document: Value, limit| read(document.to_string().as_bytes(), limit);
        assert_eq!(sent(document(b"PK"), 2).unwrap().code.as_deref(), Some(&b"PK"[..]));
        assert_eq!(sent(document(b"PK1"), 2).err().unwrap().status(), 413);
        assert!(sent(json!({"job": {}}), 2).unwrap().code.is_none());
        for wrong in [json!({}), json!([]), json!({"job": {}, "code": {}}), json!({"job": {}, "code": {"binary_data": {"code": "?"}}})] {
            assert_eq!(sent(wrong.clone(), 2).err().unwrap().status(), 422, "{wrong}");
        }
    }
}
