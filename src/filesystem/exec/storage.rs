//! Access control lists, quotas and space, by the tools that a site has.

use async_trait::async_trait;

use super::change::Id;
use super::listing::not_understood;
use super::{CommandFiles, command, script};
use crate::domain::{AclEntry, AclTag, Identity, Principal, Quota, QuotaHolder, QuotaUse, RemotePath, Space, bytes_to_text};
use crate::filesystem::{FilesystemError, Storage};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

#[async_trait]
impl Storage for CommandFiles {
    async fn space(&self, principal: &Principal, path: &RemotePath) -> Result<Space, FilesystemError> {
        self.run(principal, &[path], &StatFs { seconds: self.seconds(), path }).await
    }

    async fn quota(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<Quota>, FilesystemError> {
        let answer = self.run(principal, &[path], &GetQuota { seconds: self.seconds(), path }).await;
        answer.map_err(|error| absent(error, "this system has no program that tells of quotas (`quota`, `lfs`)"))
    }

    async fn acl(&self, principal: &Principal, path: &RemotePath) -> Result<Vec<AclEntry>, FilesystemError> {
        let answer = self.run(principal, &[path], &GetFacl { seconds: self.seconds(), path }).await;
        answer.map_err(|error| absent(error, "this system has no program that tells of access control lists (`getfacl`)"))
    }

    async fn identity(&self, principal: &Principal) -> Result<Identity, FilesystemError> {
        self.run(principal, &[], &Id { seconds: self.seconds() }).await
    }
}

/// The error for a program that the site may not have.
fn absent(error: FilesystemError, reason: &'static str) -> FilesystemError {
    match error {
        FilesystemError::Command(CommandError::Exit { exit: 126 | 127, .. }) => FilesystemError::Unsupported(reason),
        error => error,
    }
}

/// Prints which tool answers, then its answer: Lustre's where the path is on Lustre, else that of the kernel's quotas. Their exit
/// status is 1 also when a quota is exceeded.
const QUOTA: &str = r#"if command -v lfs >/dev/null && o=$(lfs quota -q -u "$(id -un)" "$1" 2>/dev/null) && [ -n "$o" ]; then printf "lfs %s\n%s\n" "$(id -un)" "$o"; elif command -v quota >/dev/null; then echo quota; quota -u -g -w -p -v; [ $? -le 1 ]; else exit 127; fi"#;

/// The access control list of a path.
pub struct GetFacl<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for GetFacl<'_> {
    type Output = Vec<AclEntry>;

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("getfacl --omit-header --absolute-names --no-effective --").arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let lines = raw.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| acl_entry(line).ok_or_else(|| not_understood("getfacl", "a line is no entry"))).collect()
    }
}

/// Reads a line such as `default:user:ada:r-x`. Odd characters of names are written as `\` and three octal digits.
fn acl_entry(line: &[u8]) -> Option<AclEntry> {
    let (default, rest) = match line.strip_prefix(b"default:") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let mut fields = rest.split(|byte| *byte == b':');
    let tag = match fields.next()? {
        b"user" => AclTag::User,
        b"group" => AclTag::Group,
        b"mask" => AclTag::Mask,
        b"other" => AclTag::Other,
        _ => return None,
    };
    let name = unescape(fields.next()?);
    let permissions = fields.next()?.first_chunk::<3>()?;
    let bits = permissions.iter().zip(b"rwx").map(|(given, letter)| match given {
        given if given == letter => Some(1),
        b'-' => Some(0),
        _ => None,
    });
    let permissions = bits.collect::<Option<Vec<u8>>>()?.into_iter().fold(0, |bits, bit| bits << 1 | bit);
    let name = (!name.is_empty()).then(|| bytes_to_text(&name));
    fields.next().is_none().then_some(AclEntry { default, tag, name, permissions })
}

fn unescape(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, others)) = rest.split_first() {
        let octal = others.first_chunk::<3>().filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &others[3..];
            }
            None => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    bytes
}

/// The caller's quotas.
pub struct GetQuota<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for GetQuota<'_> {
    type Output = Vec<Quota>;

    fn command_line(&self) -> CommandLine {
        script(self.seconds, QUOTA).arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let text = bytes_to_text(&raw.stdout);
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let quotas = match first.split_once(' ') {
            None if first == "quota" => read_quota(rest),
            // A long name has a line to itself, so that lines mean nothing.
            Some(("lfs", user)) => columns(&rest.split_whitespace().collect::<Vec<_>>(), QuotaHolder::User, user).map(|quota| vec![quota]),
            _ => None,
        };
        quotas.ok_or_else(|| not_understood("quota", "its lines are not as expected"))
    }
}

/// Reads the tables of `quota`: one for the user and one for each group, each with a line above it.
fn read_quota(text: &str) -> Option<Vec<Quota>> {
    let mut quotas = Vec::new();
    let mut whose = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(rest) = line.strip_prefix("Disk quotas for ") {
            let (kind, rest) = rest.split_once(' ')?;
            let holder = if kind == "user" { QuotaHolder::User } else { QuotaHolder::Group };
            let name = rest.rsplit_once(" (").map_or(rest, |(name, _)| name);
            whose = Some((holder, name));
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"Filesystem") {
            continue;
        }
        let (holder, name) = whose?;
        quotas.push(columns(&words, holder, name)?);
    }
    Some(quotas)
}

/// Reads a file system's name, and blocks of 1 KiB and files, each with soft limit, hard limit and grace time.
fn columns(words: &[&str], holder: QuotaHolder, name: &str) -> Option<Quota> {
    let &[filesystem, blocks, soft_blocks, hard_blocks, _, files, soft_files, hard_files, _] = words else { return None };
    // A star follows a value that exceeds its limit, and values that are not up to date are in brackets.
    let number = |word: &str| word.trim_matches(['*', '[', ']']).parse::<u64>().ok();
    let use_of = |used: &str, soft: &str, hard: &str, unit: u64| {
        let limit = |word: &str| number(word).map(|limit| (limit > 0).then(|| limit.saturating_mul(unit)));
        Some(QuotaUse { used: number(used)?.saturating_mul(unit), soft: limit(soft)?, hard: limit(hard)? })
    };
    Some(Quota {
        holder,
        name: name.to_owned(),
        filesystem: filesystem.to_owned(),
        bytes: use_of(blocks, soft_blocks, hard_blocks, 1024)?,
        files: use_of(files, soft_files, hard_files, 1)?,
    })
}

/// The usage of a path's file system.
pub struct StatFs<'a> {
    pub seconds: u64,
    pub path: &'a RemotePath,
}

impl RemoteCommand for StatFs<'_> {
    type Output = Space;

    fn command_line(&self) -> CommandLine {
        command(self.seconds).flag("stat --file-system --format='%S %b %f %a %c %d' --").arg(self.path.as_bytes())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Space, CommandError> {
        raw.success()?;
        let text = String::from_utf8_lossy(&raw.stdout);
        let numbers: Option<Vec<u64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
        let Some(&[block, blocks, free, available, files, files_free]) = numbers.as_deref() else {
            return Err(not_understood("stat", "a field is no number"));
        };
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        Ok(Space { total: bytes(blocks), free: bytes(free), available: bytes(available), files, files_free })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> RawOutput {
        RawOutput { stdout: text.as_bytes().to_vec(), ..RawOutput::default() }
    }

    fn quotas(text: &str) -> Result<Vec<Quota>, CommandError> {
        let path = RemotePath::from_text("/f").unwrap();
        GetQuota { seconds: 5, path: &path }.parse(output(text))
    }

    #[test]
    fn an_access_control_list_is_read_with_odd_names() {
        let path = RemotePath::from_text("/f").unwrap();
        let text = "user::rwx\nuser:domain\\040user\\134:r-x\ngroup::---\nmask::rwx\nother::--x\ndefault:group:staff:-w-\n\n";
        let acl = GetFacl { seconds: 5, path: &path }.parse(output(text)).unwrap();
        let entry = |default, tag, name: Option<&str>, permissions| AclEntry { default, tag, name: name.map(str::to_owned), permissions };
        assert_eq!(
            acl,
            [
                entry(false, AclTag::User, None, 7),
                entry(false, AclTag::User, Some("domain user\\"), 5),
                entry(false, AclTag::Group, None, 0),
                entry(false, AclTag::Mask, None, 7),
                entry(false, AclTag::Other, None, 1),
                entry(true, AclTag::Group, Some("staff"), 2),
            ]
        );
        for wrong in ["user:ada\n", "owner::rwx\n", "user::rwxx:y\n", "user::wrx\n"] {
            assert!(GetFacl { seconds: 5, path: &path }.parse(output(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_tables_of_quota_are_read_for_user_and_groups() {
        let text = "quota\nDisk quotas for user ada (uid 1000): \n\
            \x20    Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n\
            \x20     /dev/sdb1      20*     10      15 1769846400       3       0       0       0\n\
            Disk quotas for group domain users (gid 100): \n\
            \x20    Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n\
            \x20 nfs:/export/h       0       0       0       0       0       5       6       0\n";
        let quotas = quotas(text).unwrap();
        assert_eq!((quotas[0].holder, quotas[0].name.as_str(), quotas[0].filesystem.as_str()), (QuotaHolder::User, "ada", "/dev/sdb1"));
        assert_eq!(quotas[0].bytes, QuotaUse { used: 20 * 1024, soft: Some(10 * 1024), hard: Some(15 * 1024) });
        assert_eq!(quotas[0].files, QuotaUse { used: 3, soft: None, hard: None });
        assert_eq!((quotas[1].holder, quotas[1].name.as_str(), quotas[1].files.hard), (QuotaHolder::Group, "domain users", Some(6)));
    }

    #[test]
    fn nobody_without_quotas_is_an_error_and_lustre_is_read_across_lines() {
        assert_eq!(quotas("quota\nDisk quotas for user ada (uid 1000): none\n").unwrap(), []);
        let lustre = quotas("lfs ada\n  /a/very/long/name/of/a/mount\n   [123456]  0  200000 -  12* 10  20  6d23h\n").unwrap();
        assert_eq!(lustre[0].bytes, QuotaUse { used: 123_456 * 1024, soft: None, hard: Some(200_000 * 1024) });
        assert_eq!(lustre[0].files, QuotaUse { used: 12, soft: Some(10), hard: Some(20) });
        for wrong in ["", "quota\n /dev/sdb1 1 2 3\n", "lfs ada\n x y z\n"] {
            assert!(quotas(wrong).is_err(), "{wrong}");
        }
    }
}
