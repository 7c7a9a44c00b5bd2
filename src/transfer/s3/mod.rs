//! Large files through an S3 object store.
//!
//! An upload: [`ObjectStore::begin`] has the store expect a file in parts, the client sends them to the URLs of [`ObjectStore::part_urls`], and
//! the job of [`receive`] waits until the file is whole and downloads it. A download: the job of [`send`] sends the parts, and the
//! client reads the file at [`ObjectStore::download_url`]. [`ObjectStore`] alone speaks with the store; what is signed, how a file is cut and
//! the scripts are pure. This module must not know who may do this, nor which scheduler runs the jobs. A signed URL is a secret.

mod error;
mod jobs;
mod parts;
mod signer;
mod store;

pub use error::ObjectStoreError;
pub use jobs::{JobSettings, receive, send};
pub use parts::{MAX_PARTS, PartLayout, TooManyParts};
pub use store::{MultipartUpload, ObjectStore, Side};

#[cfg(test)]
mod tests;
