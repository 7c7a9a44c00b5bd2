//! The rights of a file that takes the place of another: those of the old one, narrowed where something of it cannot be kept, and
//! never widened.

/// The permissions of a file by its mode and owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Permission bits (`07777`).
    pub mode: u32,
    /// Owner and group, by number.
    pub owner: (u32, u32),
}

/// The relation of a new file's access control list to that of the old file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acl {
    /// Both have the same, or none.
    Same,
    /// They differ, and that cannot be changed.
    Differs,
    /// It is unknown.
    Unknown,
}

impl Rights {
    /// The mode for a new file with this owner and group that permits no more than the old one.
    pub fn mode_for(&self, owner: (u32, u32), acl: Acl) -> u32 {
        let mode = match acl {
            Acl::Same if owner.1 == self.owner.1 => self.mode,
            Acl::Same | Acl::Unknown => self.for_any_group(),
            // With an access control list, the group bits are its mask, and "others" may include users whom the old list denied.
            Acl::Differs => self.mode & 0o700,
        };
        // A program must not start to run as another user.
        if owner.0 == self.owner.0 { mode } else { mode & 0o3777 }
    }

    /// The mode that is right whatever group the new file has: a user in the old group may now be one of the others, and one of
    /// the others may now be in the group, so both get the rights that both had.
    pub fn for_any_group(&self) -> u32 {
        let both = self.mode >> 3 & self.mode & 0o7;
        self.mode & 0o700 | both << 3 | both
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_narrowed_and_never_widened() {
        let old = |mode| Rights { mode, owner: (1, 10) };
        for (mode, kept, other_group, other_owner, other_acl) in [
            (0o660, 0o660, 0o600, 0o660, 0o600),
            (0o644, 0o644, 0o644, 0o644, 0o600),
            (0o664, 0o664, 0o644, 0o664, 0o600),
            (0o606, 0o606, 0o600, 0o606, 0o600),
            (0o4755, 0o4755, 0o755, 0o755, 0o700),
            (0o2750, 0o2750, 0o700, 0o2750, 0o700),
        ] {
            assert_eq!(old(mode).mode_for((1, 10), Acl::Same), kept, "{mode:o}");
            assert_eq!(old(mode).mode_for((1, 11), Acl::Same), other_group, "{mode:o}");
            assert_eq!(old(mode).mode_for((2, 10), Acl::Same), other_owner, "{mode:o}");
            assert_eq!(old(mode).mode_for((1, 10), Acl::Differs), other_acl, "{mode:o}");
            assert_eq!(old(mode).mode_for((1, 10), Acl::Unknown), other_group, "{mode:o}");
        }
    }
}
