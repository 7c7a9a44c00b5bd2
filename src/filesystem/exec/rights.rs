//! The shell functions that put a finished file in its place with the rights of the file that is there.
//!
//! Rights are set on an open file, never on a name: in a directory that others may write to, the name can lead elsewhere by then. What
//! the functions do is what [`Rights`](crate::filesystem::rights::Rights) says. They hold no quotes, exclamation marks or backslashes that some
//! login shell would read.

use super::command;
use crate::domain::RemotePath;
use crate::filesystem::rights::Acl;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// `acl FILE OTHER`: gives FILE the access control list of OTHER; fails where it then has another one.
///
/// `rights FILE OTHER`: gives FILE the group, list and mode of OTHER, narrowed where they cannot be kept.
///
/// `put FILE OTHER`: puts FILE in the place of OTHER, with its rights.
///
/// `same FILE`: fails (8) where the name FILE is not, or not the only one, of the file that is open as 3; so is that of a link.
macro_rules! functions {
    () => {
        concat!(
            r#"acl() { getfacl -cnp -- "$2" | setfacl --set-file=- -- "$1" && [ "$(getfacl -cnp -- "$2")" = "$(getfacl -cnp -- "$1")" ]; } 2>/dev/null; "#,
            r#"rights() { set -- "$1" "$2" $(stat -L --format="%a %u %g" -- "$2"); [ -n "$5" ] || return 1; "#,
            r#"[ "$(stat -L --format=%g -- "$1")" = "$5" ] || chgrp -- "$5" "$1" 2>/dev/null; "#,
            r#"b=$((0$3 >> 3 & 0$3 & 7)); n=$((0$3 & 0700 | b << 3 | b)); l=$(ls -ldnqL -- "$1" "$2" | cut -c11 | tr -dc +); "#,
            r#"if [ "$(stat -L --format=%g -- "$1")" = "$5" ]; then "#,
            r#"if [ -z "$l" ] || acl "$1" "$2"; then n=$((0$3)); else n=$((n & 0700)); fi; "#,
            r#"elif [ -n "$l" ]; then n=$((n & 0700)); fi; "#,
            r#"[ "$(stat -L --format=%u -- "$1")" = "$4" ] || n=$((n & 03777)); chmod -- "$(printf %05o $n)" "$1"; }; "#,
            r#"put() { if [ -f "$2" ]; then { same "$1" && rights /dev/fd/3 "$2"; } 3<"$1" || return; fi; mv -f -T -- "$1" "$2"; }; "#,
            r#"same() { [ "$(stat -L --format="%h %d %i" /dev/fd/3)" = "1 $(stat --format="%d %i" -- "$1")" ] || return 8; }; "#,
        )
    };
}
pub(super) use functions;

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

const KEEP_ACL: &str = concat!(
    functions!(),
    r#"l=$(ls -ldnqL -- "$1" "$2" | cut -c11) || exit; case $l in *+*) ;; *) echo same; exit;; esac; "#,
    r#"[ -f "$2" ] && { [ -n "$4" ] && same "$2" && [ "$(stat -L --format="%s %u" /dev/fd/3)" = "$3" ] && acl /dev/fd/3 "$1" && echo same || echo differs; } 3<"$2""#
);

impl RemoteCommand for KeepAcl<'_> {
    type Output = Acl;

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds).flag("sh -c").arg(KEEP_ACL).flag("sh");
        let line = line.arg(self.target.as_bytes()).arg(self.temporary.as_bytes()).arg(format!("{} {}", self.size, self.user));
        line.arg(if self.has_group { "keep" } else { "" })
    }

    fn parse(&self, raw: RawOutput) -> Result<Acl, CommandError> {
        match raw.stdout.trim_ascii() {
            b"same" => Ok(Acl::Same),
            b"differs" => Ok(Acl::Differs),
            _ => Err(CommandError::exit(&raw)),
        }
    }
}
