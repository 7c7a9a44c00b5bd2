//! The `kubernetes` section of a scheduler.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::images::{ImagePattern, is_image};
use super::names::is_name;
use super::namespace_pattern::{MAX_FIXED, NamespacePattern};
use super::quantity::thousandths;
use super::template::NamespaceManifest;
use crate::domain::Memory;

/// Access to a Kubernetes cluster, and what jobs may be there.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct Config {
    /// Path of the kubeconfig. If absent, the service account of the pod that Goldcrest runs in is used.
    pub kubeconfig_file: Option<PathBuf>,
    /// Context of the kubeconfig; its current context if absent.
    pub context: Option<String>,
    /// Whether Goldcrest may run the program that a kubeconfig names for getting credentials (`exec`).
    pub allow_exec_plugins: bool,
    /// Namespace of a user, with `{user}` in it for the user's name. Other characters than `a-z`, `0-9` and `-` are replaced, and a
    /// digest keeps such names apart.
    pub namespace: String,
    /// Whether a user's namespace is created with the first job.
    pub create_namespaces: bool,
    /// Pod Security Standard that the created namespaces enforce.
    pub pod_security: PodSecurity,
    /// Further labels of the created namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub namespace_labels: BTreeMap<String, String>,
    /// Objects that each user's namespace gets before its first job: ResourceQuota, LimitRange and NetworkPolicy, written as for
    /// `kubectl apply`, without a namespace. With Kueue, LocalQueue too.
    pub namespace_manifests: Vec<Value>,
    /// Whether the cluster has Kueue, 0.15 or later: the LocalQueues of a user's namespace are then partitions beside the profiles.
    pub kueue: bool,
    /// Whether requests about jobs are sent in the user's name (`Impersonate-User`), for clusters that know their users.
    pub impersonate: bool,
    /// User id and group id that jobs run as. With 0, the image decides, and may run as root.
    pub run_as_user: u32,
    /// Images that jobs may use, such as `registry.example.org/science/*`; `*` stands for any text. The images of `default_image` and of
    /// the profiles are always allowed.
    pub images: Vec<String>,
    /// Image of jobs that name none. If absent, jobs must name one, unless their profile does.
    pub default_image: Option<String>,
    /// Image with `unzip` that unpacks the code of jobs that bring some (`compat.kbatch`). It need not be among `images`.
    pub code_image: String,
    /// Seconds for which a finished job is kept, with its script and state.
    pub finished_job_ttl: u32,
    /// Files of users, in volumes of their own. If absent, operations on files answer 501.
    pub files: Option<FilesConfig>,
    /// Sizes and places of jobs, shown as partitions. The first is the default. If empty, there is one with the name `default`.
    pub profiles: Vec<Profile>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kubeconfig_file: None,
            context: None,
            allow_exec_plugins: false,
            namespace: "goldcrest-{user}".to_owned(),
            create_namespaces: true,
            pod_security: PodSecurity::Restricted,
            namespace_labels: BTreeMap::new(),
            namespace_manifests: Vec::new(),
            kueue: false,
            impersonate: false,
            run_as_user: 1000,
            images: Vec::new(),
            default_image: None,
            code_image: "docker.io/library/busybox:stable".to_owned(),
            // The longest window of a list.
            finished_job_ttl: 7 * 86_400,
            files: None,
            profiles: Vec::new(),
        }
    }
}

/// Files of users, each of whom has a volume. It is mounted in their jobs, and in a helper pod that file operations start when they need it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct FilesConfig {
    /// Image of the helper pod, with GNU coreutils, findutils, tar and gzip.
    pub image: String,
    /// Path of the volume in the helper pod and in jobs; the `path` of the system's file system.
    pub mount_path: String,
    /// Name of the PersistentVolumeClaim in each user's namespace.
    pub claim: String,
    /// Size of the volumes that Goldcrest claims, such as `10Gi`. If absent, the site makes the claims.
    pub size: Option<String>,
    /// Storage class of the volumes that Goldcrest claims; that of the cluster if absent.
    pub storage_class: Option<String>,
    /// How the volumes that Goldcrest claims can be used. With `ReadWriteOnce`, the helper pod and the jobs of a user run on one node.
    pub access_mode: AccessMode,
    /// Seconds after which a helper pod without use ends, to within ten seconds.
    #[schemars(range(min = 10))]
    pub idle_timeout: u32,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            image: String::new(),
            mount_path: "/home".to_owned(),
            claim: "home".to_owned(),
            size: None,
            storage_class: None,
            access_mode: AccessMode::ReadWriteMany,
            idle_timeout: 600,
        }
    }
}

/// How a volume can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum AccessMode {
    /// By pods on several nodes.
    ReadWriteMany,
    /// By pods on one node.
    ReadWriteOnce,
}

impl AccessMode {
    /// The word of Kubernetes.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOnce => "ReadWriteOnce",
        }
    }
}

impl FilesConfig {
    fn mistakes(&self, impersonate: bool) -> impl Iterator<Item = Mistake> + use<> {
        let path = self.mount_path.as_str();
        let is_below = path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
        let is_own = path == "/goldcrest" || path.starts_with("/goldcrest/");
        let is_amount = |size: &String| thousandths(&Quantity(size.clone())).is_some_and(|amount| amount > 0);
        let found = [
            (impersonate, "", "needs Goldcrest's own identity", "no files, or impersonate: false"),
            (self.image.is_empty(), ".image", "is missing", "an image with GNU coreutils, findutils and tar"),
            (!is_below, ".mount_path", "is no absolute path below /", "such as /home"),
            (is_own, ".mount_path", "is where Goldcrest has files of its own", "such as /home"),
            (!self.size.iter().all(is_amount), ".size", "is no amount that Kubernetes knows", "such as 10Gi"),
            (!is_name(&self.claim), ".claim", "is no name that Kubernetes allows", "such as home"),
            (self.idle_timeout < 10, ".idle_timeout", "is too short", "from 10 seconds"),
        ];
        let wrong = found.into_iter().filter(|(is_wrong, ..)| *is_wrong);
        wrong.map(|(_, key, message, allowed)| (format!("files{key}"), message.to_owned(), allowed.to_owned()))
    }
}

/// A Pod Security Standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Prevents known privilege escalations.
    Baseline,
    /// Follows current hardening practice.
    Restricted,
}

impl PodSecurity {
    /// The value of the namespace's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// A size and place of jobs.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Profile {
    /// Name, which jobs give as `partition`.
    pub name: String,
    /// CPUs of a job that asks for none.
    #[serde(default = "default_cpus")]
    #[schemars(range(min = 1))]
    pub cpus: u32,
    /// Maximum number of CPUs of a job, and of each task of an array.
    pub max_cpus: Option<u32>,
    /// Memory of a job that asks for none, such as `512M` or `4G`.
    #[serde(default = "default_memory")]
    pub memory: Memory,
    /// Maximum memory of a job, and of each task of an array.
    pub max_memory: Option<Memory>,
    /// Maximum number of GPUs of a job, and of each task of an array.
    #[serde(default)]
    pub max_gpus: u32,
    /// Name of the resource that GPUs are.
    #[serde(default = "default_gpu_resource")]
    pub gpu_resource: String,
    /// Time limit in seconds of a job that asks for none; 0 for none.
    #[serde(default = "default_time_limit")]
    pub time_limit: u32,
    /// Maximum time limit in seconds; 0 for none.
    #[serde(default)]
    pub max_time_limit: u32,
    /// Image of jobs that name none, instead of `default_image`.
    pub image: Option<String>,
    /// Labels of the nodes that jobs run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that jobs tolerate.
    #[serde(default)]
    pub tolerations: Vec<TolerationConfig>,
    /// Priority class of the jobs' pods.
    pub priority_class: Option<String>,
}

/// A taint that jobs tolerate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct TolerationConfig {
    /// Key of the taint.
    pub key: String,
    /// Value of the taint; any value if absent.
    pub value: Option<String>,
    /// Effect of the taint, such as `NoSchedule`; any effect if absent.
    pub effect: Option<String>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            cpus: default_cpus(),
            max_cpus: None,
            memory: default_memory(),
            max_memory: None,
            max_gpus: 0,
            gpu_resource: default_gpu_resource(),
            time_limit: default_time_limit(),
            max_time_limit: 0,
            image: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class: None,
        }
    }
}

fn default_cpus() -> u32 {
    1
}

fn default_memory() -> Memory {
    Memory::gibibytes(1)
}

fn default_gpu_resource() -> String {
    "nvidia.com/gpu".to_owned()
}

fn default_time_limit() -> u32 {
    86_400
}

/// A mistake in the section: the key below it, what is wrong, and what is allowed.
pub type Mistake = (String, String, String);

impl Config {
    /// The mistakes that the types alone do not exclude.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        let mut add = |key: &str, message: String, allowed: &str| found.push((key.to_owned(), message, allowed.to_owned()));
        if NamespacePattern::new(&self.namespace).is_none() {
            let allowed =
                format!("`{{user}}` once, with at most {MAX_FIXED} characters of a-z, 0-9 and - around it, such as goldcrest-{{user}}");
            add("namespace", format!("is no pattern for namespaces: {}", self.namespace), &allowed);
        }
        if self.finished_job_ttl == 0 || i32::try_from(self.finished_job_ttl).is_err() {
            add("finished_job_ttl", "is out of range".to_owned(), "from 1 to 2147483647 seconds");
        }
        if self.run_as_user == 0 && self.pod_security == PodSecurity::Restricted && self.create_namespaces {
            add("run_as_user", "is 0, which pod_security: restricted forbids".to_owned(), "a user id from 1, or pod_security: baseline");
        }
        for (index, image) in self.images.iter().enumerate() {
            if ImagePattern::new(image).is_none() {
                add(&format!("images[{index}]"), format!("is no pattern for images: {image}"), "such as registry.example.org/science/*");
            }
        }
        if !is_image(&self.code_image) {
            add("code_image", format!("is no name of an image: {}", self.code_image), "such as docker.io/library/busybox:stable");
        }
        for (index, manifest) in self.namespace_manifests.iter().enumerate() {
            if let Err(reason) = NamespaceManifest::read(manifest) {
                let allowed = "a ResourceQuota, a LimitRange, a NetworkPolicy or a LocalQueue, without a namespace";
                add(&format!("namespace_manifests[{index}]"), reason, allowed);
            }
        }
        found.extend(self.files.iter().flat_map(|files| files.mistakes(self.impersonate)));
        for (index, profile) in self.profiles.iter().enumerate() {
            let is_known = self.profiles[..index].iter().any(|other| other.name == profile.name);
            found.extend(
                profile
                    .mistakes(is_known)
                    .map(|(key, message, allowed)| (format!("profiles[{index}].{key}"), message.to_owned(), allowed.to_owned())),
            );
        }
        found
    }

    /// Whether there is a profile of this name.
    pub fn has_profile(&self, name: &str) -> bool {
        self.profiles().iter().any(|profile| profile.name == name)
    }

    /// The profiles, the default one first.
    pub(super) fn profiles(&self) -> Vec<Profile> {
        if self.profiles.is_empty() { vec![Profile::default()] } else { self.profiles.clone() }
    }
}

impl Profile {
    fn mistakes(&self, is_known: bool) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> + use<> {
        let is_name = !self.name.is_empty() && self.name.len() <= 63 && self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let found = [
            (is_known, "name", "is the name of another profile already", "another name"),
            (!is_name, "name", "is no name for a profile", "up to 63 letters, digits and -"),
            (self.cpus == 0, "cpus", "is 0", "from 1"),
            (self.max_cpus.is_some_and(|max| max < self.cpus), "max_cpus", "is less than cpus", "at least cpus"),
            (self.max_memory.is_some_and(|max| max < self.memory), "max_memory", "is less than memory", "at least memory"),
            (
                self.max_time_limit > 0 && (self.time_limit == 0 || self.time_limit > self.max_time_limit),
                "time_limit",
                "is more than max_time_limit",
                "from 1 to max_time_limit",
            ),
        ];
        found.into_iter().filter_map(|(is_wrong, key, message, allowed)| is_wrong.then_some((key, message, allowed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn keys(config: Value) -> Vec<String> {
        serde_json::from_value::<Config>(config).unwrap().mistakes().into_iter().map(|(key, ..)| key).collect()
    }

    #[test]
    fn the_defaults_have_no_mistake() {
        assert_eq!(Config::default().mistakes(), []);
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "jobs"}, "spec": {"hard": {"pods": "10"}}});
        let config = json!({"images": ["registry.example.org/*"], "namespace_manifests": [quota], "profiles": [{"name": "small"}]});
        assert_eq!(keys(config), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_by_its_key() {
        for (config, key) in [
            (json!({"namespace": "jobs"}), "namespace"),
            (json!({"namespace": "Jobs-{user}"}), "namespace"),
            (json!({"finished_job_ttl": 0}), "finished_job_ttl"),
            (json!({"run_as_user": 0}), "run_as_user"),
            (json!({"files": {}}), "files.image"),
            (json!({"files": {"image": "a", "mount_path": "/a/../b"}}), "files.mount_path"),
            (json!({"files": {"image": "a", "mount_path": "/goldcrest/a"}}), "files.mount_path"),
            (json!({"files": {"image": "a", "size": "ten"}}), "files.size"),
            (json!({"files": {"image": "a", "claim": "My Home"}}), "files.claim"),
            (json!({"files": {"image": "a", "idle_timeout": 5}}), "files.idle_timeout"),
            (json!({"files": {"image": "a"}, "impersonate": true}), "files"),
            (json!({"images": ["a b"]}), "images[0]"),
            (json!({"code_image": "a b"}), "code_image"),
            (json!({"namespace_manifests": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}]}), "namespace_manifests[0]"),
            (json!({"profiles": [{"name": "a"}, {"name": "a"}]}), "profiles[1].name"),
            (json!({"profiles": [{"name": "a b"}]}), "profiles[0].name"),
            (json!({"profiles": [{"name": "a", "cpus": 4, "max_cpus": 2}]}), "profiles[0].max_cpus"),
            (json!({"profiles": [{"name": "a", "time_limit": 0, "max_time_limit": 60}]}), "profiles[0].time_limit"),
        ] {
            assert_eq!(keys(config), [key]);
        }
    }
}
