//! Files on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{self, bytes_to_text};
use crate::filesystem;
use crate::http::extract::lenient;
use crate::service::files::Amount;

/// A path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PathParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
}

/// Where to put a file.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UploadParameters {
    /// The directory that takes the file; the file's name is that of the part `file`.
    #[param(example = "/home/user")]
    pub(in crate::http) path: String,
}

/// What to list, and how.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct LsParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user")]
    pub(in crate::http) path: String,
    /// Names that start with a dot too.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    show_hidden: bool,
    /// Owners and groups as numbers.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    numeric_uid: bool,
    /// All levels below.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    recursive: bool,
    /// Links shown as what they point to.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    dereference: bool,
}

impl LsParameters {
    /// How to list.
    pub(in crate::http) fn options(&self) -> filesystem::ListOptions {
        filesystem::ListOptions {
            hidden: self.show_hidden,
            numeric_ids: self.numeric_uid,
            recursive: self.recursive,
            dereference: self.dereference,
        }
    }
}

/// Whose status.
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

/// How much of the start of a file. Ten lines when neither `bytes` nor `lines` is given; both together are an error.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct HeadParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// So many bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    bytes: Option<u64>,
    /// So many lines.
    #[serde(default, deserialize_with = "lenient::count")]
    lines: Option<u64>,
    /// The whole file but for so many bytes or lines at its end.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    skip_trailing: bool,
}

impl HeadParameters {
    /// How much.
    pub(in crate::http) fn amount(&self) -> Amount {
        Amount { bytes: self.bytes, lines: self.lines, skip: self.skip_trailing }
    }
}

/// How much of the end of a file. Ten lines when neither `bytes` nor `lines` is given; both together are an error.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct TailParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// So many bytes.
    #[serde(default, deserialize_with = "lenient::count")]
    bytes: Option<u64>,
    /// So many lines.
    #[serde(default, deserialize_with = "lenient::count")]
    lines: Option<u64>,
    /// The whole file but for so many bytes or lines at its start.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[param(default = false)]
    skip_heading: bool,
}

impl TailParameters {
    /// How much.
    pub(in crate::http) fn amount(&self) -> Amount {
        Amount { bytes: self.bytes, lines: self.lines, skip: self.skip_heading }
    }
}

/// Which part of a file.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct ViewParameters {
    /// An absolute path inside a configured file system.
    #[param(example = "/home/user/file.txt")]
    pub(in crate::http) path: String,
    /// How many bytes; at most the system's limit (`max_ops_file_size`).
    #[serde(default, deserialize_with = "lenient::count")]
    #[param(default = 5_242_880)]
    pub(in crate::http) size: Option<u64>,
    /// The first byte, counted from 0.
    #[serde(default, deserialize_with = "lenient::count")]
    #[param(default = 0)]
    pub(in crate::http) offset: Option<u64>,
}

/// New permissions. `path` and `source_path` are understood for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"sourcePath": "/home/user/file.txt", "mode": "640"}))]
pub(in crate::http) struct PutFileChmodRequest {
    /// An absolute path inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The permission bits in octal, from 0 to 7777.
    pub(in crate::http) mode: String,
}

/// A new owner, group or both. `path` and `source_path` are understood for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"sourcePath": "/home/user/file.txt", "group": "project"}))]
pub(in crate::http) struct PutFileChownRequest {
    /// An absolute path inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The name or number of the new owner.
    #[serde(default)]
    #[schema(default = "")]
    pub(in crate::http) owner: String,
    /// The name or number of the new group.
    #[serde(default)]
    #[schema(default = "")]
    pub(in crate::http) group: String,
}

/// A directory to make. `path` and `source_path` are understood for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"sourcePath": "/home/user/a/b", "parent": true}))]
pub(in crate::http) struct PostMakeDirRequest {
    /// An absolute path inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// Make the directories above it too, and do not fail when it exists.
    #[serde(default, deserialize_with = "lenient::flag")]
    #[schema(default = false)]
    pub(in crate::http) parent: bool,
}

/// A symbolic link to make. `path` and `source_path` are understood for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"sourcePath": "/home/user/data", "linkPath": "/home/user/link"}))]
pub(in crate::http) struct PostFileSymlinkRequest {
    /// The absolute path that the link points to, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the link, inside a configured file system.
    #[serde(rename = "linkPath", alias = "link_path")]
    pub(in crate::http) link_path: String,
}

/// What to pack, and how. `path` and `source_path` are understood for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
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
    /// Pack what links point to.
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
    pub(in crate::http) fn options(&mut self) -> filesystem::CompressOptions {
        filesystem::CompressOptions {
            compression: self.compression.into(),
            dereference: self.dereference,
            match_pattern: self.match_pattern.take(),
        }
    }
}

/// What to unpack, and where. `path` and `source_path` are understood for `sourcePath`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"sourcePath": "/home/user/dir.tar.gz", "targetPath": "/home/user/dir", "compression": "gzip"}))]
pub(in crate::http) struct PostExtractRequest {
    /// The absolute path of the archive, inside a configured file system.
    #[serde(rename = "sourcePath", alias = "path", alias = "source_path")]
    pub(in crate::http) path: String,
    /// The absolute path of the directory that takes its content, inside a configured file system.
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

impl From<CompressionType> for filesystem::Compression {
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

/// Defines the answers that are an `output` member around something.
macro_rules! outputs {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Serialize, ToSchema)]
        pub(in crate::http) struct $name {
            output: Option<$inner>,
        }

        impl<T: Into<$inner>> From<T> for $name {
            fn from(output: T) -> Self {
                Self { output: Some(output.into()) }
            }
        }
    )*};
}

outputs! {
    /// The changed entry.
    PutFileChmodResponse(File);
    /// The changed entry.
    PutFileChownResponse(File);
    /// The new entry.
    PostMkdirResponse(File);
    /// The new entry.
    PostFileSymlinkResponse(File);
    /// The start of a file.
    GetFileHeadResponse(FileContent);
    /// The end of a file.
    GetFileTailResponse(FileContent);
    /// The checksum of a file.
    GetFileChecksumResponse(FileChecksum);
    /// The status of a file.
    GetFileStatResponse(FileStat);
    /// The kind of content of a file, in the words of `file -b`.
    GetFileTypeResponse(String);
    /// The content of a file. A byte that is not part of valid UTF-8 is shown as the character U+EF00 plus its value.
    GetViewFileResponse(String);
}

/// The entries of a directory.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetDirectoryLsResponse {
    output: Option<Vec<File>>,
}

impl From<Vec<domain::DirectoryEntry>> for GetDirectoryLsResponse {
    fn from(entries: Vec<domain::DirectoryEntry>) -> Self {
        Self { output: Some(entries.into_iter().map(File::from).collect()) }
    }
}

/// An entry of a directory. A byte of a name that is not part of valid UTF-8 is shown as the character U+EF00 plus its value,
/// and read back as that byte.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct File {
    name: String,
    /// The first letter of `ls -l`.
    #[schema(example = "-")]
    r#type: String,
    link_target: Option<String>,
    user: String,
    group: String,
    #[schema(example = "rw-r-----")]
    permissions: String,
    /// When the content last changed, in UTC.
    #[schema(example = "2026-01-31T08:00:00")]
    last_modified: String,
    /// The size in bytes.
    #[schema(example = "1024")]
    size: String,
}

impl From<domain::DirectoryEntry> for File {
    fn from(entry: domain::DirectoryEntry) -> Self {
        Self {
            name: bytes_to_text(&entry.name),
            r#type: entry.file_type.letter().to_string(),
            link_target: entry.link_target.as_deref().map(bytes_to_text),
            user: entry.user,
            group: entry.group,
            permissions: permissions(entry.permissions),
            last_modified: last_modified(entry.modified),
            size: entry.size.to_string(),
        }
    }
}

/// A part of a file.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct FileContent {
    /// The content. A byte that is not part of valid UTF-8 is shown as the character U+EF00 plus its value.
    content: String,
    content_type: ContentUnit,
    start_position: i64,
    end_position: i64,
}

/// What positions count.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ContentUnit {
    Lines,
    Bytes,
}

impl From<domain::Content> for FileContent {
    fn from(content: domain::Content) -> Self {
        Self {
            content: bytes_to_text(&content.data),
            content_type: match content.unit {
                domain::ContentUnit::Lines => ContentUnit::Lines,
                domain::ContentUnit::Bytes => ContentUnit::Bytes,
            },
            start_position: content.start,
            end_position: content.end,
        }
    }
}

/// A checksum.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FileChecksum {
    #[schema(default = "SHA-256", required = false)]
    algorithm: &'static str,
    checksum: String,
}

impl From<domain::Checksum> for FileChecksum {
    fn from(checksum: domain::Checksum) -> Self {
        Self { algorithm: checksum.algorithm, checksum: checksum.hex }
    }
}

/// The fields of `stat(2)`.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct FileStat {
    mode: u32,
    ino: u64,
    dev: u64,
    nlink: u64,
    uid: u32,
    gid: u32,
    size: u64,
    atime: i64,
    ctime: i64,
    mtime: i64,
}

impl From<domain::FileStat> for FileStat {
    fn from(stat: domain::FileStat) -> Self {
        Self {
            mode: stat.mode,
            ino: stat.ino,
            dev: stat.dev,
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            atime: stat.atime,
            ctime: stat.ctime,
            mtime: stat.mtime,
        }
    }
}

/// The nine letters of `ls -l`, set-id and sticky bits included.
fn permissions(bits: u32) -> String {
    let triple = |shift: u32, special: u32, letter: char| {
        let bits_of = bits >> shift;
        let execute = match (bits & special != 0, bits_of & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        };
        [if bits_of & 4 != 0 { 'r' } else { '-' }, if bits_of & 2 != 0 { 'w' } else { '-' }, execute]
    };
    [triple(6, 0o4000, 's'), triple(3, 0o2000, 's'), triple(0, 0o1000, 't')].concat().into_iter().collect()
}

/// `%Y-%m-%dT%H:%M:%S` in UTC. A time outside the years -9999 to 9999 is shown as the number it is.
fn last_modified(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        Err(_) => seconds.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_shown_as_ls_shows_them() {
        for (bits, letters) in
            [(0o640, "rw-r-----"), (0o4755, "rwsr-xr-x"), (0o2640, "rw-r-S---"), (0o1777, "rwxrwxrwt"), (0o1000, "--------T")]
        {
            assert_eq!(permissions(bits), letters);
        }
    }

    #[test]
    fn times_are_in_utc_and_absurd_ones_do_not_fail() {
        assert_eq!(last_modified(1_769_846_400), "2026-01-31T08:00:00");
        assert_eq!(last_modified(i64::MAX), i64::MAX.to_string());
    }
}
