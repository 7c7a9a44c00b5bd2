//! The options of a job, in the words that Slurm's commands and its REST API share.

use super::job_ref::JobRef;
use crate::domain::{Dependency, JobOptions};
use crate::scheduler::SchedulerError;

/// Why a dependency is refused.
const NO_WHOLE_JOB: &str = "it names a job by what is no id of Slurm's, or by a component of a heterogeneous job: name the whole job";

/// The conditions for the start, all of which must hold; `None` if there are none.
///
/// # Errors
/// [`SchedulerError::Members`] where one names a job that cannot be one of Slurm's, or a component: behind `+`, Slurm reads minutes.
pub(super) fn dependency(options: &JobOptions) -> Result<Option<String>, SchedulerError> {
    let condition = |Dependency { condition, jobs }: &Dependency| {
        let mut text = condition.as_str().to_owned();
        for id in jobs {
            let id = JobRef::new(id).filter(|id| !id.is_component()).ok_or(SchedulerError::member("dependencies", NO_WHOLE_JOB))?;
            text.push(':');
            text.push_str(id.as_str());
        }
        Ok(text)
    };
    let conditions = options.dependencies.iter().map(condition).collect::<Result<Vec<_>, SchedulerError>>()?;
    Ok((!conditions.is_empty()).then(|| conditions.join(",")))
}

/// The GPUs, of the named type, in the notation `gpu:type` and the number with `separator` between them.
pub(super) fn gpus(options: &JobOptions, count: u32, separator: char) -> String {
    match &options.gpu_type {
        Some(name) => format!("{name}{separator}{count}"),
        None => count.to_string(),
    }
}

/// The events for which mail is sent; empty if none is named.
pub(super) fn mail_types(options: &JobOptions) -> Vec<&'static str> {
    options.mail_events.iter().map(|event| event.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{DependencyType, JobId};

    fn on(condition: DependencyType, jobs: &[&str]) -> Dependency {
        Dependency { condition, jobs: jobs.iter().map(|id| JobId::new(id).unwrap()).collect() }
    }

    fn text(dependencies: Vec<Dependency>) -> Result<Option<String>, SchedulerError> {
        dependency(&JobOptions { dependencies, ..JobOptions::default() })
    }

    #[test]
    fn conditions_are_joined_as_slurm_reads_them() {
        let all = vec![on(DependencyType::AfterOk, &["12", "13_4"]), on(DependencyType::Singleton, &[])];
        assert_eq!(text(all).unwrap().as_deref(), Some("afterok:12:13_4,singleton"));
        assert_eq!(text(Vec::new()).unwrap(), None);
    }

    #[test]
    fn what_slurm_would_read_otherwise_is_refused() {
        for id in ["12+1", "12.srv", "7[1]"] {
            assert!(matches!(text(vec![on(DependencyType::After, &[id])]), Err(SchedulerError::Members(_))), "{id}");
        }
    }
}
