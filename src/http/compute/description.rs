//! The description of a job on the wire.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::domain::{ArrayIndices, Dependency, DependencyType, JobId, JobOptions, JobScript, MailEvent, Memory};
use crate::http::compute::webhooks::WebhookRequest;
use crate::http::enumeration::enum_schema;
use crate::service::{InvalidField, InvalidRequest, Submission};

/// A job to submit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"job": {
    "name": "example",
    "workingDirectory": "/home/user",
    "standardOutput": "example.out",
    "env": {"OMP_NUM_THREADS": "4"},
    "timeLimit": 300,
    "script": "#!/bin/bash\nhostname\n"
}}))]
pub(in crate::http) struct PostJobSubmitRequest {
    job: JobDescriptionModel,
    /// A webhook for this job. Not with `jobs/validate`, which submits nothing.
    pub(in crate::http) webhook: Option<WebhookRequest>,
}

/// The description of a job. Exactly one of `script` and `scriptPath` is given. Names in snake case are accepted too.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::http) struct JobDescriptionModel {
    /// The job's name.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// The account to charge.
    #[schema(max_length = 255)]
    account: Option<String>,
    /// The reservation to run in.
    #[schema(max_length = 255)]
    reservation: Option<String>,
    /// The partition or queue.
    #[schema(max_length = 255)]
    partition: Option<String>,
    /// The absolute path where the job starts.
    #[serde(alias = "working_directory", alias = "current_working_directory", alias = "currentWorkingDirectory")]
    working_directory: String,
    /// The file read as standard input.
    #[serde(alias = "standard_input")]
    standard_input: Option<String>,
    /// The file that standard output is written to.
    #[serde(alias = "standard_output")]
    standard_output: Option<String>,
    /// The file that standard error is written to.
    #[serde(alias = "standard_error")]
    standard_error: Option<String>,
    /// Variables for the job: an object of names and values, or a list of `NAME=value`.
    #[serde(default, alias = "environment")]
    #[schema(default = json!({"F7T_version": "v2.0.0"}))]
    env: Environment,
    /// Node features required, in the scheduler's syntax.
    constraints: Option<String>,
    /// The text of the batch script.
    script: Option<String>,
    /// The path of the batch script on the system, inside a configured file system.
    #[serde(alias = "script_path")]
    script_path: Option<String>,
    /// Number of nodes.
    #[schema(minimum = 1)]
    nodes: Option<u32>,
    /// Number of tasks, on all nodes together.
    #[schema(minimum = 1)]
    tasks: Option<u32>,
    /// Number of tasks on each node.
    #[schema(minimum = 1)]
    tasks_per_node: Option<u32>,
    /// CPUs for each task.
    #[schema(minimum = 1)]
    cpus_per_task: Option<u32>,
    /// Memory on each node, with its unit: `512M`, `4G`, `1T` (powers of 1024).
    #[schema(value_type = Option<String>, example = "4G")]
    memory: Option<Memory>,
    /// Memory for each CPU, with its unit; instead of `memory`.
    #[schema(value_type = Option<String>, example = "2G")]
    memory_per_cpu: Option<Memory>,
    /// GPUs on all nodes together.
    #[schema(minimum = 1)]
    gpus: Option<u32>,
    /// GPUs on each node; instead of `gpus`.
    #[schema(minimum = 1)]
    gpus_per_node: Option<u32>,
    /// Type of the GPUs, as the site names it.
    #[schema(max_length = 255)]
    gpu_type: Option<String>,
    /// Maximum run time in seconds. Slurm rounds it up to minutes.
    #[schema(minimum = 1)]
    time_limit: Option<u32>,
    /// Quality of service.
    #[schema(max_length = 255)]
    qos: Option<String>,
    /// Whether the nodes are not shared with other jobs.
    exclusive: Option<bool>,
    /// Whether the job waits until it is released.
    hold: Option<bool>,
    /// Indices of a job array, such as `0-9`, `1,3,5` or `0-99:2%4` (every second one, at most 4 at a time).
    #[schema(value_type = Option<String>, max_length = 1024, example = "0-9%4")]
    array: Option<ArrayIndices>,
    /// Conditions for the start; all of them must hold.
    dependencies: Option<Vec<DependencyModel>>,
    /// Address for mail notifications.
    #[schema(max_length = 255)]
    mail_user: Option<String>,
    /// Events for which mail is sent.
    #[schema(value_type = Option<Vec<MailEventSchema>>)]
    mail_events: Option<Vec<MailEvent>>,
    /// Licences, each as `name` or `name:count`.
    licenses: Option<Vec<String>>,
    /// Absolute path of an OCI bundle that the job runs in.
    #[schema(max_length = 4095)]
    container: Option<String>,
    /// Container image that the job runs in, if the site has the Pyxis plugin for Slurm.
    #[schema(max_length = 1024)]
    container_image: Option<String>,
}

/// A condition for the start of a job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobDependency)]
struct DependencyModel {
    /// The kind of condition; `afterok` if absent.
    #[serde(rename = "type", default)]
    #[schema(value_type = DependencyTypeSchema)]
    condition: DependencyType,
    /// The ids of the jobs that the condition refers to; none for `singleton`.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["1234"]))]
    jobs: Vec<JobId>,
}

enum_schema! {
    /// The condition for the start of a job: other jobs have started, have ended, have succeeded, have failed, have succeeded task
    /// by task, or all earlier jobs of the same name and user have ended.
    DependencyTypeSchema of [
        DependencyType::After, DependencyType::AfterAny, DependencyType::AfterOk, DependencyType::AfterNotOk, DependencyType::AfterCorr,
        DependencyType::Singleton,
    ]
}

enum_schema! {
    /// An event for which mail is sent.
    MailEventSchema of [MailEvent::Begin, MailEvent::End, MailEvent::Fail, MailEvent::Requeue]
}

/// The variables of a job.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected an object of strings, or a list of strings")]
enum Environment {
    /// By name.
    Map(BTreeMap<String, String>),
    /// As `NAME=value`.
    List(Vec<String>),
}

impl Default for Environment {
    fn default() -> Self {
        Self::Map([("F7T_version".to_owned(), "v2.0.0".to_owned())].into())
    }
}

impl TryFrom<PostJobSubmitRequest> for Submission {
    type Error = InvalidRequest;

    fn try_from(request: PostJobSubmitRequest) -> Result<Self, InvalidRequest> {
        request.job.try_into()
    }
}

impl TryFrom<JobDescriptionModel> for Submission {
    type Error = InvalidRequest;

    fn try_from(mut job: JobDescriptionModel) -> Result<Self, InvalidRequest> {
        let mut wrong = Vec::new();
        let environment = std::mem::take(&mut job.env).variables().map_err(|field| wrong.push(field)).unwrap_or_default();
        let script = script(job.script.take(), job.script_path.take()).map_err(|field| wrong.push(field)).ok();
        match script.filter(|_| wrong.is_empty()) {
            None => Err(wrong.into_iter().collect()),
            Some(script) => Ok(Self {
                options: job.options(),
                name: job.name,
                account: job.account,
                reservation: job.reservation,
                partition: job.partition,
                working_directory: job.working_directory,
                standard_input: job.standard_input,
                standard_output: job.standard_output,
                standard_error: job.standard_error,
                environment,
                constraints: job.constraints,
                script,
                program: None,
            }),
        }
    }
}

impl JobDescriptionModel {
    /// Takes the other options of the job.
    fn options(&mut self) -> JobOptions {
        let dependency = |DependencyModel { condition, jobs }| Dependency { condition, jobs };
        JobOptions {
            nodes: self.nodes,
            tasks: self.tasks,
            tasks_per_node: self.tasks_per_node,
            cpus_per_task: self.cpus_per_task,
            memory: self.memory,
            memory_per_cpu: self.memory_per_cpu,
            gpus: self.gpus,
            gpus_per_node: self.gpus_per_node,
            gpu_type: self.gpu_type.take(),
            time_limit: self.time_limit,
            qos: self.qos.take(),
            exclusive: self.exclusive.unwrap_or_default(),
            hold: self.hold.unwrap_or_default(),
            array: self.array.take(),
            dependencies: self.dependencies.take().unwrap_or_default().into_iter().map(dependency).collect(),
            mail_user: self.mail_user.take(),
            mail_events: self.mail_events.take().unwrap_or_default(),
            licenses: self.licenses.take().unwrap_or_default(),
            container: self.container.take(),
            container_image: self.container_image.take(),
        }
    }
}

impl Environment {
    fn variables(self) -> Result<BTreeMap<String, String>, InvalidField> {
        match self {
            Self::Map(variables) => Ok(variables),
            Self::List(lines) => lines
                .into_iter()
                .map(|line| match line.split_once('=') {
                    Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                    None => Err(wrong_member("environment", "write each variable as `NAME=value`")),
                })
                .collect(),
        }
    }
}

fn script(text: Option<String>, path: Option<String>) -> Result<JobScript<String>, InvalidField> {
    match (text, path) {
        (Some(text), None) => Ok(JobScript::Inline(text)),
        (None, Some(path)) => Ok(JobScript::Path(path)),
        (None, None) => Err(wrong_member("script", "give either `script` or `scriptPath`")),
        (Some(_), Some(_)) => Err(wrong_member("script_path", "give `script` or `scriptPath`, not both")),
    }
}

fn wrong_member(name: &'static str, message: &str) -> InvalidField {
    InvalidField::new(name, message)
}
