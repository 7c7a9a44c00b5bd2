//! Files: look at, change, pack and unpack.
//!
//! Every path of a request passes `Access::path` or one of its kind, targets included.

use crate::domain::{Checksum, CompressOptions, Compression, Content, ContentUnit, DirectoryEntry, FileMode, FileStat, RemotePath};
use crate::filesystem::{FilesystemError, Part};

use super::audit::Change;
use super::counts::Action;
use super::grep::Pattern;
use super::text::{Findings, check_line};
use super::{Access, InvalidRequest, Place, Ready, ReadyPermit, ServiceError};

/// How much `head` and `tail` give when nothing is asked for: what the tools of that name print.
const DEFAULT_LINES: u64 = 10;
/// What a line takes for which there is memory to be kept before it is read, in bytes.
const LIKELY_LINE: u64 = 1024;
/// How much `view` gives when nothing is asked for, in bytes.
const DEFAULT_VIEW: u64 = 5 * 1024 * 1024;

/// The status of a file; follows a link when `dereference` is set.
///
/// # Errors
/// When the path breaks the policy, or the cluster does not give the status.
pub async fn stat(access: &Access, path: &str, dereference: bool) -> Result<FileStat, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.stat(access.principal(), &path, dereference).await?)
}

/// What kind of content a file has.
///
/// # Errors
/// When the path breaks the policy, or the cluster does not tell.
pub async fn file_type(access: &Access, path: &str) -> Result<String, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.file_type(access.principal(), &path).await?)
}

/// The SHA-256 of a file.
///
/// # Errors
/// When the path breaks the policy, or the cluster does not give the sum.
pub async fn checksum(access: &Access, path: &str) -> Result<Checksum, ServiceError> {
    let path = access.path(path).await?;
    Ok(access.files().await?.checksum(access.principal(), &path).await?)
}

/// How much of an end of a file is wanted, as the caller says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// So many bytes.
    pub bytes: Option<u64>,
    /// So many lines.
    pub lines: Option<u64>,
    /// Everything but that.
    pub skip: bool,
}

/// What of an end of a file is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// How much of the file.
    pub amount: Amount,
    /// Of that, only the lines that match this regular expression.
    pub grep: Option<String>,
}

impl Excerpt {
    fn check(&self) -> Result<(Part, Option<Pattern>), InvalidRequest> {
        let pattern = self.grep.as_deref().map(Pattern::new).transpose()?;
        Ok((self.amount.part()?, pattern))
    }
}

impl Amount {
    fn part(self) -> Result<Part, InvalidRequest> {
        let (unit, count) = match (self.bytes, self.lines) {
            (Some(_), Some(_)) => {
                return Err(InvalidRequest::new(Place::Parameter, "bytes", "Only one of `bytes` or `lines` can be specified."));
            }
            (Some(bytes), None) => (ContentUnit::Bytes, bytes),
            (None, lines) => (ContentUnit::Lines, lines.unwrap_or(DEFAULT_LINES)),
        };
        Ok(Part { unit, count, skip: self.skip })
    }
}

/// The first part of a file, or all but its last.
///
/// # Errors
/// When both units are asked for, the pattern is none, the path breaks the policy, or the cluster does not give the content.
pub async fn head(access: &Access, path: &str, excerpt: &Excerpt) -> Result<Ready<Content>, ServiceError> {
    let (part, pattern) = excerpt.check()?;
    let path = access.path(path).await?;
    let place = ReadyPermit::take(access, max_output(access, part))?;
    let content = matching(access, access.files().await?.head(access.principal(), &path, part).await.map_err(smaller)?, pattern).await?;
    let length = content.data.len();
    place.hold(content, length)
}

/// The last part of a file, or all but its first.
///
/// # Errors
/// When both units are asked for, the pattern is none, the path breaks the policy, or the cluster does not give the content.
pub async fn tail(access: &Access, path: &str, excerpt: &Excerpt) -> Result<Ready<Content>, ServiceError> {
    let (part, pattern) = excerpt.check()?;
    let path = access.path(path).await?;
    let place = ReadyPermit::take(access, max_output(access, part))?;
    let content = matching(access, access.files().await?.tail(access.principal(), &path, part).await.map_err(smaller)?, pattern).await?;
    let length = content.data.len();
    place.hold(content, length)
}

/// How large a part of a file may turn out to be, in bytes.
fn max_output(access: &Access, part: Part) -> u64 {
    let limit = access.cluster().config().data_operation.max_shown();
    match part {
        Part { unit: ContentUnit::Bytes, count, skip: false } => count.min(limit),
        // Lines have any length. Those that are asked for are mostly short, and known to be once they were read.
        Part { unit: ContentUnit::Lines, count, skip: false } => count.saturating_mul(LIKELY_LINE).min(limit),
        _ => limit,
    }
}

fn smaller(error: FilesystemError) -> ServiceError {
    ServiceError::or_by(error, "ask for fewer bytes or lines, or use `ops/download` with `Range`")
}

/// The same part of the file, less the lines that do not match.
async fn matching(access: &Access, content: Content, pattern: Option<Pattern>) -> Result<Content, ServiceError> {
    let Some(pattern) = pattern else { return Ok(content) };
    let data = access.limits().searches.lines(&access.principal().username, content.data, pattern).await?;
    Ok(Content { data, ..content })
}

/// `size` bytes of a file from `offset`.
///
/// # Errors
/// When more is asked for than the cluster's limit, the path breaks the policy, or the cluster does not give the content.
pub async fn view(access: &Access, path: &str, offset: Option<u64>, size: Option<u64>) -> Result<Ready<Vec<u8>>, ServiceError> {
    let limit = access.cluster().config().data_operation.max_shown();
    let size = size.unwrap_or_else(|| DEFAULT_VIEW.min(limit));
    if size == 0 {
        return Err(InvalidRequest::new(Place::Parameter, "size", "`size` value must be an integer value greater than 0").into());
    }
    if size > limit {
        let message = format!("`size` value must not be greater than {limit} bytes");
        return Err(InvalidRequest::new(Place::Parameter, "size", message).into());
    }
    let path = access.path(path).await?;
    let place = ReadyPermit::take(access, size)?;
    let content = access.files().await?.view(access.principal(), &path, offset.unwrap_or(0), size).await.map_err(smaller)?;
    let length = content.len();
    place.hold(content, length)
}

/// Sets permission bits, given in octal or as a symbolic mode, and gives the changed entry.
///
/// # Errors
/// When the mode is neither, the path breaks the policy, or the cluster does not allow it.
pub async fn chmod(access: &Access, path: &str, mode: &str) -> Result<DirectoryEntry, ServiceError> {
    let mode = FileMode::parse(mode);
    let wrong = || InvalidRequest::new(Place::Document, "mode", "it must be octal, from 0 to 7777, or symbolic, such as `u+x,go-w`");
    let mode = mode.ok_or_else(wrong)?;
    let path = access.path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesChmod, format!("{path} to {mode}"));
    change.end(files.chmod(access.principal(), &path, &mode).await)?;
    Ok(files.entry(access.principal(), &path).await?)
}

/// Sets owner and group, where given, and gives the changed entry.
///
/// # Errors
/// When neither is given, a name cannot be one, the path breaks the policy, or the cluster does not allow it.
pub async fn chown(access: &Access, path: &str, owner: &str, group: &str) -> Result<DirectoryEntry, ServiceError> {
    let owner = posix_name("owner", owner)?;
    let group = posix_name("group", group)?;
    if owner.is_none() && group.is_none() {
        return Err(InvalidRequest::new(Place::Document, "owner", "give `owner`, `group` or both").into());
    }
    let path = access.path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesChown, format!("{path} to {}:{}", owner.unwrap_or(""), group.unwrap_or("")));
    change.end(files.chown(access.principal(), &path, owner, group).await)?;
    Ok(files.entry(access.principal(), &path).await?)
}

/// Makes a directory, with `parents` those above it too, and gives its entry.
///
/// # Errors
/// When the path breaks the policy, or the cluster does not allow it.
pub async fn mkdir(access: &Access, path: &str, parents: bool) -> Result<DirectoryEntry, ServiceError> {
    let path = access.new_path(path).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesMkdir, path.to_text());
    change.end(files.mkdir(access.principal(), &path, parents).await)?;
    Ok(files.entry(access.principal(), &path).await?)
}

/// Makes the symbolic link `link` to `target` and gives its entry.
///
/// # Errors
/// When a path breaks the policy, or the cluster does not allow it.
pub async fn symlink(access: &Access, target: &str, link: &str) -> Result<DirectoryEntry, ServiceError> {
    let target = access.new_path(target).await?;
    let link = access.path(link).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesSymlink, format!("{link} to {target}"));
    change.end(files.symlink(access.principal(), &target, &link).await)?;
    Ok(files.entry(access.principal(), &link).await?)
}

/// Removes a file or a directory with all that is in it.
///
/// # Errors
/// When the path breaks the policy, is a configured file system itself, or the cluster does not allow it.
pub async fn remove(access: &Access, path: &str) -> Result<(), ServiceError> {
    let path = access.entry_path(path).await?;
    refuse_file_system(access, &path, Place::Parameter, "path")?;
    let change = Change::begin(access, Action::FilesRemove, path.to_text());
    Ok(change.end(access.files().await?.remove(access.principal(), &path).await)?)
}

/// Packs `source` into the archive `target`.
///
/// # Errors
/// When a path or the pattern breaks a rule, or the cluster does not do it.
pub async fn compress(access: &Access, source: &str, target: &str, options: CompressOptions) -> Result<(), ServiceError> {
    check_pattern(&options)?;
    let source = access.path(source).await?;
    let target = access.path(target).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesCompress, format!("{source} to {target}"));
    Ok(change.end(files.compress(access.principal(), &source, &target, &options).await)?)
}

/// Unpacks the archive `source` into the directory `target`.
///
/// # Errors
/// When a path breaks the policy, or the cluster does not do it.
pub async fn extract(access: &Access, source: &str, target: &str, compression: Compression) -> Result<(), ServiceError> {
    let source = access.path(source).await?;
    let target = access.path(target).await?;
    let files = access.files().await?;
    let change = Change::begin(access, Action::FilesExtract, format!("{source} to {target}"));
    Ok(change.end(files.extract(access.principal(), &source, &target, compression).await)?)
}

/// Refuses a path whose disappearance would take a configured file system with it.
pub(super) fn refuse_file_system(access: &Access, path: &RemotePath, place: Place, field: &'static str) -> Result<(), InvalidRequest> {
    if access.cluster().holds_file_system(path) {
        return Err(InvalidRequest::new(place, field, "a configured file system cannot be removed"));
    }
    Ok(())
}

/// Checks the expression that chooses files for an archive.
pub(super) fn check_pattern(options: &CompressOptions) -> Result<(), InvalidRequest> {
    match options.match_pattern.as_deref().map(|pattern| check_line(pattern, 4095)) {
        Some(Err(message)) => Err(InvalidRequest::new(Place::Document, "matchPattern", message)),
        _ => Ok(()),
    }
}

/// A user's or group's name or number; an empty one is absent.
fn posix_name<'a>(field: &'static str, name: &'a str) -> Result<Option<&'a str>, InvalidRequest> {
    let mut findings = Findings::default();
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/');
    if name.len() > 256 || name.starts_with('-') || name.contains(bad) {
        findings.add(Place::Document, field, "it is not the name or number of a user or group");
    }
    findings.into_result()?;
    Ok(Some(name).filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_are_the_default_and_two_units_are_refused() {
        assert_eq!(Amount::default().part(), Ok(Part { unit: ContentUnit::Lines, count: 10, skip: false }));
        assert!(Amount { bytes: Some(1), lines: Some(1), skip: false }.part().is_err());
    }
}
