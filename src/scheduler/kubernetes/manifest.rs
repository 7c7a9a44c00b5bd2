//! The Kubernetes objects of a job: a Job, or a CronJob that makes it again and again, and a Secret with its script and the values of its variables.
//!
//! They are made of a checked request alone. What keeps a pod inside its container is written by Goldcrest and cannot be asked for otherwise;
//! `admission` looks at it once more before the labels of Goldcrest and the site's placement are added.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, Job, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, KeyToPath, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, Secret, SecretKeySelector, SecretVolumeSource, SecurityContext,
    Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::admission::{self, Disallowed};
use super::config::{FilesConfig, Profile, TolerationConfig};
use super::names::{ACCOUNT, CONTAINER, GOLDCREST, JOB_NAME, MANAGED_BY, POD_INDEX, POD_JOB, PROFILE, REQUEST, USER};
use super::program::{self, CODE};
use super::queues::QUEUE;
use super::request::JobRequest;
use crate::domain::{Overlap, ScheduleDescription, Username, text_to_bytes};
use crate::scheduler::SubmissionKey;

/// The name of the user's volume in a pod.
const FILES: &str = "files";

/// The user's volume, and where it is in every pod.
pub(super) fn files_volume(config: &FilesConfig) -> (Volume, VolumeMount) {
    let source = PersistentVolumeClaimVolumeSource { claim_name: config.claim.clone(), read_only: None };
    let volume = Volume { name: FILES.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() };
    (volume, VolumeMount { name: FILES.to_owned(), mount_path: config.mount_path.clone(), ..VolumeMount::default() })
}

/// The key of the script in the Secret.
pub(super) const SCRIPT: &str = "script";
/// Where the script lies in the container.
const SCRIPT_DIRECTORY: &str = "/goldcrest";
const SCRIPT_FILE: &str = "/goldcrest/script";

/// For how many seconds after its time a run of a schedule may still begin.
const STARTING_DEADLINE: i64 = 300;
/// The most jobs of a schedule that are kept.
const MAX_HISTORY: i32 = 1000;

/// What the site wants of every job.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// The user and group that jobs run as; 0 for the image's.
    pub(super) run_as_user: u32,
    /// For how many seconds a finished Job is kept.
    pub(super) finished_job_ttl: u32,
    /// The image that unpacks the code of a job.
    pub(super) code_image: String,
}

/// The objects of one job.
pub(super) struct Manifests<'a> {
    pub(super) request: &'a JobRequest<'a>,
    pub(super) name: &'a str,
    pub(super) user: &'a Username,
    pub(super) key: Option<&'a SubmissionKey>,
    pub(super) policy: &'a Policy,
    /// The user's volume, where the site has given them one.
    pub(super) files: Option<&'a FilesConfig>,
}

impl Manifests<'_> {
    /// The Job.
    ///
    /// # Errors
    /// What `admission` refuses.
    pub(super) fn job(&self) -> Result<Job, Disallowed> {
        Ok(Job { metadata: self.job_metadata(Some(self.name)), spec: Some(self.spec()?), status: None })
    }

    /// The CronJob that makes the Job at each of its times.
    ///
    /// # Errors
    /// What `admission` refuses.
    pub(super) fn cron_job(&self, schedule: &ScheduleDescription) -> Result<CronJob, Disallowed> {
        let mut metadata = self.metadata(Some(self.name));
        // The name is the schedule's, which its jobs have too.
        metadata.annotations.get_or_insert_default().extend(schedule.name.clone().map(|name| (JOB_NAME.to_owned(), name)));
        let spec = CronJobSpec {
            schedule: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
            suspend: Some(schedule.suspended),
            concurrency_policy: Some(overlap_policy(schedule.overlap).to_owned()),
            starting_deadline_seconds: Some(STARTING_DEADLINE),
            // They go by their own time to live.
            successful_jobs_history_limit: Some(MAX_HISTORY),
            failed_jobs_history_limit: Some(MAX_HISTORY),
            job_template: JobTemplateSpec { metadata: Some(self.job_metadata(None)), spec: Some(self.spec()?) },
        };
        Ok(CronJob { metadata, spec: Some(spec), status: None })
    }

    fn spec(&self) -> Result<JobSpec, Disallowed> {
        let JobRequest { job, tasks, .. } = self.request;
        let count = tasks.map(|tasks| signed(tasks.count));
        let spec = JobSpec {
            backoff_limit: if tasks.is_some() { None } else { Some(0) },
            backoff_limit_per_index: tasks.map(|_| 0),
            completion_mode: tasks.map(|_| "Indexed".to_owned()),
            completions: count.or(Some(1)),
            parallelism: tasks.map(|tasks| signed(tasks.at_a_time)).or(Some(1)),
            suspend: Some(job.options.hold || self.request.queue.is_some()),
            ttl_seconds_after_finished: Some(signed(self.policy.finished_job_ttl)),
            template: PodTemplateSpec { metadata: None, spec: Some(self.pod()) },
            ..JobSpec::default()
        };
        let mut bare = Job { spec: Some(spec), ..Job::default() };
        admission::check(&bare)?;
        let mut spec = bare.spec.take().unwrap_or_default();
        spec.template.metadata = Some(self.metadata(None));
        if let Some(pod) = &mut spec.template.spec {
            self.place(pod);
        }
        Ok(spec)
    }

    /// Adds the site's settings for the job's profile.
    fn place(&self, pod: &mut PodSpec) {
        let Profile { node_selector, tolerations, priority_class, .. } = self.request.profile;
        pod.node_selector = Some(node_selector.clone()).filter(|labels| !labels.is_empty());
        pod.tolerations = Some(tolerations.iter().map(toleration).collect::<Vec<_>>()).filter(|list| !list.is_empty());
        pod.priority_class_name.clone_from(priority_class);
        let Some((volume, mount)) = self.files.map(files_volume) else { return };
        pod.volumes.get_or_insert_default().push(volume);
        pod.containers.iter_mut().for_each(|container| container.volume_mounts.get_or_insert_default().push(mount.clone()));
    }

    /// The Secret, which goes with the Job or CronJob that owns it.
    pub(super) fn secret(&self, kind: &str, owner: &ObjectMeta) -> Secret {
        let JobRequest { job, .. } = self.request;
        let variables = job.environment.iter().map(|(name, value)| (variable_key(name), ByteString(text_to_bytes(value))));
        let owner = OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: kind.to_owned(),
            name: self.name.to_owned(),
            uid: owner.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        };
        Secret {
            metadata: ObjectMeta { owner_references: Some(vec![owner]), ..self.metadata(Some(self.name)) },
            data: Some(variables.chain(self.content()).collect()),
            immutable: Some(true),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        }
    }

    /// What is run, as far as it is no part of the image.
    fn content(&self) -> Option<(String, ByteString)> {
        let JobRequest { job, script, .. } = self.request;
        match &job.program {
            None => Some((SCRIPT.to_owned(), ByteString(text_to_bytes(script)))),
            Some(program) => program.code.as_ref().map(|code| (CODE.to_owned(), ByteString(code.to_vec()))),
        }
    }

    /// That of a Job, which its queue knows it by.
    fn job_metadata(&self, name: Option<&str>) -> ObjectMeta {
        let mut metadata = self.metadata(name);
        metadata.labels.get_or_insert_default().extend(self.request.queue.clone().map(|queue| (QUEUE.to_owned(), queue)));
        metadata
    }

    fn metadata(&self, name: Option<&str>) -> ObjectMeta {
        let JobRequest { job, .. } = self.request;
        let given = |key: &str, value: &Option<String>| Some((key.to_owned(), value.clone()?));
        let own = [(USER.to_owned(), self.user.to_string()), (PROFILE.to_owned(), self.request.partition().to_owned())];
        let further = [given(JOB_NAME, &job.name), given(ACCOUNT, &job.account)];
        let request = self.key.map(|key| (REQUEST.to_owned(), key.digest().to_owned()));
        ObjectMeta {
            name: name.map(str::to_owned),
            labels: Some([(MANAGED_BY.to_owned(), GOLDCREST.to_owned())].into()),
            annotations: Some(own.into_iter().chain(further.into_iter().flatten()).chain(request).collect()),
            ..ObjectMeta::default()
        }
    }

    fn pod(&self) -> PodSpec {
        let time_limit = self.request.time_limit;
        let program = self.request.job.program.as_ref();
        let mut pod = PodSpec {
            containers: vec![self.container()],
            volumes: program.is_none().then(|| vec![self.script_volume()]),
            // Of the pod, so that only the time counts that it runs.
            active_deadline_seconds: time_limit.map(i64::from),
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            // So that a signal reaches all processes of the job, the first one too.
            share_process_namespace: Some(true),
            security_context: Some(pod_security(self.policy.run_as_user)),
            ..PodSpec::default()
        };
        if program.is_some_and(|program| program.code.is_some()) {
            program::add_code(&mut pod, self.name, &self.policy.code_image);
        }
        pod
    }

    fn container(&self) -> Container {
        let JobRequest { job, script, image, .. } = self.request;
        let resources = self.request.resources();
        let (command, args) = match &job.program {
            Some(program) => program::words(program),
            None => (Some(command(script)), None),
        };
        let script_mount = || VolumeMount {
            name: SCRIPT.to_owned(),
            mount_path: SCRIPT_DIRECTORY.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        Container {
            name: CONTAINER.to_owned(),
            image: Some(image.clone()),
            command,
            args,
            working_dir: Some(job.working_directory.to_text()),
            env: Some(self.environment()),
            resources: Some(ResourceRequirements { limits: Some(resources.clone()), requests: Some(resources), claims: None }),
            security_context: Some(container_security()),
            volume_mounts: job.program.is_none().then(|| vec![script_mount()]),
            ..Container::default()
        }
    }

    /// The variables, whose values are in the Secret, and those that say which job it is.
    fn environment(&self) -> Vec<EnvVar> {
        let own = |name: &str, value_from| EnvVar { name: name.to_owned(), value: None, value_from };
        let from_secret = |name: &String| {
            let key = SecretKeySelector { name: self.name.to_owned(), key: variable_key(name), optional: None };
            own(name, Some(EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() }))
        };
        let from_field = |name: &str, field_path| {
            let field = ObjectFieldSelector { api_version: None, field_path };
            own(name, Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }))
        };
        let mut variables: Vec<EnvVar> = self.request.job.environment.keys().map(from_secret).collect();
        variables.push(from_field("GOLDCREST_JOB_ID", format!("metadata.labels['{POD_JOB}']")));
        if self.request.tasks.is_some() {
            variables.push(from_field("GOLDCREST_ARRAY_TASK_ID", format!("metadata.annotations['{POD_INDEX}']")));
        }
        variables
    }

    fn script_volume(&self) -> Volume {
        let item = KeyToPath { key: SCRIPT.to_owned(), path: SCRIPT.to_owned(), mode: Some(0o555) };
        let secret =
            SecretVolumeSource { secret_name: Some(self.name.to_owned()), items: Some(vec![item]), ..SecretVolumeSource::default() };
        Volume { name: SCRIPT.to_owned(), secret: Some(secret), ..Volume::default() }
    }
}

/// Whom the processes of a pod run as; the image says it with 0.
pub(super) fn pod_security(user: u32) -> PodSecurityContext {
    let id = Some(i64::from(user)).filter(|id| *id > 0);
    PodSecurityContext {
        run_as_user: id,
        run_as_group: id,
        run_as_non_root: id.map(|_| true),
        fs_group: id,
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

/// What keeps the processes of a container inside it.
pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
        ..SecurityContext::default()
    }
}

/// The concurrency policy of a CronJob.
fn overlap_policy(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Allow => "Allow",
        Overlap::Skip => "Forbid",
        Overlap::Replace => "Replace",
    }
}

/// The key of a variable's value in the Secret.
fn variable_key(name: &str) -> String {
    format!("env.{name}")
}

/// How a script is run: by the interpreter of its first line, with its one argument, as execve(2) does, or else by `/bin/sh`.
fn command(script: &str) -> Vec<String> {
    let first = script.lines().next().and_then(|line| line.strip_prefix("#!")).map(str::trim).filter(|line| line.starts_with('/'));
    let (interpreter, argument) = first.map_or(("/bin/sh", None), |line| match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim())),
        None => (line, None),
    });
    let words = [interpreter].into_iter().chain(argument).chain([SCRIPT_FILE]);
    // A `$(NAME)` in a command is replaced by Kubernetes; `$$` stands for one `$`.
    words.map(|word| word.replace('$', "$$")).collect()
}

fn toleration(config: &TolerationConfig) -> Toleration {
    let operator = if config.value.is_some() { "Equal" } else { "Exists" };
    Toleration {
        key: Some(config.key.clone()),
        operator: Some(operator.to_owned()),
        value: config.value.clone(),
        effect: config.effect.clone(),
        ..Toleration::default()
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The resources of a pod's containers together, by name.
pub(super) fn requests(spec: &PodSpec) -> BTreeMap<&str, i128> {
    let mut sums = BTreeMap::new();
    let containers = spec.containers.iter().filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    for (name, amount) in containers.flatten() {
        *sums.entry(name.as_str()).or_default() += super::quantity::thousandths(amount).unwrap_or(0);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::images::Images;
    use super::*;
    use crate::domain::{ArrayIndices, ImageProgram, JobDescription, JobScript, RemotePath};

    fn made(job: &JobDescription, run_as_user: u32) -> (Job, Secret) {
        let (profiles, image, user) = ([Profile::default()], "registry.test/a:1".to_owned(), Username::new("ada").unwrap());
        let request = JobRequest::read(job, &profiles, Some(&image), &Images::new(&[], [&image]), None).unwrap();
        let policy = Policy { run_as_user, finished_job_ttl: 60, code_image: "registry.test/unzip:1".to_owned() };
        let manifests = Manifests { request: &request, name: "sim-1", user: &user, key: None, policy: &policy, files: None };
        let owner = ObjectMeta { uid: Some("u-1".to_owned()), ..ObjectMeta::default() };
        (manifests.job().unwrap(), manifests.secret("Job", &owner))
    }

    fn described() -> JobDescription {
        let script = JobScript::Inline("#!/bin/bash -e\necho \"$WORD\"\n".to_owned());
        let mut job = JobDescription::new(RemotePath::from_text("/work").unwrap(), script);
        job.environment = [("WORD".to_owned(), "s3cret $(HOME)".to_owned())].into();
        job.name = Some("My <b>job</b>".to_owned());
        job
    }

    #[test]
    fn a_pod_is_closed_in_whatever_the_job_is() {
        for (job, user) in [(described(), 1000), (described(), 0)] {
            let (job, _) = made(&job, user);
            let spec = job.spec.unwrap();
            assert_eq!((spec.backoff_limit, spec.ttl_seconds_after_finished, spec.suspend), (Some(0), Some(60), Some(false)));
            let pod = spec.template.spec.unwrap();
            assert_eq!((pod.automount_service_account_token, pod.enable_service_links), (Some(false), Some(false)));
            assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc, &pod.service_account_name), (None, None, None, &None));
            let context = pod.security_context.unwrap();
            assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
            assert_eq!(context.run_as_non_root, (user > 0).then_some(true));
            let [container] = &pod.containers[..] else { panic!("one container") };
            let context = container.security_context.as_ref().unwrap();
            assert_eq!((context.privileged, context.allow_privilege_escalation), (Some(false), Some(false)));
            assert_eq!(context.capabilities.as_ref().unwrap().drop.as_ref().unwrap(), &["ALL"]);
            let resources = container.resources.as_ref().unwrap();
            assert_eq!(resources.limits, resources.requests);
            assert_eq!(resources.limits.as_ref().unwrap().keys().collect::<Vec<_>>(), ["cpu", "memory"]);
            assert!(pod.volumes.unwrap().iter().all(|volume| volume.secret.is_some() && volume.host_path.is_none()));
        }
    }

    #[test]
    fn values_of_variables_and_the_script_are_in_the_secret_alone() {
        let (job, secret) = made(&described(), 1000);
        let text = serde_json::to_string(&job).unwrap();
        assert!(!text.contains("s3cret") && !text.contains("echo"), "{text}");
        assert_eq!(secret.metadata.owner_references.as_ref().unwrap()[0].uid, "u-1");
        let data = secret.data.unwrap();
        assert_eq!(data["env.WORD"].0, b"s3cret $(HOME)");
        assert!(data["script"].0.starts_with(b"#!/bin/bash -e\n"));
    }

    #[test]
    fn a_program_of_an_image_has_its_own_words_and_its_code_is_unpacked_by_the_sites_image() {
        let program = |code: Option<&[u8]>| {
            let mut job = described();
            job.working_directory = RemotePath::from_text("/code").unwrap();
            let (command, arguments) = (vec!["python".to_owned()], vec!["$(WORD)".to_owned()]);
            job.program = Some(ImageProgram { command, arguments, code: code.map(Into::into) });
            let (job, secret) = made(&job, 1000);
            (job.spec.unwrap().template.spec.unwrap(), secret.data.unwrap())
        };
        let (pod, data) = program(None);
        let container = &pod.containers[0];
        assert_eq!(
            (container.command.as_deref().unwrap(), container.args.as_deref().unwrap()),
            (&["python".to_owned()][..], &["$(WORD)".to_owned()][..])
        );
        assert_eq!((&pod.volumes, &pod.init_containers, &container.volume_mounts), (&None, &None, &None));
        assert_eq!(data.keys().collect::<Vec<_>>(), ["env.WORD"]);

        let (pod, data) = program(Some(b"PK\x05\x06"));
        assert_eq!(data["code"].0, b"PK\x05\x06");
        let [unpack] = &pod.init_containers.unwrap()[..] else { panic!("one container unpacks") };
        let container = &pod.containers[0];
        assert_eq!(unpack.image.as_deref(), Some("registry.test/unzip:1"));
        assert_eq!((&unpack.security_context, &unpack.resources, &unpack.env), (&container.security_context, &container.resources, &None));
        let [mount] = container.volume_mounts.as_deref().unwrap() else { panic!("one mount") };
        assert_eq!((mount.name.as_str(), mount.mount_path.as_str()), ("code", "/code"));
        assert!(pod.volumes.unwrap().iter().all(|volume| volume.secret.is_some() || volume.empty_dir.is_some()));
    }

    #[test]
    fn an_array_is_an_indexed_job_whose_tasks_fail_by_themselves() {
        let mut job = described();
        job.options.array = ArrayIndices::new("0-9%3").ok();
        let spec = made(&job, 1000).0.spec.unwrap();
        assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
        assert_eq!((spec.completions, spec.parallelism), (Some(10), Some(3)));
        assert_eq!((spec.backoff_limit, spec.backoff_limit_per_index), (None, Some(0)));
        let variables = spec.template.spec.unwrap().containers.remove(0).env.unwrap();
        assert!(variables.iter().any(|variable| variable.name == "GOLDCREST_ARRAY_TASK_ID" && variable.value_from.is_some()));
    }

    #[test]
    fn a_script_is_run_by_the_interpreter_of_its_first_line() {
        for (script, expected) in [
            ("true\n", vec!["/bin/sh", "/goldcrest/script"]),
            ("#!/bin/bash\ntrue\n", vec!["/bin/bash", "/goldcrest/script"]),
            ("#! /usr/bin/env  bash -l\r\n", vec!["/usr/bin/env", "bash -l", "/goldcrest/script"]),
            ("#!python\n", vec!["/bin/sh", "/goldcrest/script"]),
            ("#!/bin/$(X)\n", vec!["/bin/$$(X)", "/goldcrest/script"]),
        ] {
            assert_eq!(command(script), expected, "{script:?}");
        }
    }
}
