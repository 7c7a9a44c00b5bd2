//! Listings and status. `find -printf` with NUL between the fields takes any file name there is; `ls` would have to be unquoted.

use super::command;
use super::errors::line_error;
use crate::domain::{DirectoryEntry, FileStat, FileType, RemotePath, bytes_to_text};
use crate::filesystem::ListOptions;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists a path: the path itself comes first, with an empty name.
pub struct Find<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    pub options: ListOptions,
    /// Only the path itself.
    pub itself: bool,
}

/// The number of fields of an entry.
pub const FIELDS: usize = 8;

/// The format of find for each entry, with names of owners, and with their numbers.
pub const PRINT_NAMES: &str = r"-printf '%P\0%y\0%l\0%u\0%g\0%m\0%T@\0%s\0'";
pub const PRINT_NUMBERS: &str = r"-printf '%P\0%y\0%l\0%U\0%G\0%m\0%T@\0%s\0'";

impl RemoteCommand for Find<'_> {
    type Output = Vec<DirectoryEntry>;

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("find").flag(if self.options.dereference { "-L" } else { "-P" }).arg(self.path.as_bytes());
        let line = match (self.itself, self.options.recursive) {
            (true, _) => line.flag("-maxdepth 0"),
            (false, false) => line.flag("-maxdepth 1"),
            (false, true) => line,
        };
        // Hidden directories are not entered; but the test is for the listed directory too, whose own name must not count.
        let prunes = !self.itself && !self.options.hidden && !self.path.file_name().starts_with(b".");
        let line = if prunes { line.flag("-name '.*' -prune -o") } else { line };
        line.flag(if self.options.numeric_ids { PRINT_NUMBERS } else { PRINT_NAMES })
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        if raw.exit > 1 || raw.exit == 1 && !harmless(&raw, self.path) {
            return Err(CommandError::exit(&raw));
        }
        let fields: Vec<&[u8]> = raw.stdout.split(|byte| *byte == 0).collect();
        // The output ends with a NUL, after which one empty field is left.
        let fields = fields.strip_suffix(&[&b""[..]]).unwrap_or(&fields);
        if fields.is_empty() || !fields.len().is_multiple_of(FIELDS) {
            return Err(not_understood("find", "the number of fields is wrong"));
        }
        fields.chunks_exact(FIELDS).map(entry).collect()
    }
}

/// True when all that failed concerns entries that are gone by now, or links that lead nowhere or in a circle.
fn harmless(raw: &RawOutput, path: &RemotePath) -> bool {
    !raw.stdout.is_empty() && String::from_utf8_lossy(&raw.stderr).lines().all(|line| is_harmless(line, path))
}

/// True for a message about an entry that is gone by now, or a link that leads nowhere or in a circle.
pub fn is_harmless(line: &str, path: &RemotePath) -> bool {
    use crate::filesystem::FilesystemError::{NotFound, WrongType};
    line.starts_with("find: File system loop detected")
        || line_error(line, &[path])
            .is_some_and(|error| matches!(error, NotFound(_) | WrongType { reason: "Too many levels of symbolic links", .. }))
}

/// One entry, of its fields.
pub fn entry(fields: &[&[u8]]) -> Result<DirectoryEntry, CommandError> {
    let text = |at: usize| std::str::from_utf8(fields[at]).map_err(|_| not_understood("find", "a number is not text"));
    let wrong = |_| not_understood("find", "a number is not one");
    let file_type = match fields[1] {
        b"f" => FileType::Regular,
        b"d" => FileType::Directory,
        b"l" => FileType::Symlink,
        b"b" => FileType::BlockDevice,
        b"c" => FileType::CharacterDevice,
        b"p" => FileType::Fifo,
        b"s" => FileType::Socket,
        _ => FileType::Unknown,
    };
    let seconds = text(6)?;
    Ok(DirectoryEntry {
        name: fields[0].to_vec(),
        file_type,
        link_target: (file_type == FileType::Symlink).then(|| fields[2].to_vec()),
        user: bytes_to_text(fields[3]),
        group: bytes_to_text(fields[4]),
        permissions: u32::from_str_radix(text(5)?, 8).map_err(wrong)?,
        modified: seconds.split_once('.').map_or(seconds, |(whole, _)| whole).parse().map_err(wrong)?,
        size: text(7)?.parse().map_err(wrong)?,
    })
}

/// The status of one path.
pub struct Stat<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    pub dereference: bool,
}

impl RemoteCommand for Stat<'_> {
    type Output = FileStat;

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("stat");
        let line = if self.dereference { line.flag("--dereference") } else { line };
        line.flag("--format='%f %i %d %h %u %g %s %X %Z %Y' --").arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<FileStat, CommandError> {
        raw.success()?;
        let text = String::from_utf8_lossy(&raw.stdout);
        let (mode, rest) = text.trim().split_once(' ').ok_or_else(|| not_understood("stat", "fields are missing"))?;
        let mode = u32::from_str_radix(mode, 16).map_err(|_| not_understood("stat", "the mode is not a number"))?;
        let numbers: Vec<i128> =
            rest.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(|_| not_understood("stat", "a field is not a number"))?;
        stat(mode, &numbers).ok_or_else(|| not_understood("stat", "a field is missing or out of range"))
    }
}

fn stat(mode: u32, numbers: &[i128]) -> Option<FileStat> {
    let &[ino, dev, nlink, uid, gid, size, atime, ctime, mtime] = numbers else { return None };
    Some(FileStat {
        mode,
        ino: ino.try_into().ok()?,
        dev: dev.try_into().ok()?,
        nlink: nlink.try_into().ok()?,
        uid: uid.try_into().ok()?,
        gid: gid.try_into().ok()?,
        size: size.try_into().ok()?,
        atime: atime.try_into().ok()?,
        ctime: ctime.try_into().ok()?,
        mtime: mtime.try_into().ok()?,
    })
}

/// The path of an existing entry without links, `.` and `..`.
pub struct Resolve<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for Resolve<'_> {
    type Output = RemotePath;

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("realpath -e --").arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<RemotePath, CommandError> {
        raw.success()?;
        let path = raw.stdout.strip_suffix(b"\n").and_then(|path| RemotePath::from_bytes(path).ok());
        path.ok_or_else(|| not_understood("realpath", "there is no path"))
    }
}

/// The error for output that is not as expected.
pub fn not_understood(program: &'static str, reason: &str) -> CommandError {
    CommandError::Output { program, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars for the NULs of real output.
    fn fields(text: &[u8]) -> Vec<u8> {
        text.iter().map(|byte| if *byte == b'|' { 0 } else { *byte }).collect()
    }

    #[test]
    fn a_name_with_newlines_and_quotes_is_read() {
        let path = RemotePath::from_text("/d").unwrap();
        let find = Find { seconds: 5, path: &path, options: ListOptions::default(), itself: false };
        let stdout = fields(b"|d||root|root|755|1700000000.5|4096|a\n'\"\xFF|l|-t|u|g|4755|-3.0000000000|7|");
        let entries = find.parse(RawOutput { stdout, ..RawOutput::default() }).unwrap();
        assert_eq!(entries[1].name, b"a\n'\"\xFF");
        assert_eq!(entries[1].link_target.as_deref(), Some(&b"-t"[..]));
        assert_eq!((entries[1].permissions, entries[1].modified, entries[1].size), (0o4755, -3, 7));
        assert_eq!((entries[0].name.len(), entries[0].modified), (0, 1_700_000_000));
    }

    #[test]
    fn cut_output_is_not_taken_for_a_listing() {
        let path = RemotePath::from_text("/d").unwrap();
        let find = Find { seconds: 5, path: &path, options: ListOptions::default(), itself: false };
        for stdout in [&b""[..], b"|d||root", b"|d||root|root|999|1|1|"] {
            let raw = RawOutput { stdout: fields(stdout), ..RawOutput::default() };
            assert!(matches!(find.parse(raw), Err(CommandError::Output { .. })), "{stdout:?}");
        }
    }
}
