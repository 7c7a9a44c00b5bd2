//! The section `compat.kbatch`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dictionary::Unusable;
use super::submission::{self, PARTITION_KEY};
use crate::domain::SystemName;
use crate::scheduler::kubernetes::MAX_CONTENT;

/// The first parts of paths that are Goldcrest's own.
const OWN_PATHS: [&str; 8] = ["compute", "filesystem", "status", "tasks", "shares", "docs", "redoc", "openapi.json"];

/// The routes of kbatch-proxy for its unchanged clients, over one system whose scheduler is Kubernetes. If the section is there, the variables
/// `KBATCH_*` of kbatch-proxy fill in what the file leaves out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct KbatchConfig {
    /// Whether the routes are served.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// Path of the routes, in small letters and below `apis_root_path`: clients are configured with it.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Name of the system where the jobs run. Callers need the same permissions for it as for its other operations.
    pub system: SystemName,
    /// Sizes of jobs that users choose from by name. Everybody can read them, without a token.
    #[serde(default)]
    pub profiles: BTreeMap<String, KbatchProfile>,
    /// Job template whose members override those of the users' jobs, as for `kubectl apply`; lists are concatenated. It may have what a job of kbatch's
    /// clients may have.
    #[serde(default)]
    pub job_template: Option<Value>,
    /// Variables that every job gets.
    #[serde(default)]
    pub extra_env: BTreeMap<String, String>,
    /// Whether every job gets its user's token as `JUPYTERHUB_API_TOKEN`, as kbatch-proxy does. A job may then do what its user may do, for as
    /// long as the token holds.
    #[serde(default)]
    pub pass_token: bool,
    /// Maximum size in bytes of the code of a job, as the zip archive that clients make of it.
    #[serde(default = "default_max_code_size")]
    #[schemars(range(min = 1, max = 1_047_552))]
    pub max_code_size: usize,
}

/// A size of jobs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct KbatchProfile {
    /// Partition of the jobs, which is a profile of the system's scheduler and decides on nodes and priority; its default one if absent.
    pub partition: Option<String>,
    /// Image of jobs that name none.
    pub image: Option<String>,
    /// CPUs, memory and GPUs.
    pub resources: KbatchResources,
    /// Taints of nodes, as in kbatch-proxy's own file. The partition has those that count, so `partition` is needed beside it.
    pub tolerations: Vec<Value>,
    /// Labels of nodes, as in kbatch-proxy's own file. The partition has those that count, so `partition` is needed beside it.
    pub node_affinity_required: Vec<Value>,
}

/// Amounts of resources as Kubernetes writes them, such as `2` and `4Gi`. A job gets its limits, and its requests where it has no limits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct KbatchResources {
    /// Limits, by the resource's name: `cpu`, `memory`, and names that end with `/gpu`.
    pub limits: BTreeMap<String, String>,
    /// Requests, likewise.
    pub requests: BTreeMap<String, String>,
}

fn default_enabled() -> bool {
    true
}

fn default_prefix() -> String {
    "/services/kbatch".to_owned()
}

fn default_max_code_size() -> usize {
    1_000_000
}

impl KbatchConfig {
    /// The mistakes that the types alone do not exclude: the key below the section, what is wrong, and what is allowed.
    pub fn mistakes(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        let mut add = |key: &str, message: String, allowed: &str| found.push((key.to_owned(), message, allowed.to_owned()));
        if !is_prefix(&self.prefix) {
            let allowed =
                "small letters, digits, - and _ between slashes, no slash at the end, and no path of Goldcrest's: /services/kbatch";
            add("prefix", format!("is no path for the routes: {}", self.prefix), allowed);
        }
        if !(1..=MAX_CONTENT).contains(&self.max_code_size) {
            add("max_code_size", "is out of range".to_owned(), "from 1 to 1047552 bytes");
        }
        for (name, profile) in &self.profiles {
            if let Err(Unusable { path, reason }) = profile.check() {
                add(&format!("profiles.{name}.{path}"), reason, "a profile as in docs/kbatch.md");
            }
        }
        if let Some(template) = &self.job_template
            && let Err(Unusable { path, reason }) = submission::check_template(template)
        {
            add(&path, reason, "what a job of kbatch's clients may have: docs/kbatch.md");
        }
        found
    }

    /// The profiles as clients read them.
    pub(super) fn offered_profiles(&self) -> Value {
        self.profiles.iter().map(|(name, profile)| (name.clone(), profile.offered())).collect()
    }
}

impl KbatchProfile {
    fn check(&self) -> Result<(), Unusable> {
        submission::resources(&self.resources.limits, &self.resources.requests, "resources")?;
        for (key, list) in [("tolerations", &self.tolerations), ("node_affinity_required", &self.node_affinity_required)] {
            if !list.is_empty() && self.partition.is_none() {
                return Err(Unusable::new(key, "needs `partition`: a profile of the system's scheduler decides on the nodes"));
            }
        }
        Ok(())
    }

    /// What clients copy into their jobs. The partition is in a toleration, since they copy nothing else that could hold it.
    fn offered(&self) -> Value {
        let mut offered = Map::new();
        if let Some(image) = &self.image {
            offered.insert("image".to_owned(), json!(image));
        }
        let resources: Map<String, Value> = [("limits", &self.resources.limits), ("requests", &self.resources.requests)]
            .into_iter()
            .filter(|(_, amounts)| !amounts.is_empty())
            .map(|(kind, amounts)| (kind.to_owned(), json!(amounts)))
            .collect();
        if !resources.is_empty() {
            offered.insert("resources".to_owned(), Value::Object(resources));
        }
        if let Some(partition) = &self.partition {
            offered.insert("tolerations".to_owned(), json!([{"key": PARTITION_KEY, "operator": "Equal", "value": partition}]));
        }
        Value::Object(offered)
    }
}

fn is_prefix(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let mut parts = text.strip_prefix('/').unwrap_or_default().split('/');
    let is_own = parts.clone().next().is_some_and(|first| OWN_PATHS.contains(&first));
    !is_own && parts.all(|part| !part.is_empty() && part.chars().all(is_allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &Value) -> KbatchConfig {
        let mut config = json!({"system": "kubernetes"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn each_mistake_is_named_by_its_key() {
        assert_eq!(config(&json!({})).mistakes(), []);
        for (more, key) in [
            (json!({"prefix": "services/kbatch"}), "prefix"),
            (json!({"prefix": "/Services"}), "prefix"),
            (json!({"prefix": "/"}), "prefix"),
            (json!({"prefix": "/a/"}), "prefix"),
            (json!({"prefix": "/compute/x"}), "prefix"),
            (json!({"max_code_size": 0}), "max_code_size"),
            (json!({"max_code_size": 1_048_576}), "max_code_size"),
            (json!({"profiles": {"a": {"resources": {"limits": {"cpu": "many"}}}}}), "profiles.a.resources.limits.cpu"),
            (json!({"profiles": {"a": {"tolerations": [{"key": "gpu"}]}}}), "profiles.a.tolerations"),
            (
                json!({"job_template": {"spec": {"template": {"spec": {"hostNetwork": true}}}}}),
                "job_template.spec.template.spec.host_network",
            ),
            (json!({"job_template": {"specs": 1}}), "job_template.specs"),
        ] {
            let found: Vec<String> = config(&more).mistakes().into_iter().map(|(key, ..)| key).collect();
            assert_eq!(found, [key], "{more}");
        }
    }

    #[test]
    fn no_prefix_begins_as_a_path_of_the_api_does() {
        let document: Value = serde_json::from_str(&crate::http::document()).unwrap();
        for path in document["paths"].as_object().unwrap().keys() {
            let mistakes = config(&json!({"prefix": format!("/{}/kbatch", path.split('/').nth(1).unwrap())})).mistakes();
            assert_eq!(mistakes.len(), 1, "{path}");
        }
    }

    #[test]
    fn profiles_have_what_clients_copy_and_the_partition_in_a_toleration() {
        let profiles = json!({
            "large": {"partition": "big", "image": "registry.test/a:1", "resources": {"limits": {"cpu": "2"}}, "tolerations": [{"key": "x"}]},
            "small": {},
        });
        let offered = json!({
            "large": {
                "image": "registry.test/a:1", "resources": {"limits": {"cpu": "2"}},
                "tolerations": [{"key": "goldcrest/partition", "operator": "Equal", "value": "big"}],
            },
            "small": {},
        });
        let config = config(&json!({"profiles": profiles}));
        assert_eq!(config.mistakes(), []);
        assert_eq!(config.offered_profiles(), offered);
    }
}
