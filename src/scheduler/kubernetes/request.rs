//! What a job asks for, checked against its profile and against what there is in Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::config::Profile;
use super::images::Images;
use super::indices::Tasks;
use crate::domain::{JobDescription, JobOptions, JobScript, Memory};
use crate::scheduler::SchedulerError;

/// The longest script or code and environment together in bytes: a Secret holds 1 MiB (Kubernetes' `MaxSecretSize`).
pub const MAX_CONTENT: usize = 1024 * 1024 - 1024;

/// The reason why a script on the cluster cannot be submitted.
pub(super) const NO_SCRIPT_PATH: &str = "this system's scheduler takes only the text of a script: send it as `script`";

/// The reason why a job of a queue is neither held nor released.
pub(super) const HELD_BY_KUEUE: &str = "a job in a queue of Kueue is held and released by Kueue alone";

/// A job that may be made.
#[derive(Clone, Debug)]
pub(super) struct JobRequest<'a> {
    pub(super) job: &'a JobDescription,
    pub(super) script: &'a str,
    pub(super) profile: &'a Profile,
    /// The queue of Kueue that it waits in.
    pub(super) queue: Option<String>,
    pub(super) image: String,
    pub(super) tasks: Option<Tasks>,
    pub(super) cpus: u32,
    pub(super) memory: Memory,
    pub(super) gpus: u32,
    /// In seconds.
    pub(super) time_limit: Option<u32>,
}

impl<'a> JobRequest<'a> {
    /// Checks a description: whatever a user sends, only this goes into the cluster. The default profile limits the jobs of a queue.
    ///
    /// # Errors
    /// What cannot be given, or is not allowed.
    pub(super) fn read(
        job: &'a JobDescription,
        profiles: &'a [Profile],
        default_image: Option<&'a String>,
        images: &Images,
        queue: Option<String>,
    ) -> Result<Self, SchedulerError> {
        let script = match &job.script {
            JobScript::Inline(script) => script.as_str(),
            JobScript::Path(_) => return Err(SchedulerError::Unsupported(NO_SCRIPT_PATH)),
        };
        refuse_absent_features(job, queue.is_some())?;
        let code = job.program.as_ref().and_then(|program| program.code.as_ref()).map_or(0, |code| code.len());
        let content = script.len() + code + job.environment.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        if content > MAX_CONTENT {
            let what = if job.program.is_some() { "code" } else { "script" };
            return Err(SchedulerError::Rejected(format!(
                "the {what} and its variables have {content} bytes: at most {MAX_CONTENT} are possible on this system"
            )));
        }
        let profile = profile(job.partition.as_deref().filter(|_| queue.is_none()), profiles)?;
        let image = image(&job.options, profile, default_image, images)?;
        let options = &job.options;
        Ok(Self {
            job,
            script,
            profile,
            queue,
            image,
            tasks: options.array.as_ref().map(Tasks::read).transpose()?,
            cpus: cpus(options, profile)?,
            memory: memory(options, profile)?,
            gpus: gpus(options, profile)?,
            time_limit: time_limit(options, profile)?,
        })
    }

    /// The partition that the job is shown in.
    pub(super) fn partition(&self) -> &str {
        self.queue.as_deref().unwrap_or(&self.profile.name)
    }

    /// The resources that each pod gets, and no more of any.
    pub(super) fn resources(&self) -> BTreeMap<String, Quantity> {
        let mut resources: BTreeMap<String, Quantity> = [
            ("cpu".to_owned(), Quantity(self.cpus.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Mi", self.memory.mebibytes()))),
        ]
        .into();
        if self.gpus > 0 {
            resources.insert(self.profile.gpu_resource.clone(), Quantity(self.gpus.to_string()));
        }
        resources
    }
}

fn profile<'a>(partition: Option<&str>, profiles: &'a [Profile]) -> Result<&'a Profile, SchedulerError> {
    let chosen = match partition.filter(|name| !name.is_empty()) {
        Some(name) => profiles.iter().find(|profile| profile.name == name),
        None => profiles.first(),
    };
    chosen.ok_or_else(|| {
        let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        SchedulerError::Rejected(format!("there is no such partition on this system: choose one of {}", names.join(", ")))
    })
}

fn image(options: &JobOptions, profile: &Profile, default_image: Option<&String>, images: &Images) -> Result<String, SchedulerError> {
    let image = options.container_image.as_ref().or(profile.image.as_ref()).or(default_image);
    let image = image.ok_or(SchedulerError::member("containerImage", "name an image: this system has no default one"))?;
    if !images.allow(image) {
        return Err(SchedulerError::Denied(format!("the image {image:?} is not among those that this system allows")));
    }
    Ok(image.clone())
}

fn cpus(options: &JobOptions, profile: &Profile) -> Result<u32, SchedulerError> {
    let cpus = options.cpus_per_task.unwrap_or(profile.cpus);
    match profile.max_cpus {
        Some(max) if cpus > max => Err(over("CPUs", cpus, max, profile)),
        _ => Ok(cpus),
    }
}

fn memory(options: &JobOptions, profile: &Profile) -> Result<Memory, SchedulerError> {
    let per_cpu = options.memory_per_cpu.map(|memory| memory.times(options.cpus_per_task.unwrap_or(profile.cpus)));
    let memory = options.memory.or(per_cpu).unwrap_or(profile.memory);
    match profile.max_memory {
        Some(max) if memory > max => Err(over("memory", memory, max, profile)),
        _ => Ok(memory),
    }
}

fn gpus(options: &JobOptions, profile: &Profile) -> Result<u32, SchedulerError> {
    let gpus = options.gpus.or(options.gpus_per_node).unwrap_or(0);
    if gpus > profile.max_gpus { Err(over("GPUs", gpus, profile.max_gpus, profile)) } else { Ok(gpus) }
}

fn time_limit(options: &JobOptions, profile: &Profile) -> Result<Option<u32>, SchedulerError> {
    let given = |seconds: u32| Some(seconds).filter(|seconds| *seconds > 0);
    let limit = options.time_limit.or(given(profile.time_limit));
    match given(profile.max_time_limit) {
        Some(max) if limit.is_none_or(|limit| limit > max) => Err(over("seconds", limit.unwrap_or(0), max, profile)),
        _ => Ok(limit),
    }
}

fn over(what: &str, asked: impl std::fmt::Display, max: impl std::fmt::Display, profile: &Profile) -> SchedulerError {
    SchedulerError::Rejected(format!("the job asks for {asked} ({what}), and partition {} allows at most {max}", profile.name))
}

/// Refuses options of a job that Kubernetes, or this way to it, does not have.
fn refuse_absent_features(job: &JobDescription, is_queued: bool) -> Result<(), SchedulerError> {
    const ONE_POD: &str = "each job, and each task of an array, is one pod on one node";
    const BY_PROFILE: &str = "the partition decides on the nodes";
    const LOG: &str = "what a job prints is in its pod's log, and it reads nothing";
    const NO_MAIL: &str = "no mail is sent on this system";
    let options = &job.options;
    let more_than_one = |count: Option<u32>| count.is_some_and(|count| count > 1);
    let refused = [
        ("nodes", more_than_one(options.nodes), ONE_POD),
        ("tasks", more_than_one(options.tasks), ONE_POD),
        ("tasksPerNode", more_than_one(options.tasks_per_node), ONE_POD),
        ("exclusive", options.exclusive, BY_PROFILE),
        ("constraints", job.constraints.as_ref().is_some_and(|text| !text.is_empty()), BY_PROFILE),
        ("gpuType", options.gpu_type.is_some(), BY_PROFILE),
        ("reservation", job.reservation.as_ref().is_some_and(|text| !text.is_empty()), "this system has no reservations"),
        ("qos", options.qos.is_some(), "this system has no quality of service"),
        ("licenses", !options.licenses.is_empty(), "this system has no licences"),
        ("dependencies", !options.dependencies.is_empty(), "jobs of this system do not wait for each other"),
        ("mailUser", options.mail_user.is_some(), NO_MAIL),
        ("mailEvents", !options.mail_events.is_empty(), NO_MAIL),
        ("hold", options.hold && is_queued, HELD_BY_KUEUE),
        ("container", options.container.is_some(), "an image is named by `containerImage`"),
        ("standardInput", job.standard_input.is_some(), LOG),
        ("standardOutput", job.standard_output.is_some(), LOG),
        ("standardError", job.standard_error.is_some(), LOG),
    ];
    SchedulerError::refuse_members(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ArrayIndices, RemotePath};

    fn described(change: impl FnOnce(&mut JobDescription)) -> JobDescription {
        let mut job = JobDescription::new(RemotePath::from_text("/tmp").unwrap(), JobScript::Inline("true".to_owned()));
        change(&mut job);
        job
    }

    fn read(job: &JobDescription, profile: Profile) -> Result<(u32, u64, u32, Option<u32>), SchedulerError> {
        let default_image = "registry.test/default:1".to_owned();
        let images = Images::new(&["registry.test/users/*".to_owned()], [&default_image]);
        let profiles = [profile];
        let request = JobRequest::read(job, &profiles, Some(&default_image), &images, None)?;
        Ok((request.cpus, request.memory.mebibytes(), request.gpus, request.time_limit))
    }

    #[test]
    fn what_a_job_does_not_ask_for_comes_from_its_profile() {
        assert_eq!(read(&described(|_| {}), Profile::default()).unwrap(), (1, 1024, 0, Some(86_400)));
        let job = described(|job| {
            job.options.cpus_per_task = Some(4);
            job.options.memory_per_cpu = Memory::new("512M").ok();
            job.options.time_limit = Some(60);
            job.options.array = ArrayIndices::new("0-3").ok();
        });
        assert_eq!(read(&job, Profile::default()).unwrap(), (4, 2048, 0, Some(60)));
    }

    #[test]
    fn a_profile_has_its_limits() {
        let profile = || Profile {
            max_cpus: Some(2),
            max_memory: Some(Memory::gibibytes(2)),
            max_gpus: 1,
            time_limit: 60,
            max_time_limit: 600,
            ..Profile::default()
        };
        assert!(read(&described(|job| job.options.gpus = Some(1)), profile()).is_ok());
        for job in [
            described(|job| job.options.cpus_per_task = Some(3)),
            described(|job| job.options.memory = Memory::new("3G").ok()),
            described(|job| job.options.gpus = Some(2)),
            described(|job| job.options.time_limit = Some(601)),
            described(|job| job.partition = Some("other".to_owned())),
        ] {
            assert!(matches!(read(&job, profile()), Err(SchedulerError::Rejected(_))), "{job:?}");
        }
    }

    #[test]
    fn other_images_than_those_of_the_site_are_forbidden() {
        let with = |image: &str| described(|job| job.options.container_image = Some(image.to_owned()));
        assert!(read(&with("registry.test/users/a:1"), Profile::default()).is_ok());
        assert!(matches!(read(&with("docker.io/library/busybox"), Profile::default()), Err(SchedulerError::Denied(_))));
    }

    #[test]
    fn what_kubernetes_does_not_have_is_named() {
        for (member, job) in [
            ("nodes", described(|job| job.options.nodes = Some(2))),
            ("exclusive", described(|job| job.options.exclusive = true)),
            ("qos", described(|job| job.options.qos = Some("high".to_owned()))),
            ("standardOutput", described(|job| job.standard_output = Some("out".to_owned()))),
            ("array", described(|job| job.options.array = ArrayIndices::new("1-3").ok())),
        ] {
            let refused = read(&job, Profile::default());
            assert!(matches!(&refused, Err(SchedulerError::Members(refused)) if refused[0].name == member), "{member}: {refused:?}");
        }
        let long = described(|job| job.script = JobScript::Inline("x".repeat(MAX_CONTENT + 1)));
        assert!(read(&long, Profile::default()).unwrap_err().to_string().contains("1047552"));
    }
}
