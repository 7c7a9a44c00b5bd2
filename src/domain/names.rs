//! Names that arrive from clients, tokens and configuration.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name that was refused, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what}: {reason}")]
pub struct InvalidName {
    what: &'static str,
    reason: &'static str,
}

/// The name of a cluster. Compared without case: it is kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct SystemName(String);

impl SystemName {
    /// Accepts 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
    ///
    /// # Errors
    /// If the name is empty, longer, or holds another character.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check("system name", name, 128, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))?;
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The name, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The login name of a person or service on the clusters.
///
/// It becomes an SSH user name and an argument of scheduler commands, so the alphabet is that of portable POSIX user names
/// (XBD 3.437) plus `@` and `+` as directory services use them; a leading `-` is refused. It may also become a part of a path, so
/// `.` and `..` are refused too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Username(String);

impl Username {
    /// Accepts 1 to 256 characters of `A-Z a-z 0-9 . _ - @ +`, not starting with `-`, but for `.` and `..`.
    ///
    /// # Errors
    /// If the name is empty, longer, starts with `-`, holds another character, or is `.` or `..`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        check("user name", name, 256, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+'))?;
        if name.starts_with('-') {
            return Err(InvalidName { what: "user name", reason: "it starts with '-'" });
        }
        if matches!(name, "." | "..") {
            return Err(InvalidName { what: "user name", reason: "it names a directory" });
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as the cluster knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A scheduler's name for a job: `1234`, `1234_5` (a Slurm array task), `12+1` (a heterogeneous part), `123[1].server` (PBS).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct JobId(String);

impl JobId {
    /// Accepts 1 to 128 characters of `A-Z a-z 0-9 . _ - + , [ ]`, starting with a letter or digit.
    ///
    /// # Errors
    /// If the id is empty, longer, starts otherwise, or holds another character.
    pub fn new(id: &str) -> Result<Self, InvalidName> {
        check("job id", id, 128, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ',' | '[' | ']'))?;
        if !id.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(InvalidName { what: "job id", reason: "it must start with a letter or a digit" });
        }
        Ok(Self(id.to_owned()))
    }

    /// The id as the scheduler prints it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the job `asked` includes the job `id`: it is the same job, a task of the array (`123_4` of `123`), a component (`123+1`), a
    /// subjob (`123[4].server` of `123[].server`), or the same with the server's name (`123.server` of `123`).
    pub fn covers(asked: &str, id: &str) -> bool {
        let (asked_number, asked_rest) = asked.split_at(Self::number(asked).len());
        let (number, rest) = id.split_at(Self::number(id).len());
        asked == id || (asked_number == number && (asked_rest.is_empty() || (asked_rest.starts_with("[]") && rest.starts_with('['))))
    }

    /// The number of a job, which its parts share.
    pub fn number(id: &str) -> &str {
        id.split(['_', '+', '[', '.']).next().unwrap_or(id)
    }
}

/// Whether `name` is a name for an environment variable, of any length (POSIX XBD 8.1 with lower case allowed, as shells do).
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The known name that is most similar to `written`, if one is similar.
pub fn nearest_name<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer names are not compared: the cost is the product of the lengths.
    const MAX_COMPARED: usize = 64;
    let likeness = |known: &'a str| (known, strsim::normalized_damerau_levenshtein(written, known));
    let compared = known.into_iter().filter(|_| written.len() <= MAX_COMPARED).map(likeness);
    compared.filter(|(_, likeness)| *likeness > 0.6).max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(known, _)| known)
}

fn check(what: &'static str, value: &str, max_bytes: usize, allowed: impl Fn(char) -> bool) -> Result<(), InvalidName> {
    if value.is_empty() {
        return Err(InvalidName { what, reason: "it is empty" });
    }
    if value.len() > max_bytes {
        return Err(InvalidName { what, reason: "it is too long" });
    }
    if !value.chars().all(allowed) {
        return Err(InvalidName { what, reason: "it holds a character that is not allowed" });
    }
    Ok(())
}

macro_rules! string_like {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(value: String) -> Result<Self, InvalidName> {
                Self::new(&value)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

string_like!(SystemName, Username, JobId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_names_ignore_case() {
        assert_eq!(SystemName::new("Daint-Alps").unwrap(), SystemName::new("daint-alps").unwrap());
    }

    #[test]
    fn array_tasks_and_pbs_ids_are_job_ids() {
        for id in ["1", "123_4", "12+1", "123[1].srv", "99.pbs-server.example.org"] {
            assert_eq!(JobId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn a_whole_job_has_its_parts_and_a_part_has_no_others() {
        for (asked, id) in [("12", "12"), ("12", "12_3"), ("12", "12+1"), ("12", "12.srv"), ("12[].srv", "12[3].srv"), ("12", "12[].srv")] {
            assert!(JobId::covers(asked, id), "{asked} {id}");
        }
        for (asked, id) in
            [("12", "123"), ("12_3", "12"), ("12_3", "12_31"), ("12.srv", "12[1].srv"), ("12[1].srv", "12[].srv"), ("1", "12_1")]
        {
            assert!(!JobId::covers(asked, id), "{asked} {id}");
        }
    }

    #[test]
    fn names_that_could_be_read_as_options_or_shell_are_refused() {
        for name in ["", "-rf", "a b", "a;b", "a'b", "$(id)", "a\n", "ä"] {
            assert!(JobId::new(name).is_err(), "{name:?} as a job id");
            assert!(Username::new(name).is_err(), "{name:?} as a user name");
        }
    }

    #[test]
    fn a_user_name_is_no_way_to_this_or_the_parent_directory() {
        for name in [".", ".."] {
            assert!(Username::new(name).is_err(), "{name:?}");
        }
        for name in ["...", ".a", "a.", "a..b"] {
            assert_eq!(Username::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn variable_names_are_posix_names() {
        for name in ["A", "_x9", "F7T_version", &"a".repeat(256)] {
            assert!(is_variable_name(name), "{name}");
        }
        for name in ["", "9A", "A-B", "A=B", "A B", "Ä", "A\n", "$(id)"] {
            assert!(!is_variable_name(name), "{name:?}");
        }
    }
}
