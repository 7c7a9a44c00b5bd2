//! The options of a job as options of sbatch.

use crate::domain::{JobOptions, clock};
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::job_options::{dependency, gpus, mail_types};
use crate::ssh::CommandLine;

/// Adds the options to a command line.
///
/// # Errors
/// [`SchedulerError::Members`] where Slurm has no such thing.
pub(super) fn options(options: &JobOptions) -> Result<Vec<(&'static str, Option<String>)>, SchedulerError> {
    let mut found = Vec::new();
    let mut add = |name: &'static str, value: Option<String>| found.extend(value.map(|value| (name, Some(value))));
    for (name, value) in [
        ("--nodes", options.nodes),
        ("--ntasks", options.tasks),
        ("--ntasks-per-node", options.tasks_per_node),
        ("--cpus-per-task", options.cpus_per_task),
    ] {
        add(name, value.map(|value| value.to_string()));
    }
    add("--mem", options.memory.map(|memory| memory.to_string()));
    add("--mem-per-cpu", options.memory_per_cpu.map(|memory| memory.to_string()));
    add("--gpus", options.gpus.map(|count| gpus(options, count, ':')));
    add("--gpus-per-node", options.gpus_per_node.map(|count| gpus(options, count, ':')));
    add("--time", options.time_limit.map(clock));
    add("--qos", options.qos.clone());
    add("--array", options.array.as_ref().map(|array| array.as_str().to_owned()));
    add("--dependency", dependency(options)?);
    add("--mail-user", options.mail_user.clone());
    add("--mail-type", Some(mail_types(options).join(",")).filter(|types| !types.is_empty()));
    add("--licenses", Some(options.licenses.join(",")).filter(|licenses| !licenses.is_empty()));
    add("--container", options.container.clone());
    add("--container-image", options.container_image.clone());
    for (name, is_set) in [("--exclusive", options.exclusive), ("--hold", options.hold)] {
        if is_set {
            found.push((name, None));
        }
    }
    Ok(found)
}

/// Adds options to a command line, each value quoted.
pub(super) fn add(line: CommandLine, options: &[(&'static str, Option<String>)]) -> CommandLine {
    options.iter().fold(line, |line, (name, value)| match value {
        Some(value) => line.option(name, value),
        None => line.flag(name),
    })
}

#[cfg(test)]
mod tests {
    use super::super::slurm_command;
    use super::*;
    use crate::domain::{ArrayIndices, Dependency, DependencyType, JobId, MailEvent, Memory};

    #[test]
    fn everything_that_a_job_may_ask_for_becomes_an_option_and_is_quoted() {
        let job = JobOptions {
            nodes: Some(2),
            tasks: Some(8),
            tasks_per_node: Some(4),
            cpus_per_task: Some(3),
            memory: Memory::new("4G").ok(),
            memory_per_cpu: Memory::new("512M").ok(),
            gpus: Some(2),
            gpus_per_node: Some(1),
            gpu_type: Some("a100".to_owned()),
            time_limit: Some(5400),
            qos: Some("it's".to_owned()),
            exclusive: true,
            hold: true,
            array: ArrayIndices::new("0-9:2%4").ok(),
            dependencies: vec![Dependency { condition: DependencyType::AfterAny, jobs: vec![JobId::new("7").unwrap()] }],
            mail_user: Some("a@b".to_owned()),
            mail_events: vec![MailEvent::Begin, MailEvent::Fail],
            licenses: vec!["matlab:2".to_owned(), "x".to_owned()],
            container: Some("/c".to_owned()),
            container_image: Some("docker://x".to_owned()),
        };
        let line = add(slurm_command("sbatch"), &options(&job).unwrap()).to_string();
        assert_eq!(
            line,
            r"env LC_ALL=C SLURM_TIME_FORMAT=%s sbatch --nodes='2' --ntasks='8' --ntasks-per-node='4' --cpus-per-task='3' --mem='4096M' --mem-per-cpu='512M' --gpus='a100:2' --gpus-per-node='a100:1' --time='1:30:00' --qos='it'\''s' --array='0-9:2%4' --dependency='afterany:7' --mail-user='a@b' --mail-type='BEGIN,FAIL' --licenses='matlab:2,x' --container='/c' --container-image='docker://x' --exclusive --hold"
        );
        assert_eq!(options(&JobOptions::default()).unwrap(), []);
    }
}
