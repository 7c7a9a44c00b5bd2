//! What a client submits, as a submission to the service.
//!
//! A job is one container with a program of its image, as the clients make it. The site's template lies over it, and its variables are added.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::dictionary::{Dictionary, Unusable};
use super::shapes::without_nulls;
use crate::domain::amount::thousandths;
use crate::domain::{ImageProgram, JobOptions, JobScript, Memory, Overlap, ScheduleDescription, Secret};
use crate::service::Submission;

/// The toleration that names the partition of a job. Clients copy it from a profile.
pub(super) const PARTITION_KEY: &str = "goldcrest/partition";

/// Where the clients' jobs start.
const DIRECTORY: &str = "/code";

/// What the site adds to a job.
#[derive(Clone, Copy)]
pub(super) struct Additions<'a> {
    /// The job that lies over those of users.
    pub(super) template: Option<&'a Value>,
    /// The variables that every job gets.
    pub(super) variables: &'a BTreeMap<String, String>,
    /// The token that the job gets.
    pub(super) token: Option<&'a Secret>,
}

/// Reads a job.
///
/// # Errors
/// The first member that is unknown or unsupported.
pub(super) fn job(written: &Value, code: Option<Arc<[u8]>>, site: Additions<'_>) -> Result<Submission, Unusable> {
    let mut written = without_nulls("V1Job", written, "job")?;
    if let Some(template) = site.template {
        merge(&mut written, &template_of(template)?);
    }
    read_job(written, code, site)
}

fn read_job(written: Value, code: Option<Arc<[u8]>>, site: Additions<'_>) -> Result<Submission, Unusable> {
    let mut job = Dictionary::new(written, "job");
    job.skip(&["api_version", "kind", "status"]);
    let name = name(job.dictionary("metadata"))?;
    let submission = submission(job.dictionary("spec"), name, code, site)?;
    job.end()?;
    Ok(submission)
}

/// Reads a schedule.
///
/// # Errors
/// As [`job`].
pub(super) fn schedule(written: &Value, code: Option<Arc<[u8]>>, site: Additions<'_>) -> Result<ScheduleDescription<String>, Unusable> {
    let mut written = without_nulls("V1CronJob", written, "job")?;
    if let Some(template) = site.template {
        merge(&mut written["spec"]["job_template"], &template_of(template)?);
    }
    let mut cron_job = Dictionary::new(written, "job");
    cron_job.skip(&["api_version", "kind", "status"]);
    let name = name(cron_job.dictionary("metadata"))?;
    let mut spec = cron_job.dictionary("spec");
    cron_job.end()?;
    let mut template = spec.dictionary("job_template");
    self::name(template.dictionary("metadata"))?;
    let job = submission(template.dictionary("spec"), name.clone(), code, site)?;
    template.end()?;
    // The server has its own, which is that of the clients too.
    spec.skip(&["starting_deadline_seconds"]);
    let policy = spec.text("concurrency_policy");
    let overlap = match policy.as_deref() {
        None | Some("Allow") => Overlap::Allow,
        Some("Forbid") => Overlap::Skip,
        Some("Replace") => Overlap::Replace,
        Some(_) => return Err(Unusable::new(spec.path("concurrency_policy"), "is Allow, Forbid or Replace")),
    };
    let cron = spec.text("schedule").unwrap_or_default();
    let (time_zone, suspended) = (spec.text("time_zone"), spec.flag("suspend"));
    spec.end()?;
    Ok(ScheduleDescription { name, cron, time_zone, suspended, overlap, job })
}

/// Checks the site's template by a job that has the least.
///
/// # Errors
/// As [`job`].
pub(super) fn check_template(template: &Value) -> Result<(), Unusable> {
    let least = json!({"spec": {"template": {"spec": {"containers": [{"image": "image"}]}}}});
    let mut merged = least;
    merge(&mut merged, &template_of(template)?);
    let in_template = |error: Unusable| Unusable { path: error.path.replacen("job.", "job_template.", 1), ..error };
    let nothing = Additions { template: None, variables: &BTreeMap::new(), token: None };
    read_job(merged, None, nothing).map(drop).map_err(in_template)
}

/// The members of the site's template that a schedule has too.
fn template_of(template: &Value) -> Result<Value, Unusable> {
    let mut template = without_nulls("V1Job", template, "job_template")?;
    if let Some(members) = template.as_object_mut() {
        members.retain(|name, _| name != "api_version" && name != "kind");
    }
    Ok(template)
}

/// The site's values override those of the user; lists are concatenated.
fn merge(user: &mut Value, site: &Value) {
    match (user, site) {
        (Value::Object(user), Value::Object(site)) => {
            for (name, value) in site {
                match user.get_mut(name) {
                    Some(present) => merge(present, value),
                    None => _ = user.insert(name.clone(), value.clone()),
                }
            }
        }
        (Value::Array(user), Value::Array(site)) => user.extend(site.iter().cloned()),
        (user, site) => *user = site.clone(),
    }
}

/// The readable part of the name, which clients give as the start of a generated one.
fn name(mut metadata: Dictionary) -> Result<Option<String>, Unusable> {
    let name = metadata.text("generate_name");
    let name = metadata.text("name").or(name).map(|name| name.trim_end_matches('-').to_owned());
    metadata.end()?;
    Ok(name.filter(|name| !name.is_empty()))
}

fn submission(mut spec: Dictionary, name: Option<String>, code: Option<Arc<[u8]>>, site: Additions<'_>) -> Result<Submission, Unusable> {
    // Finished jobs are kept for as long as the site keeps them.
    spec.skip(&["ttl_seconds_after_finished"]);
    spec.only("backoff_limit", &[json!(0)])?;
    spec.only("completions", &[json!(1)])?;
    spec.only("parallelism", &[json!(1)])?;
    spec.only("completion_mode", &[json!("NonIndexed")])?;
    let mut options = JobOptions { hold: spec.flag("suspend"), ..JobOptions::default() };
    let deadline = seconds(&mut spec)?;
    let mut template = spec.dictionary("template");
    spec.end()?;
    self::name(template.dictionary("metadata"))?;
    let mut pod = template.dictionary("spec");
    template.end()?;
    pod.only("restart_policy", &[json!("Never")])?;
    options.time_limit = [deadline, seconds(&mut pod)?].into_iter().flatten().min();
    let partition = partition(pod.dictionaries("tolerations"))?;
    let containers = pod.path("containers");
    let Ok([container]) = <[Dictionary; 1]>::try_from(pod.dictionaries("containers")) else {
        return Err(Unusable::new(containers, "a job has one container"));
    };
    pod.end()?;
    let Contained { image, working_directory, mut environment, program, resources } = contained(container)?;
    options.cpus_per_task = resources.cpus;
    options.memory = resources.memory;
    options.gpus = resources.gpus;
    environment.extend(site.variables(image.as_deref()));
    options.container_image = image;
    Ok(Submission {
        name,
        partition,
        environment,
        program: Some(ImageProgram { code, ..program }),
        options,
        ..Submission::new(working_directory, JobScript::Inline(String::new()))
    })
}

impl Additions<'_> {
    /// The variables that every job gets, and those that name its image.
    fn variables(&self, image: Option<&str>) -> BTreeMap<String, String> {
        let mut variables = self.variables.clone();
        let image =
            image.iter().flat_map(|image| ["JUPYTER_IMAGE", "JUPYTER_IMAGE_SPEC"].map(|name| (name.to_owned(), (*image).to_owned())));
        variables.extend(image);
        variables.extend(self.token.map(|token| ("JUPYTERHUB_API_TOKEN".to_owned(), token.expose().to_owned())));
        variables
    }
}

/// What a container says.
struct Contained {
    image: Option<String>,
    working_directory: String,
    environment: BTreeMap<String, String>,
    program: ImageProgram,
    resources: Resources,
}

fn contained(mut container: Dictionary) -> Result<Contained, Unusable> {
    container.skip(&["name"]);
    let image = container.text("image");
    let working_directory = container.text("working_dir").unwrap_or_else(|| DIRECTORY.to_owned());
    let (command, arguments) = (container.texts("command"), container.texts("args"));
    let mut environment = BTreeMap::new();
    for mut variable in container.dictionaries("env") {
        let (name, value) = (variable.text("name").unwrap_or_default(), variable.text("value").unwrap_or_default());
        variable.end()?;
        environment.insert(name, value);
    }
    let path = container.path("resources");
    let mut amounts = container.dictionary("resources");
    let [limits, requests] = ["limits", "requests"].map(|kind| amounts.amounts(kind).into_iter().collect());
    amounts.end()?;
    container.end()?;
    let resources = resources(&limits, &requests, &path)?;
    Ok(Contained { image, working_directory, environment, program: ImageProgram { command, arguments, code: None }, resources })
}

/// The time limit.
fn seconds(dictionary: &mut Dictionary) -> Result<Option<u32>, Unusable> {
    const NAME: &str = "active_deadline_seconds";
    let Some(seconds) = dictionary.number(NAME) else { return Ok(None) };
    let seconds = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    seconds.map(Some).ok_or_else(|| Unusable::new(dictionary.path(NAME), "is out of range"))
}

/// The partition that the job's profile has put among its tolerations; the site's stand last.
fn partition(tolerations: Vec<Dictionary>) -> Result<Option<String>, Unusable> {
    let mut partition = None;
    for mut toleration in tolerations {
        if toleration.text("key").as_deref() != Some(PARTITION_KEY) {
            return Err(Unusable::new(toleration.path("key"), "cannot be given here: choose a profile, which decides on the nodes"));
        }
        partition = toleration.text("value");
    }
    Ok(partition)
}

/// Amounts of resources as a job asks for them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Resources {
    cpus: Option<u32>,
    memory: Option<Memory>,
    gpus: Option<u32>,
}

/// The resources of a job: its limits, and its requests where it has no limits. Parts of a CPU count as a whole one.
///
/// # Errors
/// The first resource that is not known, or has no usable amount.
pub(super) fn resources(limits: &BTreeMap<String, String>, requests: &BTreeMap<String, String>, path: &str) -> Result<Resources, Unusable> {
    let mut found = Resources::default();
    let written = [("requests", requests), ("limits", limits)];
    for (kind, name, text) in written.into_iter().flat_map(|(kind, map)| map.iter().map(move |(name, text)| (kind, name, text))) {
        let unusable = |reason: &'static str| Unusable::new(format!("{path}.{kind}.{name}"), reason);
        let amount = thousandths(text).filter(|amount| *amount > 0).ok_or_else(|| unusable("is no amount above 0"))?;
        let whole = |unit: i128| u32::try_from((amount + unit - 1) / unit).map_err(|_| unusable("is too much"));
        match name.as_str() {
            "cpu" => found.cpus = Some(whole(1000)?),
            "memory" => found.memory = Memory::new(&format!("{}M", whole(1000 << 20)?)).ok(),
            gpu if gpu.ends_with("/gpu") => found.gpus = Some(whole(1000)?),
            _ => return Err(unusable("is no resource of jobs here")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
