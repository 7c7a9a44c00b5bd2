//! Finds the reason why a path does not resolve.
//!
//! The protocol has one status for it (draft-ietf-secsh-filexfer-02, section 7), which OpenSSH gives for `ENOENT`, `ENOTDIR` and `ELOOP`
//! alike. So the parts of the path are queried, from its end upwards, if a request failed for this reason.

use bytes::Bytes;

use super::errors::read_only;
use super::protocol::{Request, Response, Status};
use super::session::{Failure, Session};
use crate::domain::{FileType, RemotePath};
use crate::filesystem::FilesystemError;

/// How many links the kernel follows in one path: `MAXSYMLINKS` of Linux, path_resolution(7).
pub const MAX_LINKS: u32 = 40;

/// The maximum number of requests for one path.
const MAX_REQUESTS: u32 = 200;

/// OpenSSH's words for every error that has no status of its own.
const FAILURE: &str = "Failure";

const NOT_A_DIRECTORY: &str = "Not a directory";
const TOO_MANY_LINKS: &str = "Too many levels of symbolic links";

/// The same result, where its error says that a path leads nowhere with the reason, as commands say it.
pub async fn explained<T>(session: &Session, result: Result<T, FilesystemError>) -> Result<T, FilesystemError> {
    let (path, is_directory) = match &result {
        Err(FilesystemError::NotFound(path)) => (path.clone(), false),
        Err(FilesystemError::NoDirectory(path)) => (path.clone(), true),
        Err(FilesystemError::Sftp { path, message }) if message == FAILURE => return read_only(session, path).await.map_or(result, Err),
        Err(FilesystemError::NotWritten { path, .. }) => return read_only(session, path).await.map_or(result, Err),
        _ => return result,
    };
    match reason(session, &path, is_directory).await {
        Some(reason) => Err(FilesystemError::WrongType { path, reason }),
        None => result,
    }
}

/// Why a path leads nowhere, or not to a directory; nothing where a name is missing, or the server does not tell.
async fn reason(session: &Session, path: &RemotePath, is_directory: bool) -> Option<&'static str> {
    let (mut at, mut links) = (path.as_bytes().to_vec(), 0);
    // Whether this component must be a directory.
    let mut above = is_directory;
    for _ in 0..MAX_REQUESTS {
        let here = Bytes::from(at.clone());
        match session.request(&Request::Lstat { path: here.clone() }).await {
            Ok(Response::Attrs { attributes }) => match FileType::from_mode(attributes.mode?) {
                FileType::Symlink if links == MAX_LINKS => return Some(TOO_MANY_LINKS),
                FileType::Symlink => {
                    links += 1;
                    let next = led_to(session, here).await?;
                    if next == at {
                        return Some(TOO_MANY_LINKS);
                    }
                    at = next;
                }
                FileType::Directory => return None,
                _ => return above.then_some(NOT_A_DIRECTORY),
            },
            Err(Failure::Status(Status::NoSuchFile, _)) => {
                at = directory(&at)?.to_vec();
                above = true;
            }
            Ok(_) | Err(_) => return None,
        }
    }
    None
}

/// The path that a link names. What `..` in it means is left to the server.
pub async fn led_to(session: &Session, link: Bytes) -> Option<Vec<u8>> {
    let Ok(Response::Name { entries }) = session.request(&Request::Readlink { path: link.clone() }).await else { return None };
    let target = &entries.first()?.name;
    if target.starts_with(b"/") {
        return Some(target.to_vec());
    }
    let beside = directory(&link)?;
    let beside = beside.strip_suffix(b"/").unwrap_or(beside);
    Some([beside, b"/", &target[..]].concat())
}

/// The directory of the last name in an absolute path; nothing for the root.
pub fn directory(path: &[u8]) -> Option<&[u8]> {
    let end = path.iter().rposition(|byte| *byte != b'/')?;
    let start = path[..=end].iter().rposition(|byte| *byte == b'/')?;
    Some(if start == 0 { b"/" } else { &path[..start] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_name_is_what_is_before_it() {
        let of = |path: &str| directory(path.as_bytes()).map(|found| String::from_utf8(found.to_vec()).unwrap());
        for (path, expected) in [("/a/b", "/a"), ("/a/b/", "/a"), ("/a", "/"), ("/a/../b", "/a/.."), ("/a//b", "/a/")] {
            assert_eq!(of(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!((of("/"), of("a"), of("")), (None, None, None));
    }
}
