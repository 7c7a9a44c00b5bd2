//! Queries and forms as text: `application/x-www-form-urlencoded` (WHATWG URL, 5.1), not yet decoded.

/// The pairs of names and values.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    parts(query).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The query as it was sent, without these parameters; each of the others is followed by `&`, so that more can be added.
pub(crate) fn without(query: &str, names: &[&str]) -> String {
    let others = parts(query).filter(|pair| pair.split('=').next().is_none_or(|name| !names.contains(&name)));
    others.flat_map(|pair| [pair, "&"]).collect()
}

fn parts(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|pair| !pair.is_empty())
}
