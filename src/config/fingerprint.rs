//! Fingerprints of a configuration's sections, so that a reload can find changes. Secrets go into a digest and nowhere else.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::Value as Json;

use super::read_text;

/// The maximum number of bytes of a referenced file that are digested.
const MAX_FILE: usize = 256 * 1024;

/// One section with everything in it, its secrets and the files that it names included.
pub type Fingerprint = [u8; 32];

/// The fingerprints of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// The fingerprint of the whole document.
    pub document: Fingerprint,
    /// Of `auth.authentication`.
    pub authentication: Fingerprint,
    /// Of `auth.authorization`.
    pub authorization: Fingerprint,
    /// Of `ssh_credentials`.
    pub ssh_credentials: Fingerprint,
    /// Of each of `clusters`, in their order.
    pub clusters: Vec<Fingerprint>,
    /// Of the keys that take effect when the process starts.
    pub at_start: Vec<(&'static str, Fingerprint)>,
}

/// The keys that take effect when the process starts.
const AT_START: [&str; 8] =
    ["server.listen", "server.drain_timeout", "server.reload", "metrics", "store", "webhooks", "apis_root_path", "app_debug"];

impl Fingerprints {
    /// The fingerprints of a document whose secrets were read; the clusters are added one by one.
    pub(super) fn of(document: &Json) -> Self {
        let section = |path: &str| of(path.split('.').try_fold(document, |value, key| value.get(key)).unwrap_or(&Json::Null));
        Self {
            document: of(document),
            authentication: section("auth.authentication"),
            authorization: section("auth.authorization"),
            ssh_credentials: section("ssh_credentials"),
            clusters: Vec::new(),
            at_start: AT_START.map(|path| (path, section(path))).to_vec(),
        }
    }
}

/// The fingerprint of one section.
pub(super) fn of(section: &Json) -> Fingerprint {
    let mut context = Context::new(&SHA256);
    context.update(section.to_string().as_bytes());
    add_files(section, &mut context);
    let mut fingerprint = Fingerprint::default();
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

/// The fingerprint of a cluster. It does not include a maintenance: the connections stay when one begins or ends.
pub(super) fn of_cluster(section: &Json) -> Fingerprint {
    let mut section = section.clone();
    if let Json::Object(members) = &mut section {
        members.retain(|key, _| !key.starts_with("maintenance"));
    }
    of(&section)
}

/// Adds the contents of the files that keys such as `jwt_key_file` name.
fn add_files(section: &Json, context: &mut Context) {
    match section {
        Json::Object(members) => {
            for (key, value) in members {
                match value {
                    Json::String(path) if key.ends_with("_file") => {
                        context.update(read_text(Path::new(path), MAX_FILE).unwrap_or_default().as_bytes());
                    }
                    value => add_files(value, context),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| add_files(item, context)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_changes_with_its_values_and_with_the_files_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "one").unwrap();
        let section = serde_json::json!({"scheduler": {"jwt_key_file": file}});
        let first = of(&section);
        assert_eq!(first, of(&section));
        std::fs::write(&file, "two").unwrap();
        assert_ne!(first, of(&section));
        assert_ne!(of(&serde_json::json!({"a": 1})), of(&serde_json::json!({"a": 2})));
    }
}
