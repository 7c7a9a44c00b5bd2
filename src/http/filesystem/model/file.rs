//! Response documents of file operations.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{self, bytes_to_text};

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
    /// The type of a file's content, as `file -b` prints it.
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

/// The unit of positions.
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
