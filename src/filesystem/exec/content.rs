//! Parts of files, checksums, and types of content.

use super::listing::not_understood;
use super::scripts::is_real;
use super::{command, script};
use crate::domain::{ContentUnit, RemotePath, bytes_to_text};
use crate::filesystem::Part;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Prints a part of a file.
pub struct Read<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    pub range: Range,
}

/// The part.
pub enum Range {
    Head(Part),
    Tail(Part),
    View { offset: u64, size: u64 },
}

impl RemoteCommand for Read<'_> {
    type Output = Vec<u8>;

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds);
        let unit = |part: &Part| match part.unit {
            ContentUnit::Lines => "--lines",
            ContentUnit::Bytes => "--bytes",
        };
        match &self.range {
            Range::Head(part) => {
                let count = format!("{}{}", if part.skip { "-" } else { "" }, part.count);
                line.flag("head").option(unit(part), count).flag("--").arg(self.path.as_bytes())
            }
            // `tail` counts from the first one on, so that without the first n means from n + 1.
            Range::Tail(part) => {
                let count = if part.skip { format!("+{}", part.count.saturating_add(1)) } else { part.count.to_string() };
                line.flag("tail").option(unit(part), count).flag("--").arg(self.path.as_bytes())
            }
            Range::View { offset, size } => line
                .flag("dd status=none bs=1M iflag=skip_bytes,count_bytes,fullblock")
                .option("skip", offset.to_string())
                .option("count", size.to_string())
                .option("if", self.path.as_bytes()),
        }
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Vec<u8>, CommandError> {
        if raw.exit == 0 { Ok(raw.stdout) } else { Err(CommandError::exit(&raw)) }
    }
}

/// Looks for a file or directory at and below a path that the user may not read; a link that is the path itself is followed.
pub struct Unreadable<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for Unreadable<'_> {
    type Output = Option<RemotePath>;

    fn command_line(&self) -> CommandLine {
        let is_closed = r"\( -type f ! -readable -o -type d ! \( -readable -executable \) \) -print0 -quit";
        command(self.seconds).flag("find -H").arg(self.path.as_bytes()).flag(is_closed)
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Option<RemotePath>, CommandError> {
        match raw.stdout.split(|byte| *byte == 0).next() {
            Some(name) if !name.is_empty() => Ok(RemotePath::from_bytes(name).ok()),
            _ if raw.exit == 0 => Ok(None),
            _ => Err(CommandError::exit(&raw)),
        }
    }
}

/// The SHA-256 of a file, in hexadecimal.
pub struct Sha256<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for Sha256<'_> {
    type Output = String;

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("sha256sum --").arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<String, CommandError> {
        raw.success()?;
        // A backslash in front says that the name after the digest is escaped.
        digest(raw.stdout.strip_prefix(b"\\").unwrap_or(&raw.stdout))
    }
}

fn digest(line: &[u8]) -> Result<String, CommandError> {
    match line.first_chunk::<64>() {
        Some(digest) if digest.iter().all(u8::is_ascii_hexdigit) => Ok(bytes_to_text(digest).to_ascii_lowercase()),
        _ => Err(not_understood("sha256sum", "there is no digest")),
    }
}

/// The mode, the size and the SHA-256 of the file at a path in which no link is followed.
pub struct RealSha256<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

/// Parameter: path. It is not opened before it is known to be a regular file: to open a named pipe waits for its other end.
const REAL_SHA256: &str = concat!(
    r#"c() { echo "$1: it changed meanwhile" >&2; exit 1; }; m=$(stat -L --format=%F -- "$1") || exit; case $m in regular*) ;; *) c "$1" ;; esac; "#,
    r#"{ "#,
    is_real!("3"),
    r#" || c "$1"; stat -L --format="%f %s" /dev/fd/3 && sha256sum <&3; } 3<"$1""#
);

impl RemoteCommand for RealSha256<'_> {
    type Output = (u32, u64, String);

    fn command_line(&self) -> CommandLine {
        script(self.seconds, REAL_SHA256).arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<(u32, u64, String), CommandError> {
        raw.success()?;
        let end = raw.stdout.iter().position(|byte| *byte == b'\n').ok_or_else(|| not_understood("stat", "there is no line"))?;
        let line = bytes_to_text(&raw.stdout[..end]);
        let known = line.split_once(' ').and_then(|(mode, size)| Some((u32::from_str_radix(mode, 16).ok()?, size.parse().ok()?)));
        let (mode, size) = known.ok_or_else(|| not_understood("stat", "there is no mode and size"))?;
        Ok((mode, size, digest(&raw.stdout[end + 1..])?))
    }
}

/// The type of a file's content, as `file` prints it.
pub struct FileKind<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for FileKind<'_> {
    type Output = String;

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("file -b --").arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<String, CommandError> {
        let words = bytes_to_text(raw.stdout.trim_ascii());
        // POSIX has `file` report a file that it cannot open as if that were its kind.
        match raw.exit {
            0 if words.starts_with("cannot open") => Err(CommandError::Exit { exit: 1, stderr: words }),
            0 if words.ends_with("no read permission") => Err(CommandError::Exit { exit: 1, stderr: "file: Permission denied".to_owned() }),
            0 => Ok(words),
            _ => Err(CommandError::exit(&raw)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::errors::classify;
    use super::*;
    use crate::filesystem::FilesystemError;

    #[test]
    fn parts_become_the_options_of_head_and_tail() {
        let path = RemotePath::from_text("/f").unwrap();
        let line = |range| Read { seconds: 5, path: &path, range }.command_line().to_string();
        let part = |unit, skip| Part { unit, count: 3, skip };
        assert_eq!(line(Range::Head(part(ContentUnit::Lines, true))), "timeout --foreground 5 env LC_ALL=C head --lines='-3' -- '/f'");
        assert_eq!(line(Range::Head(part(ContentUnit::Bytes, false))), "timeout --foreground 5 env LC_ALL=C head --bytes='3' -- '/f'");
        assert_eq!(line(Range::Tail(part(ContentUnit::Lines, true))), "timeout --foreground 5 env LC_ALL=C tail --lines='+4' -- '/f'");
    }

    #[test]
    fn what_cannot_be_read_is_no_kind_of_content() {
        let path = RemotePath::from_text("/f").unwrap();
        for words in
            ["regular file, no read permission\n", "cannot open `/f' (Permission denied)\n", "cannot open '/f' (Permission denied)"]
        {
            let raw = RawOutput { stdout: words.as_bytes().to_vec(), ..RawOutput::default() };
            let error = FileKind { seconds: 5, path: &path }.parse(raw).unwrap_err();
            assert!(matches!(classify(error, &[&path]), FilesystemError::Denied(_)), "{words}");
        }
    }

    #[test]
    fn the_digest_of_a_file_with_an_escaped_name_is_read() {
        let path = RemotePath::from_text("/f").unwrap();
        let digest = "ab".repeat(32);
        let raw = RawOutput { stdout: format!("\\{digest}  /a\\nb\n").into_bytes(), ..RawOutput::default() };
        assert_eq!(Sha256 { seconds: 5, path: &path }.parse(raw).unwrap(), digest);
    }
}
