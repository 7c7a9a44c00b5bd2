//! How the content of a request is coded for its way (RFC 9112, 6.1).

use axum::http::{HeaderMap, header};

/// Whether the content comes as it is, or in chunks, which are taken off. Nothing else is, and would be stored.
pub(crate) fn is_understood(headers: &HeaderMap) -> bool {
    headers.get_all(header::TRANSFER_ENCODING).iter().all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}
