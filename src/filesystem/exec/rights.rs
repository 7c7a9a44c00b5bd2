//! The shell functions that put a finished file or tree in its place (`place.sh`), and the access control lists that SFTP cannot set.

use std::sync::LazyLock;

use super::listing::not_understood;
use super::script;
use crate::domain::RemotePath;
use crate::filesystem::rights::Acl;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

static FUNCTIONS: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("place.sh").lines().filter(|line| !line.starts_with('#'));
    lines.collect::<Vec<_>>().join(" ")
});

/// A program for `sh -c` that uses functions of `place.sh`, on one line.
pub(super) fn with_functions(program: &'static str) -> String {
    format!("{} {program}", *FUNCTIONS)
}

/// Tells whether a temporary file that SFTP has written has the same access control list as the file that it is to replace, and gives it
/// that list where it may.
pub struct KeepAcl<'a> {
    pub seconds: u64,
    pub target: &'a RemotePath,
    pub temporary: &'a RemotePath,
    /// The size and the owner of the temporary file, by which it is known.
    pub size: u64,
    pub user: u32,
    /// Whether it has the group of the target, without which the list would be another one.
    pub has_group: bool,
}

/// Tells whether a file has one name, and belongs to the user who asks.
pub struct IsOwn<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    /// The owner of the file that the name is to be of, where that is known.
    pub owner: Option<u32>,
}

impl RemoteCommand for IsOwn<'_> {
    type Output = bool;

    fn command_line(&self) -> CommandLine {
        script(self.seconds, r#"stat --format="%h %u" -- "$1" && id -u"#).arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<bool, CommandError> {
        raw.success()?;
        let text = String::from_utf8_lossy(&raw.stdout);
        let numbers: Option<Vec<u32>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([names, owner, user]) => Ok(*names == 1 && owner == user && self.owner.is_none_or(|known| known == *owner)),
            _ => Err(not_understood("stat", "there are not three numbers")),
        }
    }
}

/// Sets the permissions of a directory, if its name is not that of a link.
pub struct SetDirectory<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    /// The permission bits; the special ones stay.
    pub mode: u32,
}

/// Parameters: directory, mode.
const SET_DIRECTORY: &str =
    r#"i=$(stat --format="%d %i" -- "$1") && set_directory "$1" "$i" "$2" || { echo "$1: it changed meanwhile" >&2; exit 1; }"#;

impl RemoteCommand for SetDirectory<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(SET_DIRECTORY)).arg(self.path.as_bytes());
        // With fewer than five digits, chmod keeps the special bits of a directory.
        line.arg(format!("{:03o}", self.mode & 0o777))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

/// Takes rights away from a temporary file that SFTP has written, where the server sets no modes.
pub struct Narrow<'a> {
    pub seconds: u64,
    pub temporary: &'a RemotePath,
    /// The size and the owner of the temporary file, by which it is known.
    pub size: u64,
    pub user: u32,
    /// The permission bits that it is to have.
    pub mode: u32,
}

/// Parameters: file, its size and owner, mode.
const NARROW: &str =
    r#"[ -f "$1" ] && { is_only_name "$1" && [ "$(stat -L --format="%s %u" /dev/fd/3)" = "$2" ] && chmod -- "$3" /dev/fd/3; } 3<"$1""#;

impl RemoteCommand for Narrow<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(NARROW)).arg(self.temporary.as_bytes());
        line.arg(format!("{} {}", self.size, self.user)).arg(format!("{:05o}", self.mode))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

const KEEP_ACL: &str = concat!(
    r#"l=$(ls -ldnqL -- "$1" "$2" | cut -c11) || exit; case $l in *+*) ;; *) echo same; exit;; esac; "#,
    r#"[ -f "$2" ] && { [ -n "$4" ] && is_only_name "$2" && [ "$(stat -L --format="%s %u" /dev/fd/3)" = "$3" ] && copy_acl /dev/fd/3 "$1" && echo same || echo differs; } 3<"$2""#
);

impl RemoteCommand for KeepAcl<'_> {
    type Output = Acl;

    fn command_line(&self) -> CommandLine {
        let line = script(self.seconds, with_functions(KEEP_ACL));
        let line = line.arg(self.target.as_bytes()).arg(self.temporary.as_bytes()).arg(format!("{} {}", self.size, self.user));
        line.arg(if self.has_group { "keep" } else { "" })
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Acl, CommandError> {
        match raw.stdout.trim_ascii() {
            b"same" => Ok(Acl::Same),
            b"differs" => Ok(Acl::Differs),
            _ => Err(CommandError::exit(&raw)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    #[test]
    fn what_appears_at_a_target_that_is_not_to_be_overwritten_stays() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::write(at("new"), "new").unwrap();
        let rename = |target: &str| {
            let program = with_functions(r#"rename_to mv "$1" "$2" 0"#);
            Command::new("sh").args(["-c", &program, "sh"]).arg(at("new")).arg(at(target)).output().unwrap()
        };
        std::fs::write(at("file"), "old").unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        symlink("nowhere", at("link")).unwrap();
        for target in ["file", "directory", "link"] {
            let output = rename(target);
            assert!(!output.status.success() && output.stderr.ends_with(b": File exists\n"), "{target}: {output:?}");
            assert!(at("new").exists(), "{target}");
        }
        assert_eq!(std::fs::read(at("file")).unwrap(), b"old");
        assert!(rename("free").status.success() && at("free").exists());
        assert!(!rename("free").status.success());
    }

    #[test]
    fn a_directory_under_a_name_that_leads_elsewhere_by_now_keeps_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["mine", "theirs"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let found = at("mine").metadata().unwrap();
        let inode = format!("{} {}", found.dev(), found.ino());
        let set = |name: &str| {
            let program = with_functions(r#"set_directory "$1" "$2" 755 2020-02-02"#);
            Command::new("sh").args(["-c", &program, "sh"]).arg(at(name)).arg(&inode).status().unwrap().success()
        };
        let mode = |name: &str| at(name).metadata().unwrap().mode() & 0o777;
        assert!(!set("theirs") && !set("none"));
        assert_eq!((mode("mine"), mode("theirs")), (0o700, 0o700));
        assert!(set("mine"));
        assert_eq!((mode("mine"), at("mine").metadata().unwrap().mtime() < 1_600_000_000), (0o755, true));
    }
}
