//! Request parameters and documents of file operations.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::{CompressOptions, Compression};
use crate::filesystem::ArchiveFormat;
use crate::http::enumeration::enum_schema;
use crate::http::extract::parameters::lenient;
use crate::service::contents::{Amount, Excerpt};

/// A path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PathParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
}

/// The parameters of an upload.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UploadParameters {
    /// The directory that takes the file; the file's name is that of the part `file`.
    #[param(example = "/home/user")]
    pub(in crate::http) path: String,
}

/// The parameters of a new resumable upload.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct CreationParameters {
    /// The absolute path of the file; or, with `/` at its end, of the directory, and the metadata has its `filename`.
    #[param(example = "/home/user/data.nc")]
    pub(in crate::http) path: String,
}

/// The parameters of packing and unpacking an archive.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ArchiveParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/results")]
    pub(in crate::http) path: String,
    /// The format of the archive.
    #[serde(default)]
    #[param(inline, value_type = ArchiveFormatSchema, required = false)]
    pub(in crate::http) format: ArchiveFormat,
}

enum_schema! {
    /// The format of an archive that is streamed.
    ArchiveFormatSchema of [ArchiveFormat::Tar, ArchiveFormat::Gzip, ArchiveFormat::Zstd] or ArchiveFormat::Tar
}

/// The path of the entry.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct StatParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// Follow a symbolic link.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    pub(in crate::http) dereference: bool,
}

/// The amount at the start of a file. Ten lines if neither `bytes` nor `lines` is given; both together are an error.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct HeadParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// The number of bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    bytes: Option<u64>,
    /// The number of lines.
    #[serde(default, deserialize_with = "lenient::count")]
    lines: Option<u64>,
    /// The whole file except this many bytes or lines at its end.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    skip_trailing: bool,
    /// Only the lines of that part that match this regular expression; positions still describe the part.
    #[param(max_length = 256, example = "(?i)error")]
    grep: Option<String>,
}

impl HeadParameters {
    /// The path and the requested excerpt.
    pub(in crate::http) fn read(self) -> (String, Excerpt) {
        let amount = Amount { bytes: self.bytes, lines: self.lines, skip: self.skip_trailing };
        (self.path, Excerpt { amount, grep: self.grep })
    }
}

/// The amount at the end of a file. Ten lines if neither `bytes` nor `lines` is given; both together are an error.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct TailParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// The number of bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    bytes: Option<u64>,
    /// The number of lines.
    #[serde(default, deserialize_with = "lenient::count")]
    lines: Option<u64>,
    /// The whole file except this many bytes or lines at its start.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    skip_heading: bool,
    /// Only the lines of that part that match this regular expression; positions still describe the part.
    #[param(max_length = 256, example = "(?i)error")]
    grep: Option<String>,
}

impl TailParameters {
    /// The path and the requested excerpt.
    pub(in crate::http) fn read(self) -> (String, Excerpt) {
        let amount = Amount { bytes: self.bytes, lines: self.lines, skip: self.skip_heading };
        (self.path, Excerpt { amount, grep: self.grep })
    }
}

/// The parameters of a part of a file.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ViewParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// The number of bytes; at most the system's limit (`max_ops_file_size`).
    #[serde(default, deserialize_with = "lenient::count")]
    #[param(default = 5_242_880)]
    pub(in crate::http) size: Option<u64>,
    /// The first byte, counted from 0.
    #[serde(default, deserialize_with = "lenient::count")]
    #[param(default = 0)]
    pub(in crate::http) offset: Option<u64>,
}

/// New permissions. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/file.txt", "mode": "640"}))]
pub(in crate::http) struct PutFileChmodRequest {
    /// An absolute path inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The permission bits: in octal, from 0 to 7777, or as a symbolic mode such as `u+x,go-w`.
    pub(in crate::http) mode: String,
}

/// A new owner, group or both. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/file.txt", "group": "project"}))]
pub(in crate::http) struct PutFileChownRequest {
    /// An absolute path inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The name or number of the new owner.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schema(default = "")]
    pub(in crate::http) owner: String,
    /// The name or number of the new group.
    #[serde(default, deserialize_with = "lenient::text")]
    #[schema(default = "")]
    pub(in crate::http) group: String,
}

/// A directory to create. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/a/b", "parent": true}))]
pub(in crate::http) struct PostMakeDirRequest {
    /// An absolute path inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// Create missing parent directories too, and do not fail if the directory exists.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) parent: bool,
}

/// A symbolic link to create. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/data", "linkPath": "/home/user/link"}))]
pub(in crate::http) struct PostFileSymlinkRequest {
    /// The absolute path that the link points to, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the link, inside a configured file system.
    #[serde(rename = "linkPath", alias = "link_path")]
    pub(in crate::http) link_path: String,
}

/// An archive to create. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir", "targetPath": "/home/user/dir.tar.gz", "compression": "gzip"}))]
pub(in crate::http) struct PostCompressRequest {
    /// The absolute path to pack, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the archive, inside a configured file system.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// Only the files whose path matches this regular expression, as `find -regex` reads it.
    #[serde(alias = "match_pattern")]
    match_pattern: Option<String>,
    /// Pack the files that links point to.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    dereference: bool,
    /// The compression.
    #[serde(default)]
    #[schema(default = "gzip")]
    compression: CompressionType,
}

impl PostCompressRequest {
    /// Takes out how to pack.
    pub(in crate::http) fn options(&mut self) -> CompressOptions {
        compress_options(self.compression, self.dereference, self.match_pattern.take())
    }
}

/// The options of compression; an empty pattern counts as absent.
pub(crate) fn compress_options(compression: CompressionType, dereference: bool, match_pattern: Option<String>) -> CompressOptions {
    CompressOptions { compression: compression.into(), dereference, match_pattern: match_pattern.filter(|pattern| !pattern.is_empty()) }
}

/// An archive to unpack. `path` and `source_path` are accepted for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"sourcePath": "/home/user/dir.tar.gz", "targetPath": "/home/user/dir", "compression": "gzip"}))]
pub(in crate::http) struct PostExtractRequest {
    /// The absolute path of the archive, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the directory to unpack into, inside a configured file system.
    #[serde(alias = "target_path")]
    pub(in crate::http) target_path: String,
    /// The compression.
    #[serde(default)]
    #[schema(default = "gzip")]
    pub(in crate::http) compression: CompressionType,
}

/// The compression of an archive.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum CompressionType {
    None,
    Bzip2,
    #[default]
    Gzip,
    Xz,
}

impl From<CompressionType> for Compression {
    fn from(compression: CompressionType) -> Self {
        match compression {
            CompressionType::None => Self::None,
            CompressionType::Bzip2 => Self::Bzip2,
            CompressionType::Gzip => Self::Gzip,
            CompressionType::Xz => Self::Xz,
        }
    }
}

/// A form with the file to upload.
#[derive(ToSchema)]
#[schema(as = Body_post_upload_filesystem__system_name__ops_upload_post)]
#[expect(dead_code, reason = "it only describes the form, which is read as a stream")]
pub(in crate::http) struct UploadForm {
    /// The file, with its name.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: String,
}
