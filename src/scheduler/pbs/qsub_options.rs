//! The options of a job as options of qsub.

use super::dialect::Dialect;
use super::job_ref::JobRef;
use crate::domain::{Dependency, DependencyType, JobOptions, MailEvent, Memory, clock};
use crate::scheduler::SchedulerError;

/// The options of qsub, each with its value if it has one.
///
/// # Errors
/// [`SchedulerError::Members`] if PBS lacks the option, or does not accept it in this form.
pub(super) fn options(
    options: &JobOptions,
    constraints: Option<&str>,
    dialect: Dialect,
) -> Result<Vec<(&'static str, Option<String>)>, SchedulerError> {
    refuse(options, dialect)?;
    let mut found = Vec::new();
    if let Some(select) = select(options)? {
        if constraints.is_some_and(|text| text.contains("select=") || text.contains("nodes=")) {
            return missing(
                "constraints",
                "it has a `select` or `nodes` of its own: leave out either that or the counts of nodes, tasks, CPUs, memory and GPUs",
            );
        }
        found.push(("-l", Some(select)));
    }
    let mut add = |name: &'static str, value: Option<String>| found.extend(value.map(|value| (name, Some(value))));
    add("-l", options.exclusive.then(|| "place=excl".to_owned()));
    add("-l", options.time_limit.map(|seconds| format!("walltime={}", clock(seconds))));
    add("-J", array(options)?);
    add("-W", depend(&options.dependencies)?);
    add("-M", options.mail_user.clone());
    add("-m", mail(&options.mail_events)?);
    if options.hold {
        found.push(("-h", None));
    }
    Ok(found)
}

fn missing<T>(member: &'static str, reason: &'static str) -> Result<T, SchedulerError> {
    Err(SchedulerError::member(member, reason))
}

fn refuse(options: &JobOptions, dialect: Dialect) -> Result<(), SchedulerError> {
    const OWN_RESOURCES: &str = "in PBS it is a resource that the site defines: ask for it by `constraints`";
    const NO_CONTAINERS: &str = "PBS starts containers only by hooks of the site: set the variable that the site asks for in `env`";
    const TORQUE: &str = "of Torque, only the time limit, the dependencies, the mail and the hold are supported: use `constraints`";
    let is_torque = dialect == Dialect::Torque;
    let counts = [options.nodes, options.tasks, options.tasks_per_node, options.cpus_per_task, options.gpus, options.gpus_per_node];
    let shares = counts.iter().any(Option::is_some) || options.memory.is_some() || options.memory_per_cpu.is_some();
    SchedulerError::refuse_members([
        ("qos", options.qos.is_some(), "PBS has none: name a queue by `partition`"),
        ("licenses", !options.licenses.is_empty(), OWN_RESOURCES),
        ("gpuType", options.gpu_type.is_some(), OWN_RESOURCES),
        ("container", options.container.is_some(), NO_CONTAINERS),
        ("containerImage", options.container_image.is_some(), NO_CONTAINERS),
        ("array", is_torque && options.array.is_some(), TORQUE),
        ("exclusive", is_torque && options.exclusive, TORQUE),
        ("nodes", is_torque && shares, TORQUE),
    ])
}

/// The chunks of the job: one for each node; if no number of nodes is given, one for each task, on any node.
fn select(options: &JobOptions) -> Result<Option<String>, SchedulerError> {
    let JobOptions { nodes, tasks, tasks_per_node, cpus_per_task, memory, memory_per_cpu, gpus, gpus_per_node, .. } = options;
    let counts = [nodes, tasks, tasks_per_node, cpus_per_task, gpus, gpus_per_node];
    if counts.into_iter().all(Option::is_none) && memory.is_none() && memory_per_cpu.is_none() {
        return Ok(None);
    }
    let (chunks, tasks_each) = match (*nodes, *tasks, *tasks_per_node) {
        (Some(nodes), Some(tasks), None) if tasks.is_multiple_of(nodes) => (nodes, tasks / nodes),
        (Some(_), Some(_), None) => return missing("tasks", "PBS wants the same number on each node: give a multiple of `nodes`"),
        (None, Some(tasks), Some(each)) if tasks.is_multiple_of(each) => (tasks / each, each),
        (None, Some(_), Some(_)) => return missing("tasks", "PBS wants the same number on each node: give a multiple of `tasksPerNode`"),
        (None, Some(tasks), None) => (tasks, 1),
        (Some(nodes), Some(tasks), Some(each)) if u64::from(nodes) * u64::from(each) != u64::from(tasks) => {
            return missing("tasks", "it is not `nodes` times `tasksPerNode`");
        }
        (nodes, _, each) => (nodes.unwrap_or(1), each.unwrap_or(1)),
    };
    let is_scattered = nodes.is_none() && tasks_per_node.is_none() && chunks > 1;
    if is_scattered && (memory.is_some() || gpus_per_node.is_some()) {
        return missing("nodes", "PBS has to know it where memory or GPUs are given for each node");
    }
    let cpus = tasks_each.saturating_mul(cpus_per_task.unwrap_or(1));
    let mut select = format!("select={chunks}:ncpus={cpus}:mpiprocs={tasks_each}");
    let each_gpus = match gpus {
        Some(gpus) if !gpus.is_multiple_of(chunks) => {
            return missing("gpus", "PBS wants the same number on each node: give a multiple of the nodes");
        }
        Some(gpus) => Some(gpus / chunks),
        None => *gpus_per_node,
    };
    if let Some(memory) = memory.or_else(|| memory_per_cpu.map(|memory: Memory| memory.times(cpus))) {
        select.push_str(&format!(":mem={}mb", memory.mebibytes()));
    }
    if let Some(gpus) = each_gpus {
        select.push_str(&format!(":ngpus={gpus}"));
    }
    Ok(Some(select))
}

/// The indices of an array: PBS has one range with a step.
fn array(options: &JobOptions) -> Result<Option<String>, SchedulerError> {
    match options.array.as_ref().map(crate::domain::ArrayIndices::as_str) {
        Some(text) if text.contains(',') || !text.contains('-') => missing("array", "PBS takes one range, such as 0-9 or 0-99:2"),
        other => Ok(other.map(str::to_owned)),
    }
}

fn depend(dependencies: &[Dependency]) -> Result<Option<String>, SchedulerError> {
    let condition = |Dependency { condition, jobs }: &Dependency| {
        if matches!(condition, DependencyType::AfterCorr | DependencyType::Singleton) {
            return missing("dependencies", "PBS has neither `aftercorr` nor `singleton`");
        }
        let mut text = condition.as_str().to_owned();
        for id in jobs {
            let Some(id) = JobRef::new(id) else { return missing("dependencies", "it names a job by what is no id of PBS") };
            text.push(':');
            text.push_str(id.as_str());
        }
        Ok(text)
    };
    let conditions = dependencies.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    Ok((!conditions.is_empty()).then(|| format!("depend={}", conditions.join(","))))
}

fn mail(events: &[MailEvent]) -> Result<Option<String>, SchedulerError> {
    let letter = |event: &MailEvent| match event {
        MailEvent::Begin => Ok('b'),
        MailEvent::End => Ok('e'),
        MailEvent::Fail => Ok('a'),
        MailEvent::Requeue => missing("mailEvents", "PBS sends none for `requeue`"),
    };
    let letters = events.iter().map(letter).collect::<Result<String, _>>()?;
    Ok((!letters.is_empty()).then_some(letters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ArrayIndices, JobId};

    const PBS: Dialect = Dialect::Pbs { unwrapped: true };

    fn text(job: &JobOptions) -> Result<String, &'static str> {
        match options(job, None, PBS) {
            Ok(found) => {
                Ok(found.into_iter().map(|(name, value)| format!("{name} {}", value.unwrap_or_default())).collect::<Vec<_>>().join(" "))
            }
            Err(SchedulerError::Members(refused)) => Err(refused[0].name),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn resources_become_chunks() {
        let empty = JobOptions::default();
        let cases = [
            (
                JobOptions { nodes: Some(2), tasks: Some(8), cpus_per_task: Some(3), memory: Memory::new("4G").ok(), ..empty.clone() },
                "-l select=2:ncpus=12:mpiprocs=4:mem=4096mb",
            ),
            (JobOptions { tasks: Some(8), cpus_per_task: Some(2), ..empty.clone() }, "-l select=8:ncpus=2:mpiprocs=1"),
            (
                JobOptions { tasks: Some(8), tasks_per_node: Some(4), gpus_per_node: Some(1), ..empty.clone() },
                "-l select=2:ncpus=4:mpiprocs=4:ngpus=1",
            ),
            (
                JobOptions { cpus_per_task: Some(4), memory_per_cpu: Memory::new("1G").ok(), gpus: Some(2), ..empty.clone() },
                "-l select=1:ncpus=4:mpiprocs=1:mem=4096mb:ngpus=2",
            ),
            (JobOptions { time_limit: Some(3661), exclusive: true, hold: true, ..empty.clone() }, "-l place=excl -l walltime=1:01:01 -h "),
            (empty, ""),
        ];
        for (job, expected) in cases {
            assert_eq!(text(&job).as_deref(), Ok(expected), "{job:?}");
        }
    }

    #[test]
    fn arrays_dependencies_and_mail_have_options_of_their_own() {
        let job = JobOptions {
            array: ArrayIndices::new("0-9:2%3").ok(),
            dependencies: vec![Dependency { condition: DependencyType::AfterOk, jobs: vec![JobId::new("12.srv").unwrap()] }],
            mail_user: Some("a@b".to_owned()),
            mail_events: vec![MailEvent::Begin, MailEvent::Fail],
            ..JobOptions::default()
        };
        assert_eq!(text(&job).unwrap(), "-J 0-9:2%3 -W depend=afterok:12.srv -M a@b -m ba");
    }

    #[test]
    fn what_pbs_does_not_have_is_refused_by_its_name() {
        let empty = JobOptions::default();
        let some = |text: &str| Some(text.to_owned());
        for (job, member) in [
            (JobOptions { qos: some("x"), ..empty.clone() }, "qos"),
            (JobOptions { licenses: vec!["x".to_owned()], ..empty.clone() }, "licenses"),
            (JobOptions { gpu_type: some("x"), gpus: Some(1), ..empty.clone() }, "gpuType"),
            (JobOptions { container_image: some("x"), ..empty.clone() }, "containerImage"),
            (JobOptions { nodes: Some(3), tasks: Some(4), ..empty.clone() }, "tasks"),
            (JobOptions { nodes: Some(2), gpus: Some(3), ..empty.clone() }, "gpus"),
            (JobOptions { tasks: Some(4), memory: Memory::new("1G").ok(), ..empty.clone() }, "nodes"),
            (JobOptions { array: ArrayIndices::new("1,3").ok(), ..empty.clone() }, "array"),
            (JobOptions { mail_events: vec![MailEvent::Requeue], ..empty.clone() }, "mailEvents"),
            (
                JobOptions { dependencies: vec![Dependency { condition: DependencyType::Singleton, jobs: vec![] }], ..empty.clone() },
                "dependencies",
            ),
        ] {
            assert_eq!(text(&job), Err(member), "{job:?}");
        }
        let counted = JobOptions { nodes: Some(2), ..empty.clone() };
        assert!(options(&counted, Some("select=1:ncpus=4"), PBS).is_err() && options(&counted, Some("mem=1gb"), PBS).is_ok());
        assert!(options(&counted, None, Dialect::Torque).is_err() && options(&empty, None, Dialect::Torque).is_ok());
    }
}
