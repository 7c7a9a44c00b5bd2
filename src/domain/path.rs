//! Paths on a cluster.

use std::fmt;

use super::text::{bytes_to_text, text_to_bytes};

/// Why a path was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// It does not start with `/`.
    #[error("The provided path ({0}) is not an absolute path.")]
    Relative(String),
    /// It holds a NUL byte, which no POSIX path can.
    #[error("The provided path holds a NUL byte.")]
    Nul,
    /// It is longer than `PATH_MAX` of Linux (4096 bytes).
    #[error("The provided path is longer than 4095 bytes.")]
    TooLong,
}

/// Whether a text names one entry of a directory: 1 to 255 bytes (`NAME_MAX` of Linux) without `/` and NUL, and neither `.` nor `..`.
pub fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !matches!(name, "." | "..") && !name.contains(['/', '\0'])
}

/// An absolute, lexically normalised path: no `.`, `..`, doubled or trailing slash. Any other byte but NUL may occur.
///
/// Normalisation is lexical, as the policy that compares it with the configured file systems is; symbolic links are the
/// cluster's own business, and there the caller's own permissions decide. A path of a request is read by [`WrittenPath`] first,
/// because `..` and a trailing slash mean what they mean only where the links are.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(Vec<u8>);

impl RemotePath {
    /// Reads a path as it stands in a URL or in JSON (see [`bytes_to_text`] for names that are not UTF-8).
    ///
    /// # Errors
    /// If it is relative, holds a NUL byte, or is too long.
    pub fn from_text(text: &str) -> Result<Self, InvalidPath> {
        Self::from_bytes(&text_to_bytes(text))
    }

    /// Reads a path as the cluster has it.
    ///
    /// # Errors
    /// If it is relative, holds a NUL byte, or is too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidPath> {
        if bytes.contains(&0) {
            return Err(InvalidPath::Nul);
        }
        if bytes.len() > 4095 {
            return Err(InvalidPath::TooLong);
        }
        if bytes.first() != Some(&b'/') {
            return Err(InvalidPath::Relative(bytes_to_text(bytes)));
        }
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in bytes.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        Ok(Self::of_parts(&parts))
    }

    fn of_parts(parts: &[&[u8]]) -> Self {
        let path = parts.iter().flat_map(|part| [&b"/"[..], part]).collect::<Vec<_>>().concat();
        if path.is_empty() { Self::root() } else { Self(path) }
    }

    /// `/`.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as text for JSON; [`RemotePath::from_text`] reads it back.
    pub fn to_text(&self) -> String {
        bytes_to_text(&self.0)
    }

    /// True when this path is `root` or lies below it.
    pub fn is_within(&self, root: &Self) -> bool {
        root.0 == b"/" || self.0.strip_prefix(root.0.as_slice()).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }

    /// The path below `to` that this one is below `from`; `None` when it is not within `from`.
    pub fn rebase(&self, from: &Self, to: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(from.0.as_slice()).filter(|_| self.is_within(from))?;
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        Some(if rest.is_empty() { to.clone() } else { to.join(rest) })
    }

    /// The path of an entry of this directory. `name` is one file name, as a directory listing gives it.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if path != b"/" {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// A hidden name beside this path that ends with `.` and `mark`, which is one file name of at most 50 bytes.
    pub fn hidden_beside(&self, mark: &str) -> Self {
        let name = self.file_name();
        // The longest name of POSIX systems is 255 bytes.
        let name = &name[..name.len().min(200)];
        self.parent().unwrap_or_else(|| self.clone()).join(&[b".", name, b".", mark.as_bytes()].concat())
    }

    /// The directory that holds this path; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        match (slash, self.0.len()) {
            (0, 1) => None,
            (0, _) => Some(Self(b"/".to_vec())),
            _ => Some(Self(self.0[..slash].to_vec())),
        }
    }

    /// The directory that holds this path, and its name there: for `/`, itself and `.`.
    pub fn in_directory(&self) -> (Self, &[u8]) {
        match self.parent() {
            Some(parent) => (parent, self.file_name()),
            None => (self.clone(), b"."),
        }
    }

    /// The last part of the path; empty for `/`.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }
}

/// An absolute path as a client wrote it, taken apart where its meaning depends on symbolic links.
///
/// `..` is the parent of the directory that was reached, which behind a link is not the one that holds the link; and a slash at
/// the end means the directory that a link leads to, not the link (POSIX, Base Definitions 4.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenPath {
    /// The path, lexically normalised: what it means where no link is in its way.
    pub normal: RemotePath,
    /// The part that has to be resolved where the links are.
    pub climb: Option<Climb>,
    /// Whether it ends with a slash, so that it names a directory.
    pub is_directory: bool,
}

/// The part of a path up to its last `..`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Climb {
    /// All up to the last `..`, which is kept: the one kind of `RemotePath` that is not normalised, for `FileSystem::resolve`.
    pub directory: RemotePath,
    /// The rest after it, as a path below that directory: `/` if there is none.
    pub below: RemotePath,
}

impl WrittenPath {
    /// Reads a path as it stands in a URL or in JSON.
    ///
    /// # Errors
    /// If it is relative, holds a NUL byte, or is too long.
    pub fn from_text(text: &str) -> Result<Self, InvalidPath> {
        let bytes = text_to_bytes(text);
        let normal = RemotePath::from_bytes(&bytes)?;
        let parts = bytes.split(|&byte| byte == b'/').filter(|part| !matches!(part, [] | [b'.']));
        // The parent of the root is the root, and no link.
        let parts: Vec<&[u8]> = parts.skip_while(|part| *part == b"..").collect();
        let climb = parts
            .iter()
            .rposition(|part| *part == b"..")
            .map(|last| Climb { directory: RemotePath::of_parts(&parts[..=last]), below: RemotePath::of_parts(&parts[last + 1..]) });
        let ends_below = climb.as_ref().is_none_or(|climb| climb.below.0 != b"/");
        let is_directory = ends_below && !parts.is_empty() && (bytes.ends_with(b"/") || bytes.ends_with(b"/."));
        Ok(Self { normal, climb, is_directory })
    }

    /// The directory that `path` is or, as a link, leads to, for `FileSystem::resolve`.
    pub fn directory_at(path: &RemotePath) -> RemotePath {
        path.join(b".")
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::from_text(text).unwrap()
    }

    #[test]
    fn dots_and_slashes_are_resolved() {
        assert_eq!(path("//home/./u/../v//").to_text(), "/home/v");
        assert_eq!(path("/../..").to_text(), "/");
    }

    #[test]
    fn a_sibling_with_the_same_prefix_is_not_within() {
        assert!(path("/home/u").is_within(&path("/home")));
        assert!(path("/home").is_within(&path("/home")));
        assert!(path("/anything").is_within(&path("/")));
        assert!(!path("/home2/u").is_within(&path("/home")));
        assert!(!path("/home/../etc").is_within(&path("/home")));
    }

    #[test]
    fn relative_nul_and_overlong_paths_are_refused() {
        assert!(matches!(RemotePath::from_text("home"), Err(InvalidPath::Relative(_))));
        assert_eq!(RemotePath::from_text("/a\0b"), Err(InvalidPath::Nul));
        assert_eq!(RemotePath::from_text(&format!("/{}", "a".repeat(4096))), Err(InvalidPath::TooLong));
    }

    #[test]
    fn parent_and_file_name_take_a_path_apart() {
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(path("/")));
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/a/b").file_name(), b"b");
    }

    #[test]
    fn what_links_decide_is_left_to_them() {
        let read = |text| WrittenPath::from_text(text).unwrap();
        for text in ["/home/u", "/home//./u", "/../home", "/"] {
            let plain = read(text);
            assert_eq!((plain.climb, plain.is_directory, plain.normal), (None, false, path(text)), "{text}");
        }
        for text in ["/home/u/", "/home/u/.", "/home/u/./"] {
            assert_eq!((read(text).climb, read(text).is_directory), (None, true), "{text}");
        }
        let climb = read("/home/a/../b/.././c/d/").climb.unwrap();
        let parts = [climb.directory, climb.below].map(|path| path.to_text());
        assert_eq!(parts, ["/home/a/../b/..", "/c/d"]);
        assert!(read("/a/../c/").is_directory);
        assert!(!read("/a/../").is_directory, "the parent is a directory as it is");
    }

    #[test]
    fn a_path_is_moved_with_the_directory_that_it_lies_in() {
        let moved = |text, from, to| path(text).rebase(&path(from), &path(to)).map(|path| path.to_text());
        assert_eq!(moved("/mnt/s/u", "/mnt/s", "/scratch").as_deref(), Some("/scratch/u"));
        assert_eq!(moved("/mnt/s", "/mnt/s", "/scratch").as_deref(), Some("/scratch"));
        assert_eq!(moved("/a", "/", "/scratch").as_deref(), Some("/scratch/a"));
        assert_eq!(moved("/", "/", "/scratch").as_deref(), Some("/scratch"));
        assert_eq!(moved("/mnt/s2", "/mnt/s", "/scratch"), None);
    }

    #[test]
    fn the_name_of_a_file_cannot_leave_its_directory() {
        assert!(is_file_name("a b.txt") && is_file_name(&"a".repeat(255)));
        for name in ["", ".", "..", "a/b", "/etc/passwd", "..\0", &"a".repeat(256)] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(parts in proptest::collection::vec("[^/\0]{1,5}", 0..5)) {
            prop_assume!(parts.iter().all(|part| part != "." && part != ".."));
            let text = format!("/{}", parts.join("/"));
            let once = RemotePath::from_bytes(text.as_bytes()).unwrap();
            prop_assert_eq!(once.as_bytes(), text.as_bytes());
        }
    }
}
