//! The helper pod for the files of a user: its Job, its volume, and the text of its commands.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, ResourceRequirements,
    Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::config::FilesConfig;
use super::connection::Selection;
use super::manifest::{container_security, files_volume, pod_security};
use super::names::{CONTAINER, MANAGED_BY, USER};
use crate::domain::Username;
use crate::ssh::CommandLine;

/// The name of the Job.
pub(super) const HELPER: &str = "goldcrest-files";

/// Its pods.
pub(super) const SELECTOR: Selection<'static> = Selection { labels: "batch.kubernetes.io/job-name=goldcrest-files", fields: "" };

/// Where the helper keeps the time of its last use.
const MARK_DIRECTORY: &str = "/goldcrest";

/// The seconds between two looks whether it is used, and those for which it is kept when it has ended.
const LOOKS: u32 = 10;
const KEPT: i32 = 5;

/// What the helper pods of a site are.
#[derive(Clone, Debug)]
pub(super) struct Helper {
    config: FilesConfig,
    run_as_user: u32,
}

impl Helper {
    pub(super) fn new(config: FilesConfig, run_as_user: u32) -> Self {
        Self { config, run_as_user }
    }

    /// The volume claim, where Goldcrest makes it.
    pub(super) fn claim(&self) -> Option<PersistentVolumeClaim> {
        let FilesConfig { claim, size, storage_class, .. } = &self.config;
        let requests = [("storage".to_owned(), Quantity(size.clone()?))].into();
        let spec = PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteMany".to_owned()]),
            resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
            storage_class_name: storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        };
        let metadata = ObjectMeta { name: Some(claim.clone()), labels: Some(labels()), ..ObjectMeta::default() };
        Some(PersistentVolumeClaim { metadata, spec: Some(spec), status: None })
    }

    /// The Job.
    pub(super) fn job(&self, user: &Username) -> Job {
        let metadata = |name: Option<&str>| ObjectMeta {
            name: name.map(str::to_owned),
            labels: Some(labels()),
            annotations: Some([(USER.to_owned(), user.to_string())].into()),
            ..ObjectMeta::default()
        };
        let spec = JobSpec {
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(KEPT),
            template: PodTemplateSpec { metadata: Some(metadata(None)), spec: Some(self.pod()) },
            ..JobSpec::default()
        };
        Job { metadata: metadata(Some(HELPER)), spec: Some(spec), status: None }
    }

    fn pod(&self) -> PodSpec {
        let (volume, mount) = files_volume(&self.config);
        let mark = Volume { name: "mark".to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
        let mark_mount = VolumeMount { name: "mark".to_owned(), mount_path: MARK_DIRECTORY.to_owned(), ..VolumeMount::default() };
        let amounts = |cpu: &str, memory: &str| {
            [("cpu", cpu), ("memory", memory)].map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into()
        };
        PodSpec {
            containers: vec![Container {
                name: CONTAINER.to_owned(),
                image: Some(self.config.image.clone()),
                command: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), self.waiting()]),
                resources: Some(ResourceRequirements {
                    requests: Some(amounts("50m", "64Mi")),
                    limits: Some(amounts("1", "512Mi")),
                    claims: None,
                }),
                security_context: Some(container_security()),
                volume_mounts: Some(vec![mount, mark_mount]),
                ..Container::default()
            }],
            volumes: Some(vec![volume, mark]),
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            // Its first process takes no notice of a request to end.
            termination_grace_period_seconds: Some(1),
            security_context: Some(pod_security(self.run_as_user)),
            ..PodSpec::default()
        }
    }

    /// Waits until nothing was run for a while. Commands are processes beside the first one.
    fn waiting(&self) -> String {
        let looks = (self.config.idle_timeout / LOOKS).max(1);
        format!(
            "cd {MARK_DIRECTORY} && : >used && left={looks} && while [ $left -gt 0 ]; do sleep {LOOKS}; left=$((left - 1)); \
             set -- /proc/[0-9]*; if [ $# -gt 1 ] || [ -e used ]; then rm -f used; left={looks}; fi; done"
        )
    }
}

/// It is no job of the user's: lists pass over it.
fn labels() -> std::collections::BTreeMap<String, String> {
    [(MANAGED_BY.to_owned(), HELPER.to_owned())].into()
}

/// A command for the helper's shell, which notes that it is used. Names of files need not be UTF-8, and what is sent to the API server must.
pub(super) fn line(command: &CommandLine) -> String {
    let text = match std::str::from_utf8(command.as_bytes()) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let escaped: String = command.as_bytes().iter().map(|byte| format!("\\0{byte:o}")).collect();
            format!("eval \"$(printf '%b' '{escaped}')\"")
        }
    };
    format!(": >{MARK_DIRECTORY}/used; {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_no_job_of_the_users_and_as_closed_in_as_one() {
        let helper = Helper::new(FilesConfig { image: "registry.test/files:1".to_owned(), ..FilesConfig::default() }, 1000);
        let job = helper.job(&Username::new("ada").unwrap());
        assert_ne!(job.metadata.labels.as_ref().unwrap()[MANAGED_BY], super::super::names::GOLDCREST);
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.security_context.unwrap().run_as_user, Some(1000));
        assert_eq!(pod.containers[0].volume_mounts.as_ref().unwrap()[0].mount_path, "/home");
        assert!(helper.claim().is_none(), "the site makes the volume unless it says how large it is");
    }

    #[test]
    fn a_command_with_any_bytes_is_what_the_shell_runs() {
        for name in [&b"plain 'name'"[..], b"\xff\xfe\n'", b"\x80"] {
            let command = line(&CommandLine::new("printf %s").arg(name)).replace(": >/goldcrest/used; ", "");
            let printed = std::process::Command::new("/bin/sh").args(["-c", &command]).output().unwrap();
            assert_eq!(printed.stdout, name, "{command}");
        }
    }
}
