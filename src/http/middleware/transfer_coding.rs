//! The transfer coding of a request (RFC 9112, 6.1).

use axum::http::{HeaderMap, header};

/// Whether the content is sent without a coding, or in chunks, which are decoded. Any other coding would be stored as it is.
pub(crate) fn is_understood(headers: &HeaderMap) -> bool {
    headers.get_all(header::TRANSFER_ENCODING).iter().all(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
}
