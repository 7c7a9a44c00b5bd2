//! URLs that were checked when the configuration was read.

use std::fmt;

/// An absolute `http` or `https` URL with a host and without credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(reqwest::Url);

/// Why a text is not such a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a usable URL: {0}")]
pub struct InvalidUrl(&'static str);

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// If it is no URL, has another scheme than `http` and `https`, or carries a user name or password: those would end up
    /// in logs.
    pub fn parse(text: &str) -> Result<Self, InvalidUrl> {
        let url = reqwest::Url::parse(text).map_err(|_| InvalidUrl("it does not parse"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidUrl("it must start with http:// or https://"));
        }
        if !url.has_host() {
            return Err(InvalidUrl("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidUrl("it holds a user name or password"));
        }
        Ok(Self(url))
    }

    /// The origin, as browsers send it (RFC 6454, 6.1): scheme, host, and the port where it is not the scheme's own.
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The URL with further path segments; each is escaped, so that none can leave its place.
    pub fn with_segments<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments.into_iter().filter(|segment| !segment.is_empty()));
        }
        Self(url)
    }

    /// The URL with `name=value` added to its query.
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair(name, value);
        Self(url)
    }

    /// The URL with these segments as its whole path, and no query.
    pub fn with_path<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        url.set_path("");
        url.set_query(None);
        Self(url).with_segments(segments)
    }

    /// The host, and the port where it is not that of the scheme: who is called.
    pub fn authority(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether requests are encrypted.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The segments of the path, still escaped.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty())
    }

    pub(super) fn inner(&self) -> &reqwest::Url {
        &self.0
    }
}

/// Shows the URL without its query, which may hold a secret.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.0.path())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_without_credentials_are_accepted() {
        assert!(Url::parse("https://idp.example.org/realms/a").is_ok());
        for text in ["", "idp", "ftp://a/", "file:///etc/passwd", "http://user:pw@a/", "http://"] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        let url = Url::parse("http://fga:8080/base/").unwrap().with_segments(["stores", "../../x?y#z", "check"]);
        assert_eq!(url.to_string(), "http://fga:8080/base/stores/..%2F..%2Fx%3Fy%23z/check");
    }

    #[test]
    fn the_query_is_not_shown() {
        let url = Url::parse("http://a/b").unwrap().with_query("token", "hunter2");
        assert!(!format!("{url} {url:?}").contains("hunter2"));
    }
}
