//! URLs that hold for a while without credentials (AWS Signature Version 4, in the query).

use jiff::Timestamp;
use rusty_s3::{Bucket, Credentials, UrlStyle, signing};

use super::ObjectStoreError;
use crate::domain::Secret;
use crate::rest::{InvalidUrl, Url};

pub(super) use rusty_s3::Method;

/// When a signed URL begins to hold, and for how many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) begins: Timestamp,
    pub(super) seconds: u64,
}

/// A request to a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Absent: the store itself.
    pub(super) bucket: Option<&'a str>,
    /// Absent: the bucket itself.
    pub(super) key: Option<&'a str>,
    /// In the order of the names.
    pub(super) query: &'a [(&'a str, &'a str)],
}

/// Signs for one store by one of its addresses.
pub(super) struct Signer {
    endpoint: String,
    region: String,
    credentials: Credentials,
}

impl Signer {
    /// Signs with this key for the store at `address`.
    ///
    /// # Errors
    /// If the address is no URL.
    pub(super) fn new(address: &str, region: &str, id: &Secret, secret: &Secret) -> Result<Self, InvalidUrl> {
        let endpoint = Url::parse(address)?.to_string();
        // The part after the last slash of an address would be replaced by the bucket.
        let endpoint = format!("{}/", endpoint.trim_end_matches('/'));
        Ok(Self { endpoint, region: region.to_owned(), credentials: Credentials::new(id.expose(), secret.expose()) })
    }

    /// The URL of a call.
    ///
    /// # Errors
    /// If the store's address cannot be one of a bucket.
    pub(super) fn sign(&self, call: &Call<'_>, window: Window) -> Result<Secret, ObjectStoreError> {
        let endpoint = self.endpoint.parse().map_err(|_| ObjectStoreError::Address)?;
        // Without a bucket, `.` makes the URL that of the store.
        let bucket = call.bucket.map_or_else(|| ".".to_owned(), escaped);
        let bucket = Bucket::new(endpoint, UrlStyle::Path, bucket, self.region.clone()).map_err(|_| ObjectStoreError::Address)?;
        let url = match call.key {
            Some(key) => bucket.object_url(key).map_err(|_| ObjectStoreError::Address)?,
            None => bucket.base_url().clone(),
        };
        let (id, secret) = (self.credentials.key(), self.credentials.secret());
        let query = call.query.iter().copied();
        let headers = std::iter::empty();
        let url = signing::sign(&window.begins, call.method, url, id, secret, None, &self.region, window.seconds, query, headers);
        Ok(Secret::from(String::from(url)))
    }
}

/// A bucket's name as one segment of a path: `tenant:name` would be taken for a URL of its own.
fn escaped(name: &str) -> String {
    const UNRESERVED: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(name, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { begins: Timestamp::UNIX_EPOCH, seconds: 600 };

    fn signed(address: &str, call: &Call<'_>) -> String {
        let [id, secret] = ["AKIDEXAMPLE", "hunter2"].map(|text| Secret::from(text.to_owned()));
        Signer::new(address, "eu", &id, &secret).unwrap().sign(call, WINDOW).unwrap().expose().to_owned()
    }

    fn get<'a>(bucket: Option<&'a str>, key: Option<&'a str>) -> Call<'a> {
        Call { method: Method::Get, bucket, key, query: &[] }
    }

    #[test]
    fn a_bucket_of_a_tenant_and_any_key_stay_in_their_places() {
        for (address, bucket, key, start) in [
            ("http://s3:8333", Some("ada"), Some("a/b"), "http://s3:8333/ada/a/b?X-Amz-"),
            ("https://s3.example.org/store", Some("t:ada"), Some("a/../b"), "https://s3.example.org/store/t%3Aada/b?X-Amz-"),
            (
                "https://s3.example.org/",
                Some("a@b+c"),
                Some("u/it's (a) #1?x=y&%2e"),
                "https://s3.example.org/a%40b%2Bc/u/it%27s%20%28a%29%20%231%3Fx%3Dy%26%252e?",
            ),
            ("http://[::1]:9000", Some("ada"), None, "http://[::1]:9000/ada/?X-Amz-"),
            ("http://s3:8333/store", None, None, "http://s3:8333/store/?X-Amz-"),
        ] {
            let url = signed(address, &get(bucket, key));
            assert!(url.starts_with(start), "{url}");
            assert!(!url.contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_signature_is_of_one_method_one_object_and_one_time() {
        let url = signed("http://s3", &get(Some("ada"), Some("a")));
        insta::assert_snapshot!(url);
        let others = [
            signed("http://s4", &get(Some("ada"), Some("a"))),
            signed("http://s3", &get(Some("ada"), Some("b"))),
            signed("http://s3", &Call { method: Method::Head, ..get(Some("ada"), Some("a")) }),
            signed("http://s3", &Call { query: &[("partNumber", "1")], ..get(Some("ada"), Some("a")) }),
        ];
        let signature = |url: &str| url.rsplit_once("X-Amz-Signature=").unwrap().1.to_owned();
        assert!(others.iter().all(|other| signature(other) != signature(&url)), "{others:?}");
    }

    #[test]
    fn the_secret_key_is_not_shown_by_an_address_that_is_refused() {
        let key = Secret::from("hunter2".to_owned());
        for address in ["", "s3", "ftp://s3", "http://a:b@s3"] {
            assert!(Signer::new(address, "eu", &key, &key).is_err(), "{address}");
        }
    }
}
