//! The account that started the process, as a login would see it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::domain::Username;
use crate::ssh::server::Account;

/// The search path where the environment has none.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// Shells that take the command lines of a POSIX shell. Others, and the programs that refuse logins, are replaced by `/bin/sh`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// The account of the process. A user without an entry in the password database, as containers have them, gets what the
/// environment says and otherwise the name `user`. `home` replaces the home directory.
pub(super) fn account(home: Option<&Path>) -> Account {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let entry = entry(&passwd, rustix::process::geteuid().as_raw()).unwrap_or_default();
    from_entry(&entry, home, |name| std::env::var_os(name).filter(|value| !value.is_empty()))
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

fn from_entry(entry: &Entry<'_>, home: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Account {
    let user = variable("USER");
    let names = [Some(OsStr::from_bytes(entry.name)), user.as_deref(), Some(OsStr::new("user"))];
    let name = names.into_iter().flatten().find_map(|name| Username::new(name.to_str()?).ok());
    let directory = |path: &Path| (path.is_absolute() && path.is_dir()).then(|| path.to_owned());
    let home = home
        .and_then(|home| std::path::absolute(home).ok())
        .or_else(|| directory(Path::new(OsStr::from_bytes(entry.home))))
        .or_else(|| variable("HOME").and_then(|home| directory(Path::new(&home))))
        .unwrap_or_else(std::env::temp_dir);
    let shell = PathBuf::from(OsStr::from_bytes(entry.shell));
    let known = shell.file_name().and_then(OsStr::to_str).is_some_and(|name| SHELLS.contains(&name));
    Account {
        name: name.expect("`user` is a valid user name"),
        home,
        shell: if known && shell.is_file() { shell } else { PathBuf::from("/bin/sh") },
        search_path: variable("PATH").unwrap_or_else(|| SEARCH_PATH.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\nbroken line\nfulmar:x:1000:1000:Fulmar,,,:/:/bin/sh\nwww:x:33:33::/nowhere/at/all:/usr/sbin/nologin\n";

    #[test]
    fn the_entry_is_found_by_its_number() {
        assert_eq!(entry(PASSWD, 1000), Some(Entry { name: b"fulmar", home: b"/", shell: b"/bin/sh" }));
        assert_eq!(entry(PASSWD, 100), None);
    }

    #[test]
    fn a_user_without_an_entry_is_taken_from_the_environment() {
        let environment = |name: &str| match name {
            "USER" => Some(OsString::from("petrel")),
            "HOME" => Some(OsString::from("/usr")),
            _ => None,
        };
        let account = from_entry(&Entry::default(), None, environment);
        assert_eq!(account.name.as_str(), "petrel");
        assert_eq!(account.home, Path::new("/usr"));
        assert_eq!(account.shell, Path::new("/bin/sh"));
    }

    #[test]
    fn a_user_that_nothing_is_known_of_still_works() {
        for user in [None, Some("not a name"), Some("-rf")] {
            let account = from_entry(&Entry::default(), None, |name| user.filter(|_| name == "USER").map(OsString::from));
            assert_eq!(account.name.as_str(), "user");
            assert_eq!(account.home, std::env::temp_dir());
            assert_eq!(account.search_path, SEARCH_PATH);
        }
    }

    #[test]
    fn an_account_that_may_not_log_in_gets_a_shell_and_a_home_that_exist() {
        let account = from_entry(&entry(PASSWD, 33).unwrap(), None, |_| None);
        assert_eq!(account.name.as_str(), "www");
        assert_eq!(account.shell, Path::new("/bin/sh"));
        assert_eq!(account.home, std::env::temp_dir());
    }

    #[test]
    fn the_given_home_wins() {
        let account = from_entry(&entry(PASSWD, 0).unwrap(), Some(Path::new("/usr/share")), |_| None);
        assert_eq!(account.home, Path::new("/usr/share"));
    }
}
