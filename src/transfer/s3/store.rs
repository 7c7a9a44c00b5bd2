//! A store: what is done there by ourselves, and the URLs that let others do the rest.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::signer::{Call, Method, Signer, Window};
use super::{ObjectStoreError, PartLayout};
use crate::domain::{Secret, Username, bytes_to_text};
use crate::error::ErrorChain;
use crate::rest::{self, Client, InvalidUrl, Request, Url};
use crate::transfer::S3;

/// The validity of a URL that is used at once: clocks differ.
const IMMEDIATE_TTL_SECONDS: u64 = 300;
/// The time before the end of its URLs at which a job gives up.
const GIVE_UP_MARGIN_SECONDS: u64 = 60;
/// The time limit for a response of the store.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer, in bytes: errors and the names of uploads.
const MAX_ANSWERED: usize = 64 * 1024;
/// The largest answer to the probe, in bytes: it names every bucket.
const MAX_LISTED: usize = 16 * 1024 * 1024;
/// The longest name of an upload, in bytes.
const MAX_ID: usize = 2048;

/// An object store.
pub struct ObjectStore {
    name: String,
    client: Client,
    private: Signer,
    public: Signer,
    tenant: Option<String>,
    seconds: u64,
    part_size: u64,
    days: u32,
    patience: Duration,
}

/// An upload in parts that the store knows of.
#[derive(Clone, Debug)]
pub struct MultipartUpload {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) id: String,
    pub(super) window: Window,
}

/// From where the store is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From inside the site.
    Private,
    /// From where clients are.
    Public,
}

impl MultipartUpload {
    /// When its URLs expire, in seconds since 1970.
    pub(super) fn ends(&self) -> i64 {
        self.window.begins.as_second().saturating_add_unsigned(self.window.seconds)
    }

    /// When a job that waits for the file looks a last time, in seconds since 1970: giving up is to be within the time of the URLs.
    pub(super) fn last_look(&self) -> i64 {
        self.ends().saturating_sub_unsigned(GIVE_UP_MARGIN_SECONDS.min(self.window.seconds / 10))
    }

    fn call<'a>(&'a self, method: Method, query: &'a [(&'a str, &'a str)]) -> Call<'a> {
        Call { method, bucket: Some(&self.bucket), key: Some(&self.key), query }
    }
}

impl ObjectStore {
    /// The store as it is configured. Nothing is sent yet.
    ///
    /// # Errors
    /// If one of its addresses is no URL.
    pub fn new(config: &S3, client: Client) -> Result<Self, InvalidUrl> {
        let signer = |address: &str| Signer::new(address, &config.region, &config.access_key_id, &config.secret_access_key);
        Ok(Self {
            name: config.name.clone(),
            client,
            private: signer(config.private_url.expose())?,
            public: signer(&config.public_url)?,
            tenant: config.tenant.clone(),
            seconds: config.ttl,
            part_size: config.multipart.max_part_size,
            days: config.bucket_lifecycle_configuration.days,
            patience: RESPONSE_TIMEOUT,
        })
    }

    /// The same store, waited for this long.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How a file of `size` bytes is cut.
    ///
    /// # Errors
    /// If it is too large for that.
    pub fn parts(&self, size: u64) -> Result<PartLayout, super::TooManyParts> {
        PartLayout::new(size, self.part_size)
    }

    /// Whether the store answers, and knows our key.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), ObjectStoreError> {
        let task = "list buckets";
        let answer = self.send(task, &Call { method: Method::Get, bucket: None, key: None, query: &[] }, None, MAX_LISTED).await?;
        self.accepted(task, &answer)
    }

    /// Begins an upload in parts to the bucket of `user`, which is made where it is missing. `name` is the file's; the key is used once.
    ///
    /// # Errors
    /// If the store does not do it.
    pub async fn begin(&self, user: &Username, name: &[u8]) -> Result<MultipartUpload, ObjectStoreError> {
        let bucket = match &self.tenant {
            Some(tenant) => format!("{tenant}:{user}"),
            None => user.to_string(),
        };
        self.provide(&bucket).await?;
        // Control characters are nothing that an answer in XML can repeat.
        let name = bytes_to_text(name).replace(char::is_control, "_");
        let key = format!("{}/{name}", Uuid::new_v4());
        let task = "begin an upload";
        let window = Window { begins: Timestamp::now(), seconds: self.seconds };
        let begin = Call { method: Method::Post, bucket: Some(&bucket), key: Some(&key), query: &[("uploads", "")] };
        let answer = self.send(task, &begin, None, MAX_ANSWERED).await?;
        self.accepted(task, &answer)?;
        let id = element(&answer.body, "UploadId").filter(|id| is_upload_id(id)).map(str::to_owned);
        let id = id.ok_or_else(|| ObjectStoreError::Unclear { store: self.name.clone(), task })?;
        Ok(MultipartUpload { bucket, key, id, window })
    }

    /// Removes an upload and its parts.
    ///
    /// # Errors
    /// If the store does not do it; it will in its time.
    pub async fn abort(&self, upload: &MultipartUpload) -> Result<(), ObjectStoreError> {
        let task = "abort an upload";
        let answer = self.send(task, &upload.call(Method::Delete, &[("uploadId", &upload.id)]), None, MAX_ANSWERED).await?;
        self.accepted(task, &answer)
    }

    /// Where each part is sent to, in order.
    ///
    /// # Errors
    /// If the store's address cannot be used.
    pub fn part_urls(&self, side: Side, upload: &MultipartUpload, parts: PartLayout) -> Result<Vec<Secret>, ObjectStoreError> {
        let signer = self.signer(side);
        let url = |number: u16| {
            let number = number.to_string();
            signer.sign(&upload.call(Method::Put, &[("partNumber", &number), ("uploadId", &upload.id)]), upload.window)
        };
        (1..=parts.count).map(url).collect()
    }

    /// Where the list of the parts is sent to.
    ///
    /// # Errors
    /// If the store's address cannot be used.
    pub fn complete_url(&self, side: Side, upload: &MultipartUpload) -> Result<Secret, ObjectStoreError> {
        self.signer(side).sign(&upload.call(Method::Post, &[("uploadId", &upload.id)]), upload.window)
    }

    /// Where the file is read once it is whole.
    ///
    /// # Errors
    /// If the store's address cannot be used.
    pub fn download_url(&self, side: Side, upload: &MultipartUpload) -> Result<Secret, ObjectStoreError> {
        self.signer(side).sign(&upload.call(Method::Get, &[]), upload.window)
    }

    /// Where a job looks whether the file is there.
    pub(super) fn head_url(&self, upload: &MultipartUpload) -> Result<Secret, ObjectStoreError> {
        self.private.sign(&upload.call(Method::Head, &[]), upload.window)
    }

    /// Where a job removes the file.
    pub(super) fn delete_url(&self, upload: &MultipartUpload) -> Result<Secret, ObjectStoreError> {
        self.private.sign(&upload.call(Method::Delete, &[]), upload.window)
    }

    /// Where a job gives an upload up.
    pub(super) fn abort_url(&self, upload: &MultipartUpload) -> Result<Secret, ObjectStoreError> {
        self.private.sign(&upload.call(Method::Delete, &[("uploadId", &upload.id)]), upload.window)
    }

    fn signer(&self, side: Side) -> &Signer {
        match side {
            Side::Private => &self.private,
            Side::Public => &self.public,
        }
    }

    /// Makes the bucket, and has it emptied in time, if there is none.
    async fn provide(&self, bucket: &str) -> Result<(), ObjectStoreError> {
        let call = |method, query| Call { method, bucket: Some(bucket), key: None, query };
        let task = "look for a bucket";
        let answer = self.send(task, &call(Method::Head, &[]), None, MAX_ANSWERED).await?;
        if answer.status != 404 {
            return self.accepted(task, &answer);
        }
        let task = "make a bucket";
        let answer = self.send(task, &call(Method::Put, &[]), None, MAX_ANSWERED).await?;
        // Another request was faster.
        if answer.status == 409 {
            return Ok(());
        }
        self.accepted(task, &answer)?;
        let task = "have a bucket emptied in time";
        let answer = self.send(task, &call(Method::Put, &[("lifecycle", "")]), Some(lifecycle(self.days)), MAX_ANSWERED).await;
        // The bucket can be used without the rule: sites whose store has no such rules remove objects in another way.
        if let Err(error) = answer.and_then(|answer| self.accepted(task, &answer)) {
            tracing::warn!(%bucket, days = self.days, error = %ErrorChain(&error), "objects of a new bucket will not expire by themselves");
        }
        Ok(())
    }

    async fn send(
        &self,
        task: &'static str,
        call: &Call<'_>,
        body: Option<String>,
        max_body: usize,
    ) -> Result<rest::Response, ObjectStoreError> {
        let method = match call.method {
            Method::Head => rest::Method::Head,
            Method::Get => rest::Method::Get,
            Method::Post => rest::Method::Post,
            Method::Put => rest::Method::Put,
            Method::Delete => rest::Method::Delete,
        };
        let url = self.private.sign(call, Window { begins: Timestamp::now(), seconds: IMMEDIATE_TTL_SECONDS })?;
        let url = Url::parse(url.expose()).map_err(|_| ObjectStoreError::Address)?;
        let mut request = Request::new(method, url).timeout(self.patience).max_body(max_body);
        if let Some(body) = body {
            // Stores require a digest of the body.
            let digest = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, md5::compute(&body).0);
            request = request.header("content-md5", Secret::from(digest)).xml(body);
        }
        self.client.send(request).await.map_err(|source| ObjectStoreError::Unanswered { store: self.name.clone(), task, source })
    }

    fn accepted(&self, task: &'static str, answer: &rest::Response) -> Result<(), ObjectStoreError> {
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let store = self.name.clone();
        let code = element(&answer.body, "Code").filter(|code| is_code(code));
        let reason = code.map_or_else(|| format!("status {}", answer.status), |code| format!("status {}, {code}", answer.status));
        let busy = answer.status >= 500 || answer.status == 429;
        Err(if busy { ObjectStoreError::Busy { store, task, reason } } else { ObjectStoreError::Refused { store, task, reason } })
    }
}

/// The rule by which a bucket is emptied: objects end after so many days, and so do uploads that were never completed.
fn lifecycle(days: u32) -> String {
    format!(
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ID>ExpireObjects</ID><Filter><Prefix></Prefix></Filter>\
         <Status>Enabled</Status><Expiration><Days>{days}</Days></Expiration>\
         <AbortIncompleteMultipartUpload><DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload>\
         </Rule></LifecycleConfiguration>"
    )
}

/// The text of the first element of this name; its content is plain in what is looked for.
fn element<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0.trim())
}

/// Whether it is a name as stores make them, and nothing that could mean more in a URL or in XML.
fn is_upload_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-~+/=:".contains(&byte))
}

fn is_code(code: &str) -> bool {
    (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_calls_an_upload_is_found_or_refused() {
        let answer = |id: &str| format!("<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><Key>k</Key><UploadId>{id}</UploadId></R>");
        for id in ["2~abc_D-e.f", "VXBsb2FkIElE+/=", "b_1:2"] {
            assert_eq!(element(answer(id).as_bytes(), "UploadId").filter(|id| is_upload_id(id)), Some(id));
        }
        for id in ["", "a b", "a&amp;b", "a\nb", "\"", "<b>", &"a".repeat(MAX_ID + 1)] {
            assert_eq!(element(answer(id).as_bytes(), "UploadId").filter(|id| is_upload_id(id)), None, "{id:?}");
        }
        for body in [&b"\xff"[..], b"", b"{}", b"<UploadId>a", b"</UploadId><UploadId>"] {
            assert_eq!(element(body, "UploadId"), None);
        }
    }

    #[test]
    fn the_rule_of_a_bucket_ends_objects_and_uploads() {
        insta::assert_snapshot!(lifecycle(10));
    }
}
