//! The names of users and groups.
//!
//! From `users-groups-by-id@openssh.com` where offered, else from the line for people that OpenSSH sends with each entry of a
//! directory, else numbers. They are cached for some minutes, separately for each caller: a server's answer to one user is not shown to another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::protocol::{Attributes, Request, Response, decode_names};
use super::session::{Failure, Session};
use crate::domain::{Username, bytes_to_text};

/// The number of ids in one request.
const IDS_PER_REQUEST: usize = 256;

/// Names longer than this (`LOGIN_NAME_MAX` of Linux) are shown as numbers.
const MAX_NAME: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Id {
    User(u32),
    Group(u32),
}

/// The known names.
pub struct Names {
    known: Cache<(Username, Id), Arc<str>>,
}

impl Names {
    /// An empty cache.
    pub fn new() -> Self {
        Self { known: Cache::builder().max_capacity(20_000).time_to_live(Duration::from_secs(600)).build() }
    }

    /// Asks the server for the names of all owners in `owners` that are not known yet.
    ///
    /// # Errors
    /// If the session fails. A server that refuses leaves the numbers.
    pub async fn learn(&self, caller: &Username, session: &Session, owners: impl Iterator<Item = (u32, u32)>) -> Result<(), Failure> {
        if !session.capabilities().names_by_id {
            return Ok(());
        }
        let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
        for (user, group) in owners {
            users.insert(user);
            groups.insert(group);
        }
        users.retain(|id| !self.known.contains_key(&(caller.clone(), Id::User(*id))));
        groups.retain(|id| !self.known.contains_key(&(caller.clone(), Id::Group(*id))));
        let (users, groups): (Vec<u32>, Vec<u32>) = (users.into_iter().collect(), groups.into_iter().collect());
        for at in (0..users.len().max(groups.len())).step_by(IDS_PER_REQUEST) {
            let part = |ids: &[u32]| ids.iter().skip(at).take(IDS_PER_REQUEST).copied().collect::<Vec<u32>>();
            let (users, groups) = (part(&users), part(&groups));
            let data = match session.request(&Request::UsersGroupsById { users: users.clone(), groups: groups.clone() }).await {
                Ok(Response::ExtendedReply { data }) => data,
                Ok(_) => return Err(Failure::unexpected()),
                Err(Failure::Status(..)) => return Ok(()),
                Err(failure) => return Err(failure),
            };
            let (user_names, group_names) = decode_names(data, users.len(), groups.len())?;
            let users = users.into_iter().map(Id::User).zip(user_names);
            for (id, name) in users.chain(groups.into_iter().map(Id::Group).zip(group_names)) {
                if let Some(name) = shown(&name) {
                    self.known.insert((caller.clone(), id), name.into()).await;
                }
            }
        }
        Ok(())
    }

    /// The names of an entry's owner and group, numbers if there is none. `long_name` is the server's line for the entry.
    pub async fn of(&self, caller: &Username, name: &[u8], long_name: &[u8], attributes: &Attributes) -> (String, String) {
        let Some((user, group)) = attributes.owner else { return (String::new(), String::new()) };
        let from_line = owner_in_line(long_name, name, attributes).unwrap_or_default();
        let name = async |id: Id, number: u32, from_line: Option<String>| match self.known.get(&(caller.clone(), id)).await {
            Some(name) => name.to_string(),
            None => from_line.unwrap_or_else(|| number.to_string()),
        };
        (name(Id::User(user), user, from_line.0).await, name(Id::Group(group), group, from_line.1).await)
    }
}

fn shown(name: &[u8]) -> Option<String> {
    (!name.is_empty() && name.len() <= MAX_NAME).then(|| bytes_to_text(name))
}

/// Takes owner and group out of a line such as `-rw-r--r--    1 root     staff       120 Jan  1 10:00 name`.
///
/// Nothing says that a server's line looks like that, and a name with a space shifts its columns; so the size must stand where
/// it should and be the entry's, and the line must end with the entry's name.
fn owner_in_line(line: &[u8], name: &[u8], attributes: &Attributes) -> Option<(Option<String>, Option<String>)> {
    let line = line.strip_suffix(name)?;
    let mut columns = line.split(|byte| *byte == b' ').filter(|column| !column.is_empty());
    let (_mode, _links) = (columns.next()?, columns.next()?);
    let (user, group, size) = (columns.next()?, columns.next()?, columns.next()?);
    let size: u64 = std::str::from_utf8(size).ok()?.parse().ok()?;
    // Month, day, and time or year follow.
    (Some(size) == attributes.size && columns.count() == 3).then(|| (shown(user), shown(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(line: &str, name: &str) -> Option<(String, String)> {
        let attributes = Attributes { size: Some(120), ..Attributes::default() };
        let (user, group) = owner_in_line(line.as_bytes(), name.as_bytes(), &attributes)?;
        Some((user?, group?))
    }

    #[test]
    fn the_line_of_openssh_gives_owner_and_group() {
        let line = "-rw-r--r--    1 root     staff         120 Jan  1 10:00 a file";
        assert_eq!(owner(line, "a file"), Some(("root".to_owned(), "staff".to_owned())));
    }

    #[test]
    fn a_line_whose_columns_are_shifted_or_that_is_another_files_gives_nothing() {
        assert_eq!(owner("-rw-r--r--    1 root     domain users   120 Jan  1 10:00 f", "f"), None);
        assert_eq!(owner("-rw-r--r--    1 root     staff         121 Jan  1 10:00 f", "f"), None);
        assert_eq!(owner("-rw-r--r--    1 root     staff         120 Jan  1 10:00 g", "f"), None);
        assert_eq!(owner("120 f", "f"), None);
        assert_eq!(owner("", ""), None);
    }
}
