//! Header fields that hold a list (RFC 9110, 5.6.1).

use axum::http::{HeaderMap, HeaderName, header};

/// The members of a list from all fields of that name. Members in use here contain no comma, so that it can be split there.
pub(crate) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let fields = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// Whether the caller accepts this media type by its name.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut types = members(headers, &header::ACCEPT).map(|range| range.split(';').next().unwrap_or_default().trim());
    types.any(|accepted| accepted.eq_ignore_ascii_case(media_type))
}
