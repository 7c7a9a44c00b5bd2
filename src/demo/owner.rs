//! The account that started the process, as a login would see it.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::ssh_server::Account;
use crate::domain::Username;

/// The search path where the environment has none.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Shells that take the command lines of a POSIX shell. Others, and the programs that refuse logins, are replaced by `/bin/sh`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// The account of the process. A user without an entry in the password database, as containers have them, gets what the
/// environment says and otherwise the name `user`. `home` replaces the home directory; if there is none that can be written,
/// as for system users, a directory of our own does.
///
/// # Errors
/// When that directory cannot be had.
pub(super) fn account(home: Option<&Path>) -> io::Result<Account> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let entry = entry(&passwd, geteuid().as_raw()).unwrap_or_default();
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    from_entry(&entry, home, variable, can_be_written, || own_directory(&std::env::temp_dir()))
}

/// Whether a directory can hold files of ours: jobs and their records need that.
pub(super) fn can_be_written(directory: &Path) -> bool {
    directory.is_dir() && access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// The fields of a line of the password database that matter here (passwd(5)).
#[derive(Debug, Default, PartialEq)]
struct Entry<'a> {
    name: &'a [u8],
    home: &'a [u8],
    shell: &'a [u8],
}

fn entry(passwd: &[u8], uid: u32) -> Option<Entry<'_>> {
    let uid = uid.to_string();
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        match fields[..] {
            [name, _, id, _, _, home, shell] if id == uid.as_bytes() => Some(Entry { name, home, shell }),
            _ => None,
        }
    })
}

fn from_entry(
    entry: &Entry<'_>,
    home: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    usable: impl Fn(&Path) -> bool,
    substitute: impl FnOnce() -> io::Result<PathBuf>,
) -> io::Result<Account> {
    let user = variable("USER");
    let names = [Some(OsStr::from_bytes(entry.name)), user.as_deref(), Some(OsStr::new("user"))];
    let name = names.into_iter().flatten().find_map(|name| Username::new(name.to_str()?).ok());
    let directory = |path: &Path| (path.is_absolute() && usable(path)).then(|| path.to_owned());
    let home = home
        .and_then(|home| std::path::absolute(home).ok())
        .or_else(|| directory(Path::new(OsStr::from_bytes(entry.home))))
        .or_else(|| variable("HOME").and_then(|home| directory(Path::new(&home))));
    let home = match home {
        Some(home) => home,
        None => substitute()?,
    };
    let shell = PathBuf::from(OsStr::from_bytes(entry.shell));
    let known = shell.file_name().and_then(OsStr::to_str).is_some_and(|name| SHELLS.contains(&name));
    Ok(Account {
        name: name.expect("`user` is a valid user name"),
        home,
        shell: if known && shell.is_file() { shell } else { PathBuf::from("/bin/sh") },
        search_path: variable("PATH").unwrap_or_else(|| SEARCH_PATH.into()),
    })
}

/// A directory of this user's own: the same in every run, so that jobs are known after a restart. Everyone may write where it
/// lies, so a file that another user has put there is refused.
fn own_directory(parent: &Path) -> io::Result<PathBuf> {
    let user = geteuid().as_raw();
    let path = parent.join(format!("goldcrest-demo-{user}"));
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let data = path.symlink_metadata()?;
    if data.is_dir() && data.uid() == user && data.mode() & 0o077 == 0 {
        Ok(path)
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} is there and not private to this user", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\nbroken line\nfulmar:x:1000:1000:Fulmar,,,:/:/bin/sh\nwww:x:33:33::/nowhere/at/all:/usr/sbin/nologin\n";

    #[test]
    fn the_entry_is_found_by_its_number() {
        assert_eq!(entry(PASSWD, 1000), Some(Entry { name: b"fulmar", home: b"/", shell: b"/bin/sh" }));
        assert_eq!(entry(PASSWD, 100), None);
    }

    #[test]
    fn a_user_without_an_entry_is_taken_from_the_environment() {
        let home = tempfile::tempdir().unwrap();
        let environment = |name: &str| match name {
            "USER" => Some(OsString::from("petrel")),
            "HOME" => Some(home.path().as_os_str().to_owned()),
            _ => None,
        };
        let account = from_entry(&Entry::default(), None, environment, can_be_written, none).unwrap();
        assert_eq!(account.name.as_str(), "petrel");
        assert_eq!(account.home, home.path());
        assert_eq!(account.shell, Path::new("/bin/sh"));
    }

    #[test]
    fn a_user_that_nothing_is_known_of_still_works() {
        for user in [None, Some("not a name"), Some("-rf")] {
            let variable = |name: &str| user.filter(|_| name == "USER").map(OsString::from);
            let account = from_entry(&Entry::default(), None, variable, can_be_written, || Ok("/own".into())).unwrap();
            assert_eq!(account.name.as_str(), "user");
            assert_eq!(account.home, Path::new("/own"));
            assert_eq!(account.search_path, SEARCH_PATH);
        }
    }

    #[test]
    fn an_account_that_may_not_log_in_gets_a_shell_and_a_home_that_exist() {
        let account = from_entry(&entry(PASSWD, 33).unwrap(), None, |_| None, can_be_written, || Ok("/own".into())).unwrap();
        assert_eq!(account.name.as_str(), "www");
        assert_eq!(account.shell, Path::new("/bin/sh"));
        assert_eq!(account.home, Path::new("/own"));
    }

    #[test]
    fn a_home_that_cannot_be_written_is_not_used() {
        let entry = Entry { name: b"fulmar", home: b"/read-only", shell: b"/bin/sh" };
        let home = |usable: fn(&Path) -> bool| {
            from_entry(&entry, None, |_| Some(OsString::from("/elsewhere")), usable, || Ok("/own".into())).unwrap().home
        };
        assert_eq!(home(|_| false), Path::new("/own"));
        assert_eq!(home(|path| path != Path::new("/read-only")), Path::new("/elsewhere"));
        assert!(!can_be_written(Path::new("/dev/null")));
    }

    #[test]
    fn the_given_home_wins() {
        let account = from_entry(&entry(PASSWD, 0).unwrap(), Some(Path::new("/usr/share")), |_| None, can_be_written, none).unwrap();
        assert_eq!(account.home, Path::new("/usr/share"));
    }

    #[test]
    fn the_directory_of_ones_own_is_private_and_stays_the_same() {
        let parent = tempfile::tempdir().unwrap();
        let path = own_directory(parent.path()).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(own_directory(parent.path()).unwrap(), path);
    }

    #[test]
    fn a_directory_that_others_can_reach_or_a_link_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = own_directory(parent.path()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(own_directory(parent.path()).unwrap_err().to_string().contains("goldcrest-demo-"));
        std::fs::remove_dir(&path).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &path).unwrap();
        own_directory(parent.path()).unwrap_err();
    }

    fn none() -> io::Result<PathBuf> {
        panic!("a home was at hand")
    }
}
