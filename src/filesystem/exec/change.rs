//! Creates, changes and removes entries, and reads the caller's identity.

use super::listing::not_understood;
use super::scripts::TOUCH;
use super::{command, script};
use crate::domain::{FileMode, Identity, PosixId, RemotePath, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// A command that changes something and prints nothing.
pub struct ChangeCommand<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
    pub what: What<'a>,
}

/// Parameter: path.
const REMOVE_HIDDEN: &str = r#"[ -L "$1" ] || chmod -R u+rwx -- "$1" 2>/dev/null; exec rm -r --interactive=never -- "$1""#;

/// Removes a path, which may be a directory with its content. Not -f, for which a path that does not exist is no error.
pub struct Remove<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

/// How a removal ended.
pub enum Removal {
    Whole,
    /// A directory, of which this was not removed; the rest of it may be gone.
    Partly(CommandError),
}

/// The exit status of [`REMOVE`] for a directory that was not removed whole.
const NOT_WHOLE: u32 = 3;

/// Parameter: path. Of a directory that cannot be read, nothing was removed.
const REMOVE: &str = r#"rm -r --interactive=never -- "$1" && exit; s=$?
[ -L "$1" ] || [ ! -d "$1" ] || [ ! -r "$1" ] || [ ! -x "$1" ] || exit 3; exit "$s""#;

impl RemoteCommand for Remove<'_> {
    type Output = Removal;

    fn command_line(&self) -> CommandLine {
        script(self.seconds, REMOVE).arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        false
    }

    fn parse(&self, raw: RawOutput) -> Result<Removal, CommandError> {
        if raw.exit == NOT_WHOLE {
            return Ok(Removal::Partly(CommandError::exit(&raw)));
        }
        raw.success().map(|()| Removal::Whole)
    }
}

/// The changes.
pub enum What<'a> {
    Mode(&'a FileMode),
    Owner {
        user: &'a str,
        group: &'a str,
    },
    MakeDirectory {
        parents: bool,
    },
    /// With these permissions.
    MakeDirectoryWithMode(u32),
    LinkTo(&'a RemotePath),
    /// Removes something of our own that never got to its place, also directories that their owner may not write to.
    RemoveHidden,
    Touch,
}

impl RemoteCommand for ChangeCommand<'_> {
    type Output = ();

    fn command_line(&self) -> CommandLine {
        let line = command(self.seconds);
        let line = match &self.what {
            // With five digits the special bits of a directory are set as given too; with fewer they are kept.
            What::Mode(FileMode::Bits(bits)) => line.flag("chmod --").arg(format!("{:05o}", bits & 0o7777)),
            What::Mode(FileMode::Symbolic(mode)) => line.flag("chmod --").arg(mode),
            What::Owner { user, group: "" } => line.flag("chown --").arg(user),
            What::Owner { user, group } => line.flag("chown --").arg(format!("{user}:{group}")),
            What::MakeDirectory { parents: true } => line.flag("mkdir -p --"),
            What::MakeDirectory { parents: false } => line.flag("mkdir --"),
            // The mode goes with the call that makes it, so that it is never open to more. With fewer than five digits the special bits stay.
            What::MakeDirectoryWithMode(mode) => line.flag("mkdir").option("--mode", format!("{:03o}", mode & 0o777)).flag("--"),
            What::LinkTo(target) => line.flag("ln -s -T --").arg(target.as_bytes()),
            What::Touch => script(self.seconds, TOUCH),
            What::RemoveHidden => script(self.seconds, REMOVE_HIDDEN),
        };
        line.arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        matches!(self.what, What::Mode(FileMode::Bits(_)) | What::Owner { .. } | What::MakeDirectory { parents: true } | What::Touch)
    }

    fn parse(&self, raw: RawOutput) -> Result<(), CommandError> {
        raw.success()
    }
}

/// The identity of the caller.
pub struct Id {
    pub seconds: u64,
}

impl RemoteCommand for Id {
    type Output = Identity;

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("id")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Identity, CommandError> {
        // `id` fails for a group without a name, and yet prints all there is to know.
        if raw.exit > 1 || !raw.stdout.starts_with(b"uid=") {
            return Err(CommandError::exit(&raw));
        }
        let text = bytes_to_text(&raw.stdout);
        identity(&text).ok_or_else(|| not_understood("id", "a field is missing"))
    }
}

/// Reads a line such as `uid=1000(ada) gid=100(users) groups=100(users),7(domain users)`, which may end with a security context.
fn identity(line: &str) -> Option<Identity> {
    let rest = line.trim_end().strip_prefix("uid=")?;
    let (user, rest) = rest.split_once(" gid=")?;
    let (group, rest) = rest.split_once(" groups=").unwrap_or((rest, ""));
    let groups = rest.split_once(" context=").map_or(rest, |(groups, _)| groups);
    let group = posix_id(group)?;
    let groups = match groups {
        "" => vec![group.clone()],
        groups => split_groups(groups).map(posix_id).collect::<Option<_>>()?,
    };
    Some(Identity { user: posix_id(user)?, group, groups })
}

/// Splits at commas that stand between a closed parenthesis, or a bare number, and the next number.
fn split_groups(groups: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    groups.split(move |letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

fn posix_id(text: &str) -> Option<PosixId> {
    let (id, name) = match text.split_once('(') {
        Some((id, name)) => (id, name.strip_suffix(')')?),
        None => (text, text),
    };
    id.bytes().all(|byte| byte.is_ascii_digit()).then(|| PosixId { id: id.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str, name: &str) -> PosixId {
        PosixId { id: id.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_line_of_id_is_read_with_odd_names_and_nameless_groups() {
        let line = "uid=1000(ada@x.org) gid=100(users) groups=100(users),7(domain users, all),4294967294 context=u:r:t:s0\n";
        let expected = Identity {
            user: id("1000", "ada@x.org"),
            group: id("100", "users"),
            groups: vec![id("100", "users"), id("7", "domain users, all"), id("4294967294", "4294967294")],
        };
        let raw = RawOutput { stdout: line.as_bytes().to_vec(), exit: 1, ..RawOutput::default() };
        assert_eq!(Id { seconds: 5 }.parse(raw).unwrap(), expected);
    }

    #[test]
    fn a_mode_is_written_so_that_special_bits_are_set_as_given() {
        let path = RemotePath::from_text("/d").unwrap();
        let line = ChangeCommand { seconds: 5, path: &path, what: What::Mode(&FileMode::Bits(0o755)) }.command_line();
        assert_eq!(line.to_string(), "timeout --foreground 5 env LC_ALL=C chmod -- '00755' '/d'");
    }
}
