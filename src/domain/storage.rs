//! Storage as shown by `df`, `quota` and `getfacl`.

/// The usage of a file system, in bytes and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Space {
    /// Size in bytes.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
    /// Bytes that are free to users other than root.
    pub available: u64,
    /// The number of files that it can hold; 0 if it does not report it.
    pub files: u64,
    /// The number of files that can still be created.
    pub files_free: u64,
}

/// A quota of a user or a group on a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whose.
    pub holder: QuotaHolder,
    /// The name of the user or group.
    pub name: String,
    /// The file system, as the tool names it.
    pub filesystem: String,
    /// Bytes.
    pub bytes: QuotaUse,
    /// Files.
    pub files: QuotaUse,
}

/// The owner of the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaHolder {
    /// A user's.
    User,
    /// A group's.
    Group,
}

/// The usage of a quota, and its limits if there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct QuotaUse {
    /// The usage.
    pub used: u64,
    /// The soft limit, which may be exceeded for a limited time.
    pub soft: Option<u64>,
    /// The hard limit.
    pub hard: Option<u64>,
}

/// An entry of an access control list (POSIX.1e draft 17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclEntry {
    /// One of a directory's default list, which new entries in it get.
    pub default: bool,
    /// Whom the entry applies to.
    pub tag: AclTag,
    /// The name of the user or group; none for the owner, the owning group, and where the tag has none.
    pub name: Option<String>,
    /// Read (4), write (2) and execute (1).
    pub permissions: u8,
}

/// Whom an entry of an access control list applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclTag {
    /// The owner, or a user.
    User,
    /// The owning group, or a group.
    Group,
    /// The maximum permissions of users and groups other than the owner.
    Mask,
    /// Everybody else.
    Other,
}
