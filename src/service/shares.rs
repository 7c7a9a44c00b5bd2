//! Links to a file or a directory of the caller's, for downloads by somebody without an account.
//!
//! A link has the identity of the user who made it, without a token: the rights of that user are checked at each use. Where credentials
//! are only made with a valid token, there are no links.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::audit::Change;
use super::counts::Action;
use super::limits::TransferPermit;
use super::links::{Link, Links, Presented, Refused, StoredLink};
use super::stored_requester::StoredRequester;
use super::{Access, AccessError, Gate, InvalidRequest, ServiceError, contents};
use crate::authz::Relation;
use crate::domain::{FileType, RemotePath, Secret};
use crate::error::{Classify, Kind};
use crate::filesystem::{ArchiveFormat, ContentStream, FilesystemError};

const NO_SHARES: &str =
    "this service has no share links: its configuration has no section `shares`, or no section `store`, where they would be kept";
const NEEDS_TOKEN: &str = "there are no share links to files of this system: its credentials are only made with a valid access token of the user \
                           (`ssh_credentials`), which somebody who follows a link does not have";
const NO_SUCH_SHARE: &str = "there is no such link: GET /filesystem/{system}/shares lists yours";
const UNKNOWN: &str = "there is no such link";
const GONE: &str =
    "this link is not valid any more: it has ended, was revoked, or was used as often as it may be, or what it led to is gone";

const MANY_FOLLOWERS: &str =
    "as many downloads by the links of one user are under way as there may be at a time: try again when one of them has ended";

/// A request for a link.
#[derive(Clone, Copy, Debug)]
pub struct NewShare<'a> {
    /// The file or directory.
    pub path: &'a str,
    /// The time for which it is valid, in seconds.
    pub seconds: Option<u64>,
    /// How often it may be used.
    pub max_uses: Option<u64>,
}

/// What a link leads to.
pub struct LinkTarget {
    /// The name of the file or directory.
    pub path: RemotePath,
    /// The size of a file in bytes; none of an archive.
    pub size: Option<u64>,
}

/// A request of whoever follows a link.
#[derive(Clone, Debug)]
pub struct Follower {
    /// The request's id.
    pub request_id: Arc<str>,
    /// The address that it came from.
    pub address: Option<IpAddr>,
}

/// Makes a link; the answer has its signature, which is not shown again.
///
/// # Errors
/// If there are no links here, a value is out of range, the path breaks the policy or cannot be read, or the user has too many.
pub async fn create(access: &Access, new: NewShare<'_>) -> Result<(Link, Secret), ServiceError> {
    let links = offered(access)?;
    let config = links.config();
    let seconds = within("expires_in", new.seconds.unwrap_or(config.max_time.min(24 * 3600)), config.max_time)?;
    let max_uses = within("max_uses", new.max_uses.unwrap_or(1), config.max_uses)?;
    let (path, file_type) = contents::packable(access, new.path).await?;
    let is_directory = match file_type {
        FileType::Directory => true,
        FileType::Regular => false,
        _ => return Err(FilesystemError::WrongType { path, reason: "neither a file nor a directory" }.into()),
    };
    let created = Timestamp::now();
    let link = StoredLink {
        system: access.cluster().name().clone(),
        path: path.to_text(),
        real_path: Some(access.files().await?.real_path(access.principal(), &path).await?.to_text()),
        is_directory,
        created,
        expires: created.saturating_add(SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))).unwrap_or(Timestamp::MAX),
        max_uses,
        uses: 0,
        requester: StoredRequester::of(&access.requester()),
    };
    let change = Change::begin(access, Action::SharesCreate, path.to_text());
    let added = links.add(link).await.map_err(ServiceError::from);
    change.end(added.and_then(|added| {
        added.ok_or_else(|| {
            let max = config.max_per_user;
            ServiceError::Conflict(
                format!("you have {max} links that may still be used, the limit of one user (shares.max_per_user): revoke one").into(),
            )
        })
    }))
}

fn within(name: &'static str, value: u64, max: u64) -> Result<u64, InvalidRequest> {
    if (1..=max).contains(&value) { Ok(value) } else { Err(InvalidRequest::new(name, format!("it must be from 1 to {max}"))) }
}

/// The links of the caller on the system that have not ended.
///
/// # Errors
/// If there are no links here, or the store does not answer.
pub async fn list(access: &Access) -> Result<Vec<Link>, ServiceError> {
    Ok(offered(access)?.of_user(&access.principal().username, access.cluster().name()).await?)
}

/// Revokes a link of the caller.
///
/// # Errors
/// If there is none, or the store does not answer.
pub async fn revoke(access: &Access, id: &str) -> Result<(), ServiceError> {
    let links = offered(access)?;
    let change = Change::begin(access, Action::SharesRevoke, id);
    match change.end(links.revoke(&access.principal().username, access.cluster().name(), id).await)? {
        true => Ok(()),
        false => Err(ServiceError::NotFound(NO_SUCH_SHARE)),
    }
}

/// Why a link is not followed.
#[derive(Debug)]
pub enum FollowError {
    /// Its user is not admitted now.
    Access(AccessError),
    /// It is not valid, or its content is not delivered.
    Service(ServiceError),
}

impl From<ServiceError> for FollowError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

/// Looks whether a link leads to something, which is no use of it, and opens nothing.
///
/// # Errors
/// As [`open`].
pub async fn look(gate: &Gate, link: Presented<'_>, follower: Follower) -> Result<LinkTarget, FollowError> {
    let (access, _, link) = follow(gate, link, follower).await?;
    let looking = async {
        let _permit = TransferPermit::take(&access)?;
        let (path, real) = target(&access, &link).await?;
        if let (Some(real), false) = (real, link.is_directory) {
            let size = contents::downloadable_real(&access, &real).await?;
            return Ok(LinkTarget { path, size: Some(size) });
        }
        if link.is_directory {
            let (path, _) = contents::packable(&access, &link.path).await?;
            return Ok(LinkTarget { path, size: None });
        }
        let (path, version) = contents::version(&access, &link.path).await?;
        contents::downloadable(&access, &path, &version).await?;
        Ok(LinkTarget { path, size: Some(version.size) })
    };
    Ok(looking.await.map_err(for_followers)?)
}

/// Opens what a link leads to, which is a use of the link.
///
/// Whoever follows a link learns nothing of the rights of its user: without them, and without the file, it is gone.
///
/// # Errors
/// If there is no such link, it is not valid any more, its user lost a right, or the cluster does not deliver the content.
pub async fn open(gate: &Gate, link: Presented<'_>, follower: Follower) -> Result<(LinkTarget, ContentStream), FollowError> {
    let id = link.id;
    let (access, links, link) = follow(gate, link, follower).await?;
    let change = Change::begin(&access, Action::SharesUse, format!("{} by the link {id}", link.path));
    let opening = async {
        let opened = content(&access, &link).await.map_err(for_followers)?;
        // What is not delivered is no use of the link.
        if links.count(id).await? { Ok(opened) } else { Err(ServiceError::Gone(GONE)) }
    };
    Ok(change.end(opening.await)?)
}

/// Admits the user of a link, for whoever follows it.
async fn follow(gate: &Gate, link: Presented<'_>, follower: Follower) -> Result<(Access, Links, StoredLink), FollowError> {
    let links = gate.state().links.ok_or(ServiceError::Unsupported(NO_SHARES))?;
    let link = links.find(link).await.map_err(refused)?;
    let mut requester = link.requester.requester(None);
    (requester.request_id, requester.address) = (follower.request_id, follower.address);
    let gate = gate.for_links(&link.system);
    let access = gate.admit_task(requester, Relation::Read, &link.system).await.map_err(not_admitted)?;
    let access = gate.admit_further(access, Relation::Share).await.map_err(not_admitted)?;
    if access.cluster().files_need_token() {
        return Err(ServiceError::Unsupported(NEEDS_TOKEN).into());
    }
    Ok((access, links, link))
}

/// The path of the link, and the one without symbolic links, to which it has to lead as it did when the link was made: another user who may write to a
/// directory on the way could lay a symbolic link there to any file of the user. What is there is opened by the latter, since that could happen now. Of a
/// link that an earlier release made to a file whose name was a link itself, it is not known.
async fn target(access: &Access, link: &StoredLink) -> Result<(RemotePath, Option<RemotePath>), ServiceError> {
    let path = access.path(&link.path).await?;
    let Some(recorded) = &link.real_path else { return Ok((path, None)) };
    let real = access.files().await?.real_path(access.principal(), &path).await?;
    if real.to_text() == *recorded { Ok((path, Some(real))) } else { Err(ServiceError::Gone(GONE)) }
}

async fn content(access: &Access, link: &StoredLink) -> Result<(LinkTarget, ContentStream), ServiceError> {
    let (path, real) = target(access, link).await?;
    if link.is_directory {
        let content = match &real {
            Some(real) => contents::pack_real(access, real, ArchiveFormat::Tar).await?,
            None => contents::pack(access, &link.path, ArchiveFormat::Tar).await?.1,
        };
        return Ok((LinkTarget { path, size: None }, content));
    }
    let download = match &real {
        Some(real) => contents::download_real(access, real).await?,
        None => contents::download(access, &link.path, None).await?.1,
    };
    Ok((LinkTarget { path, size: Some(download.version.size) }, download.content))
}

fn refused(error: Refused) -> ServiceError {
    match error {
        Refused::Unknown => ServiceError::NotFound(UNKNOWN),
        Refused::Gone => ServiceError::Gone(GONE),
        Refused::Store(error) => error.into(),
    }
}

fn not_admitted(error: AccessError) -> FollowError {
    match error.kind() {
        Kind::Forbidden | Kind::NotFound => ServiceError::Gone(GONE).into(),
        _ => FollowError::Access(error),
    }
}

/// The error without what only the user of the link may know.
fn for_followers(error: ServiceError) -> ServiceError {
    match error.kind() {
        Kind::Forbidden | Kind::NotFound | Kind::Invalid => ServiceError::Gone(GONE),
        // It leads elsewhere since a moment ago.
        _ if matches!(error, ServiceError::Filesystem(FilesystemError::Changed(_))) => ServiceError::Gone(GONE),
        _ if matches!(error, ServiceError::TooMany(_)) => ServiceError::TooMany(MANY_FOLLOWERS.into()),
        _ => error,
    }
}

/// The links, where they are offered for files of the system.
///
/// # Errors
/// Where they are not.
pub fn offered(access: &Access) -> Result<&Links, ServiceError> {
    let links = access.state().links.as_ref().ok_or(ServiceError::Unsupported(NO_SHARES))?;
    if access.cluster().files_need_token() { Err(ServiceError::Unsupported(NEEDS_TOKEN)) } else { Ok(links) }
}
