//! The versions of slurmrestd's API, and what differs between them in the requests.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// A version of the API: the last number of `v0.0.42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(u16);

impl ApiVersion {
    /// The first version that is understood, of Slurm 20.11.
    pub const OLDEST: Self = Self(36);
    /// The last version that is understood, of Slurm 26.05.
    pub const NEWEST: Self = Self(45);

    /// Reads `0.0.42` or `v0.0.42`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix('v').unwrap_or(text).strip_prefix("0.0.")?;
        let digits = !number.is_empty() && number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse().ok().map(Self)).flatten()
    }

    /// Whether its documents are supported.
    pub fn is_known(self) -> bool {
        (Self::OLDEST..=Self::NEWEST).contains(&self)
    }

    /// Whether a job's environment is a list of `NAME=value`, and not an object.
    pub(super) fn lists_environment(self) -> bool {
        self.0 >= 39
    }

    /// Whether the script is a member of the job, and not of the document.
    pub(super) fn puts_script_into_job(self) -> bool {
        self.0 >= 41
    }

    /// Whether the standard streams are called `standard_in` and `standard_out`.
    pub(super) fn shortens_streams(self) -> bool {
        self.0 <= 36
    }

    /// Whether the events for which mail is sent are a list, and not a text with commas.
    pub(super) fn lists_mail_events(self) -> bool {
        self.0 >= 39
    }

    /// Whether a job may ask for generic resources by `tres_per_job` and for nodes of its own by `shared`. The servers of the first versions
    /// refuse the one and end at the other.
    pub(super) fn takes_tres(self) -> bool {
        self.0 >= 40
    }

    /// Whether a job may run in a container.
    pub(super) fn takes_container(self) -> bool {
        self.0 >= 38
    }

    /// Whether the number of nodes is a text such as `2-4`, and not a list.
    pub(super) fn writes_nodes_as_text(self) -> bool {
        self.0 >= 39
    }

    /// Whether the controller's jobs can be queried by the id of an array's task.
    pub(super) fn knows_tasks(self) -> bool {
        self.0 >= 37
    }

    /// Whether accounting's jobs can be.
    pub(super) fn accounts_for_tasks(self) -> bool {
        self.0 >= 38
    }

    /// Whether there are reservations.
    pub(super) fn has_reservations(self) -> bool {
        self.0 >= 37
    }

    /// Whether accounting's jobs can be narrowed down to a user, and their steps be left out.
    pub(super) fn filters_accounting(self) -> bool {
        self.0 >= 40
    }

    /// How accounting takes the states that jobs may be in.
    pub(super) fn states_of_accounting(self) -> StatesForm {
        match self.0 {
            38 => StatesForm::List,
            40.. => StatesForm::Repeated,
            // The first two do not find more by them, and v0.0.39 was not tried.
            _ => StatesForm::None,
        }
    }

    /// Whether hidden partitions are left out unless a flag asks for them. Before, all come, with the flag `hidden`.
    pub(super) fn hides_partitions(self) -> bool {
        self.0 >= 40
    }

    /// Whether an update of a job, and of an array, is answered with its result.
    pub(super) fn reports_updates(self) -> bool {
        self.0 >= 40
    }

    /// Whether a signal that was not sent is distinguished from one that was.
    pub(super) fn reports_signals(self) -> bool {
        !(39..=41).contains(&self.0)
    }

    /// Whether a cancellation that was refused may be answered like one that was done.
    pub(super) fn hides_refusals(self) -> bool {
        self.0 >= 39
    }
}

/// How a list of states is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatesForm {
    /// Not at all.
    None,
    /// As one parameter, with commas.
    List,
    /// As one parameter for each.
    Repeated,
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v0.0.{}", self.0)
    }
}

/// The newest supported version of each family that a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The controller's side.
    pub(super) slurm: ApiVersion,
    /// The version of accounting, if there is one.
    pub(super) slurmdb: Option<ApiVersion>,
}

/// The names of the paths in a server's description of itself (OpenAPI 3).
#[derive(Deserialize)]
pub(super) struct Description {
    #[serde(deserialize_with = "offers")]
    paths: Vec<(bool, ApiVersion)>,
}

impl Description {
    /// The newest version of each family; `None` if none is supported.
    pub(super) fn offer(&self) -> Option<Offer> {
        let newest = |accounting| self.paths.iter().filter(|(family, _)| *family == accounting).map(|(_, version)| *version).max();
        Some(Offer { slurm: newest(false)?, slurmdb: newest(true) })
    }
}

/// For each path of a version that is understood, whether it is accounting's, and the version.
fn offers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(bool, ApiVersion)>, D::Error> {
    struct Paths;

    impl<'de> Visitor<'de> for Paths {
        type Value = Vec<(bool, ApiVersion)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of paths")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut offers = Vec::new();
            while let Some((path, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                offers.extend(family_and_version(&path).filter(|(_, version)| version.is_known()));
            }
            Ok(offers)
        }
    }

    deserializer.deserialize_map(Paths)
}

fn family_and_version(path: &str) -> Option<(bool, ApiVersion)> {
    let mut segments = path.trim_start_matches('/').split('/');
    let accounting = match segments.next()? {
        "slurm" => false,
        "slurmdb" => true,
        _ => return None,
    };
    Some((accounting, ApiVersion::parse(segments.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u16) -> ApiVersion {
        ApiVersion(number)
    }

    fn offer(paths: &[&str]) -> Option<Offer> {
        let paths: serde_json::Map<String, serde_json::Value> =
            paths.iter().map(|path| ((*path).to_owned(), serde_json::json!({"get": {"deep": [1]}}))).collect();
        serde_json::from_value::<Description>(serde_json::json!({"openapi": "3.0.2", "paths": paths})).unwrap().offer()
    }

    #[test]
    fn a_version_is_read_with_and_without_its_letter() {
        assert_eq!(ApiVersion::parse("0.0.42"), Some(version(42)));
        assert_eq!(ApiVersion::parse("v0.0.36"), Some(version(36)));
        for text in ["", "42", "0.0.", "0.0.x", "1.0.42", "0.0.42/..", "0.0.4200", "vv0.0.42"] {
            assert_eq!(ApiVersion::parse(text), None, "{text:?}");
        }
        assert_eq!(version(42).to_string(), "v0.0.42");
    }

    #[test]
    fn the_newest_known_version_is_chosen_for_each_family() {
        let paths = ["/slurm/v0.0.36/ping", "/slurm/v0.0.38/ping", "/slurmdb/v0.0.37/jobs", "/slurm/v0.0.99/ping", "/openapi/v3"];
        assert_eq!(offer(&paths), Some(Offer { slurm: version(38), slurmdb: Some(version(37)) }));
        let paths = ["/slurm/v0.0.43/ping/", "/slurm/v0.0.45/ping/", "/slurmdb/v0.0.44/jobs/"];
        assert_eq!(offer(&paths), Some(Offer { slurm: version(45), slurmdb: Some(version(44)) }));
        assert_eq!(offer(&["/slurm/v0.0.42/ping/"]), Some(Offer { slurm: version(42), slurmdb: None }));
    }

    #[test]
    fn a_server_without_a_known_version_offers_nothing() {
        assert_eq!(offer(&["/slurm/v0.0.35/ping", "/slurm/v0.0.46/ping", "/slurmdb/v0.0.42/jobs", "/other/v0.0.42/x"]), None);
    }
}
