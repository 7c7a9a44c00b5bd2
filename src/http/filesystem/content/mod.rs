//! Contents of files: whole, in ranges, resumable, and as archives.

pub(crate) mod archive;
pub(crate) mod download;
pub(crate) mod excerpt;
pub(crate) mod tus;
mod tus_headers;
pub(crate) mod upload;
