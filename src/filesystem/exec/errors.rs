//! Converts the error messages of coreutils, in the C locale, to the errors of the trait.

use crate::domain::RemotePath;
use crate::filesystem::temporary::{is_beside, is_named_in, is_within};
use crate::filesystem::{ARCHIVE_IS_SOURCE, FilesystemError, LINK_TO_IT, SAME_FILE};
use crate::ssh::{CommandError, TransportError};

/// The trait's error for a command on `paths`. It names the first if the message names none of them.
pub fn classify(error: CommandError, paths: &[&RemotePath]) -> FilesystemError {
    let stderr = match &error {
        // The messages of a stopped or missing command are not about the path.
        CommandError::Exit { exit, stderr } if !matches!(exit, 124 | 126 | 127) => stderr,
        _ => return unclassified(error),
    };
    stderr.lines().find_map(|line| line_error(line, paths)).unwrap_or_else(|| unclassified(error))
}

/// The error for a directory of which `rm` names what it could not remove.
pub fn not_removed(error: CommandError, path: &RemotePath) -> FilesystemError {
    let CommandError::Exit { stderr, .. } = &error else { return unclassified(error) };
    let named = stderr.lines().find_map(|line| line.split_once("cannot remove '")?.1.rsplit_once("': ")).map(|(name, _)| name);
    let within = named.and_then(|name| RemotePath::from_text(name).ok()).filter(|name| name.is_within(path));
    classify(error, &[within.as_ref().unwrap_or(path)])
}

fn unclassified(error: CommandError) -> FilesystemError {
    match error {
        CommandError::Transport(error) => error.into(),
        error => error.into(),
    }
}

/// The error for output over the cap of an operation whose answer is the output.
pub fn over_cap(error: FilesystemError, cap: u64) -> FilesystemError {
    match error {
        FilesystemError::Transport(TransportError::Output(_)) => FilesystemError::TooLarge(cap),
        error => error,
    }
}

/// The error in one line of standard error, if there is one.
pub fn line_error(line: &str, paths: &[&RemotePath]) -> Option<FilesystemError> {
    // If one path is the beginning of another, the longer one is meant.
    let named = paths.iter().filter(|path| line.contains(&path.to_text())).max_by_key(|path| path.as_bytes().len());
    // A hidden file is made for the last one, the target, also where the tool quotes its name and thereby hides it.
    let unnamed = if is_named_in(line) { paths.last() } else { paths.first() };
    // The target is refused for what it is, whatever else the tool names.
    let path = if line.contains("cannot overwrite ") { paths.last() } else { named.or(unnamed) };
    let path = (*path?).clone();
    let wrong = |reason| Some(FilesystemError::WrongType { path: path.clone(), reason });
    let line = line.trim_end_matches(['\r', ' ', ')']);
    let reason = line.rsplit_once(": ").map_or(line, |(_, reason)| reason);
    // The target beside which a file is made, if the line is about that file.
    let target = || paths.iter().find(|path| is_beside(line, path));
    match reason.rsplit_once(" (").map_or(reason, |(_, reason)| reason) {
        "Permission denied" => {
            let denied = FilesystemError::Denied(path);
            return Some(match target() {
                Some(target) => denied.beside(target),
                None => denied,
            });
        }
        "Operation not permitted" => return Some(FilesystemError::NotPermitted(path)),
        "File exists" => return Some(FilesystemError::Exists(path)),
        "Device or resource busy" => return Some(FilesystemError::Busy(path)),
        "Not a directory" => return wrong("Not a directory"),
        "Is a directory" => return wrong("Is a directory"),
        "Directory not empty" => return wrong("Directory not empty"),
        "Too many levels of symbolic links" => return wrong("Too many levels of symbolic links"),
        "its copy is complete, and it could not be removed whole" => return Some(FilesystemError::SourceRemains(path)),
        // What is written is the target, which is the last, whatever else the tool names.
        "No space left on device" | "Disk quota exceeded" => return paths.last().map(|path| FilesystemError::NoSpace((*path).clone())),
        "it changed meanwhile" => return Some(FilesystemError::Changed(path)),
        "File name too long" => return Some(FilesystemError::Invalid(format!("{path}: File name too long"))),
        "Read-only file system" => return Some(FilesystemError::Invalid(format!("{path}: Read-only file system"))),
        reason if reason.ends_with("No such file or directory") => {
            let is_made = ["cannot create ", "failed to create ", "cannot touch "].iter().any(|words| line.contains(words));
            if is_within(line) {
                return Some(FilesystemError::NoDirectory(path));
            }
            let missing = FilesystemError::NotFound(path.clone());
            return Some(if is_made { missing.in_making(target().copied().unwrap_or(&path)) } else { missing });
        }
        _ => {}
    }
    // The message of tar for a write that the file system cut short.
    if line.contains(": Wrote only ") && line.ends_with(" bytes") {
        return paths.last().map(|path| FilesystemError::NoSpace((*path).clone()));
    }
    tool_error(line, path)
}

/// Why `cp` and `mv` refuse a target in their source, by whatever path.
const COPIED_INTO_ITSELF: &str = "the target lies in what is to be copied or moved";

/// Reads a message of the tool itself, not one of the system.
fn tool_error(line: &str, path: RemotePath) -> Option<FilesystemError> {
    let says = |text: &str| line.contains(text);
    if says("invalid user") || says("invalid group") || says("invalid spec") {
        return Some(FilesystemError::Invalid(format!("{path}: {line}")));
    }
    if says("Archive is compressed. Use") {
        let message = format!("{path}: the archive is compressed in another way than is said; say how in `format` or `compression`");
        return Some(FilesystemError::Invalid(message));
    }
    if says("not in gzip format")
        || says("not a bzip2 file")
        || says("File format not recognized")
        || says("does not look like a tar archive")
    {
        return Some(FilesystemError::Invalid(format!("{path}: not an archive of the given compression")));
    }
    let reason = [
        ("find: failed to compile regular expression", "the pattern is not a regular expression of find"),
        ("Member name contains '..'", "the archive has a member whose name leads out of the target"),
        ("unexpected end of file", "the archive is cut short"),
        ("Unexpected EOF in archive", "the archive is cut short"),
        ("Unexpected end of input", "the archive is cut short"),
        ("the archive would replace its own source", ARCHIVE_IS_SOURCE),
        ("the target is inside the directory to pack", "the target is inside the directory to pack: choose a target outside it"),
        ("nothing matches the pattern", "nothing in it matches the pattern"),
        ("file changed as we read it", "it changed while it was packed"),
        ("is another name of the same file", SAME_FILE),
        ("are the same file", LINK_TO_IT),
        ("into itself", COPIED_INTO_ITSELF),
        ("will not create hard link", COPIED_INTO_ITSELF),
        ("cannot overwrite directory", "Is a directory"),
        ("cannot overwrite non-directory", "Not a directory"),
    ];
    let (_, reason) = reason.into_iter().find(|(words, _)| says(words))?;
    Some(FilesystemError::WrongType { path, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(stderr: &str) -> FilesystemError {
        let paths = [RemotePath::from_text("/a").unwrap(), RemotePath::from_text("/a/b").unwrap()];
        classify(CommandError::Exit { exit: 1, stderr: stderr.to_owned() }, &[&paths[0], &paths[1]])
    }

    #[test]
    fn a_full_file_system_is_that_of_the_target_whatever_the_tool_names() {
        for stderr in [
            "gzip: stdout: No space left on device\ntar: /a: Wrote only 4096 of 10240 bytes\ntar: Child returned status 1",
            "tar: -: Wrote only 4096 of 10240 bytes",
            "xz: (stdout): Write error: No space left on device",
            "cp: error copying '/a' to '/.b.goldcrest-tmp-0123456789abcdef': No space left on device",
            "tar: /a: Cannot write: Disk quota exceeded",
        ] {
            assert!(matches!(error(stderr), FilesystemError::NoSpace(path) if path.to_text() == "/a/b"), "{stderr}");
        }
    }

    #[test]
    fn the_words_of_coreutils_become_typed_errors() {
        assert!(matches!(error("rm: cannot remove '/a': No such file or directory"), FilesystemError::NotFound(_)));
        assert!(matches!(error("head: cannot open '/a' for reading: Permission denied"), FilesystemError::Denied(_)));
        let overwritten = error("mv: cannot overwrite non-directory '/a' with directory '/a/b'");
        assert!(matches!(overwritten, FilesystemError::WrongType { reason: "Not a directory", .. }), "{overwritten:?}");
        assert!(matches!(error("chmod: changing permissions of '/a': Operation not permitted"), FilesystemError::NotPermitted(_)));
        assert!(matches!(error("mkdir: cannot create directory '/a': File exists"), FilesystemError::Exists(_)));
        assert!(matches!(error("cat: write error: No space left on device"), FilesystemError::NoSpace(_)));
        assert!(matches!(error("tar: big: Wrote only 512 of 10240 bytes\ntar: Exiting with failure status"), FilesystemError::NoSpace(_)));
        assert!(matches!(error("head: error reading '/a': Is a directory"), FilesystemError::WrongType { .. }));
        let closed = error("sh: 1: cannot create /a/.b.goldcrest-0123456789abcdef0123456789abcdef: Permission denied");
        assert!(closed.to_string().starts_with("/a: Permission denied: a file is written beside"), "{closed}");
        let nowhere = error("sh: 1: cannot create /a/.b.goldcrest-0123456789abcdef0123456789abcdef: No such file or directory");
        assert_eq!(nowhere.to_string(), "there is no directory /a: No such file or directory");
        let nowhere = error("mkdir: cannot create directory '/a/b/.goldcrest-0123456789abcdef0123456789abcdef': No such file or directory");
        assert_eq!(nowhere.to_string(), "there is no directory /a/b: No such file or directory");
        let closed = error("mkdir: cannot create directory '/a/b/.goldcrest-0123456789abcdef0123456789abcdef': Permission denied");
        assert_eq!(closed.to_string(), "/a/b: Permission denied");
        let quoted = RemotePath::from_text("/it's").unwrap();
        let line = "mkdir: cannot create directory '/it'\\''s/.goldcrest-01': No such file or directory";
        let nowhere = line_error(line, &[&RemotePath::from_text("/archive").unwrap(), &quoted]).unwrap();
        assert_eq!(nowhere.to_string(), "there is no directory /it's: No such file or directory");
        let compressed = error("tar: Archive is compressed. Use -z option\ntar: Error is not recoverable: exiting now");
        assert!(matches!(&compressed, FilesystemError::Invalid(message) if message.contains("`format`")), "{compressed:?}");
        assert!(matches!(error("tar: This does not look like a tar archive"), FilesystemError::Invalid(_)));
        assert!(
            matches!(error("sh: 1: cannot create /a/b: Permission denied"), FilesystemError::Denied(path) if path.as_bytes() == b"/a/b")
        );
    }

    #[test]
    fn what_the_request_or_the_archive_is_to_blame_for_is_no_defect_of_ours() {
        for (stderr, words) in [
            ("find: failed to compile regular expression '[': Invalid regular expression", "/a: the pattern is not a regular expression"),
            ("tar: Removing leading `../' from member names\ntar: ../x: Member name contains '..'", "leads out of the target"),
            ("gzip: stdin: unexpected end of file\ntar: Child returned status 1", "cut short"),
            ("tar: Unexpected EOF in archive", "cut short"),
            ("xz: (stdin): Unexpected end of input", "cut short"),
            ("tar: w: file changed as we read it", "changed while it was packed"),
            ("mv: cannot overwrite directory '/a/b' with non-directory", "/a/b: Is a directory"),
        ] {
            let error = error(stderr);
            assert!(matches!(error, FilesystemError::WrongType { .. }), "{stderr}: {error:?}");
            assert!(error.to_string().contains(words), "{stderr}: {error}");
        }
    }

    #[test]
    fn an_unknown_user_is_named() {
        assert_eq!(error("chown: invalid user: 'nobody-here'").to_string(), "/a: chown: invalid user: 'nobody-here'");
    }

    #[test]
    fn a_program_that_is_missing_is_not_a_file_that_is() {
        let missing = CommandError::Exit { exit: 127, stderr: "env: 'sha256sum': No such file or directory".to_owned() };
        let path = RemotePath::from_text("/a").unwrap();
        assert!(matches!(classify(missing, &[&path]), FilesystemError::Command(CommandError::Exit { exit: 127, .. })));
    }

    #[test]
    fn a_time_out_keeps_its_exit_status_whatever_was_printed() {
        let timed_out = CommandError::Exit { exit: 124, stderr: "x: Permission denied".to_owned() };
        let path = RemotePath::from_text("/a").unwrap();
        assert!(matches!(classify(timed_out, &[&path]), FilesystemError::Command(CommandError::Exit { exit: 124, .. })));
    }
}
