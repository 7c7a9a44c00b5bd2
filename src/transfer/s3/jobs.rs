//! The jobs that move a file between the cluster and the store.

use uuid::Uuid;

use super::{MultipartUpload, ObjectStore, ObjectStoreError, PartLayout, Side};
use crate::domain::{JobDescription, RemotePath, text_to_bytes};
use crate::transfer::script::Script;
use crate::transfer::{Directives, Multipart, describe, mark};

/// The first part of a program.
macro_rules! program {
    ($name:literal) => {
        concat!(include_str!("shell/curl.sh"), "\n", include_str!(concat!("shell/", $name)))
    };
}

/// Where and how a job runs. `id` is not used for another one.
#[derive(Clone, Copy, Debug)]
pub struct JobSettings<'a> {
    /// The site's directives.
    pub directives: &'a Directives,
    /// The directory that the job runs in and leaves its logs in.
    pub directory: &'a RemotePath,
    /// Its own name.
    pub id: Uuid,
}

/// The job that waits until `upload` is whole and then puts it, a file of `size` bytes, at `target`.
///
/// # Errors
/// If the store's address cannot be used.
pub fn receive(
    store: &ObjectStore,
    upload: &MultipartUpload,
    target: &RemotePath,
    size: u64,
    place: JobSettings<'_>,
) -> Result<JobDescription, ObjectStoreError> {
    let script = Script::new(place.directives)
        .path("target", target)
        .path("temporary", &target.hidden_beside(&mark(place.id)))
        .value("size", size.to_string().as_bytes())
        .value("deadline", upload.last_look().to_string().as_bytes())
        .value("head_url", store.head_url(upload)?.expose().as_bytes())
        .value("get_url", store.download_url(Side::Private, upload)?.expose().as_bytes())
        .value("delete_url", store.delete_url(upload)?.expose().as_bytes())
        .value("abort_url", store.abort_url(upload)?.expose().as_bytes())
        .program(program!("receive.sh"));
    Ok(describe("IngressFileTransfer", script, place.directory, place.id))
}

/// The job that sends the file `source`, which is cut into `parts`, to the store.
///
/// # Errors
/// If the store's address cannot be used.
pub fn send(
    store: &ObjectStore,
    upload: &MultipartUpload,
    source: &RemotePath,
    parts: PartLayout,
    multipart: &Multipart,
    place: JobSettings<'_>,
) -> Result<JobDescription, ObjectStoreError> {
    let urls = PartUrls::new(store, upload, parts)?;
    // A relative one lies where the job runs.
    let workplace = match multipart.tmp_folder.strip_prefix('/') {
        Some(_) => multipart.tmp_folder.clone(),
        None => format!("{}/{}", place.directory.to_text(), multipart.tmp_folder),
    };
    let script = Script::new(place.directives)
        .path("source", source)
        .value("workplace", &text_to_bytes(&workplace))
        .value("size", parts.size.to_string().as_bytes())
        .value("part_size", parts.part_size.to_string().as_bytes())
        .value("parts", parts.count.to_string().as_bytes())
        .value("parallel", multipart.parallel_runs.max(1).to_string().as_bytes())
        .word("split", if multipart.use_split { "yes" } else { "no" })
        .value("deadline", upload.ends().to_string().as_bytes())
        .value("url_before", urls.before.as_bytes())
        .value("url_after", urls.after.as_bytes())
        .lines("signatures", &urls.signatures)
        .value("complete_url", store.complete_url(Side::Private, upload)?.expose().as_bytes())
        .value("abort_url", store.abort_url(upload)?.expose().as_bytes())
        .program(program!("send.sh"));
    Ok(describe("OutgressFileTransfer", script, place.directory, place.id))
}

/// The URLs of parts, which differ in number and signature alone: ten thousand whole ones are more than a scheduler takes in a script.
struct PartUrls {
    before: String,
    after: String,
    signatures: Vec<String>,
}

impl PartUrls {
    fn new(store: &ObjectStore, upload: &MultipartUpload, parts: PartLayout) -> Result<Self, ObjectStoreError> {
        let mut all = Self { before: String::new(), after: String::new(), signatures: Vec::with_capacity(parts.count.into()) };
        for url in store.part_urls(Side::Private, upload, parts)? {
            let (head, signature) = url.expose().rsplit_once('=').ok_or(ObjectStoreError::Address)?;
            let (before, rest) = head.split_once("partNumber=").ok_or(ObjectStoreError::Address)?;
            let (_, after) = rest.split_once('&').ok_or(ObjectStoreError::Address)?;
            if all.signatures.is_empty() {
                all.before = format!("{before}partNumber=");
                all.after = format!("&{after}=");
            }
            all.signatures.push(signature.to_owned());
        }
        Ok(all)
    }
}
