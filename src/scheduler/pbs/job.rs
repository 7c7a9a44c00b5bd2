//! A record of qstat as a job, and as its files.

use super::config::JobStates;
use super::job_ref::shown_id;
use super::records::Record;
use super::status::{is_finished, status};
use super::values::{duration, hosts, path_of, timestamp};
use crate::domain::{Job, JobId, JobMetadata, JobTimes};
use crate::ssh::CommandError;

/// The project of a job that names none.
const NO_PROJECT: &str = "_pbs_project_default";

/// What clients know from Slurm for a job that has no nodes.
const NO_NODES: &str = "None assigned";

/// A job with what it is filtered by.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The job.
    pub(super) job: Job,
    /// Its project and its account name: either may be meant by "account".
    pub(super) accounts: [Option<String>; 2],
    /// Whether nothing more will happen to it.
    pub(super) finished: bool,
}

/// The job that a record is.
///
/// # Errors
/// When its name is no job id.
pub(super) fn job(record: &Record, words: JobStates) -> Result<Found, CommandError> {
    let text = |attribute: &str| record.get(attribute).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let project = text("project").filter(|project| project != NO_PROJECT);
    let account_name = text("Account_Name");
    let number = |attribute| record.get(attribute).and_then(|text| text.trim().parse().ok());
    let finished = is_finished(record.get("job_state").unwrap_or_default());
    let job = Job {
        id: id(record)?,
        name: record.get("Job_Name").unwrap_or_default().to_owned(),
        status: status(record, words),
        steps: None,
        times: times(record, finished),
        account: project.clone().or_else(|| account_name.clone()),
        allocation_nodes: number("Resource_List.nodect").unwrap_or(0),
        cluster: text("server").unwrap_or_default(),
        group: text("egroup").or_else(|| text("group_list")),
        nodes: text("exec_host").map_or_else(|| NO_NODES.to_owned(), |list| hosts(&list)),
        partition: text("queue").unwrap_or_default(),
        kill_request_user: record.get("comment").and_then(terminated_by),
        user: text("euser").or_else(|| text("Job_Owner").map(|owner| owner.split('@').next().unwrap_or_default().to_owned())),
        working_directory: text("init_work_dir").or_else(|| record.variable("PBS_O_WORKDIR")).unwrap_or_default(),
        priority: record.get("Priority").and_then(|text| text.trim().parse().ok()),
    };
    Ok(Found { job, accounts: [project, account_name], finished })
}

/// The files of a job. PBS keeps the script to itself and has no file for standard input.
///
/// # Errors
/// When its name is no job id.
pub(super) fn metadata(record: &Record) -> Result<JobMetadata, CommandError> {
    let path = |attribute: &str| record.get(attribute).map(|value| path_of(value.trim()).to_owned()).filter(|path| !path.is_empty());
    let (output, error) = (path("Output_Path"), path("Error_Path"));
    let (standard_output, standard_error) = match record.get("Join_Path").map(str::trim) {
        Some("oe") => (output.clone(), output),
        Some("eo") => (error.clone(), error),
        _ => (output, error),
    };
    Ok(JobMetadata { id: id(record)?, script: None, standard_input: None, standard_output, standard_error })
}

fn id(record: &Record) -> Result<JobId, CommandError> {
    shown_id(&record.name, record.get("server").map(str::trim)).map_err(|error| {
        let name: String = record.name.chars().take(80).collect();
        CommandError::Output { program: "qstat", reason: format!("{name:?}: {error}") }
    })
}

/// Who had the job deleted, of `... and terminated by jane@host`.
fn terminated_by(comment: &str) -> Option<String> {
    let (_, who) = comment.trim_end().rsplit_once(" terminated by ")?;
    who.split('@').next().filter(|user| !user.is_empty()).map(str::to_owned)
}

fn times(record: &Record, finished: bool) -> JobTimes {
    let time = |attribute| record.get(attribute).and_then(timestamp);
    let length = |attribute| record.get(attribute).and_then(duration);
    let (elapsed, limit) = (length("resources_used.walltime"), length("Resource_List.walltime"));
    let start = time("stime").or_else(|| time("start_time"));
    let end = if finished {
        // Newer releases tell when the job ended, Torque too; else it was when it became history, or what follows from its length.
        let ran_until = || Some(start?.saturating_add(elapsed?));
        ["obittime", "comp_time"]
            .into_iter()
            .find_map(time)
            .or_else(|| time("history_timestamp"))
            .or_else(ran_until)
            .or_else(|| time("mtime"))
    } else {
        start.zip(limit).map(|(start, limit)| start.saturating_add(limit))
    };
    let start = start.or_else(|| time("estimated.start_time").filter(|_| !finished));
    JobTimes { elapsed, start, end, limit, ..JobTimes::default() }
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::super::records::{Layout, records};
    use super::*;

    fn recorded_jobs(name: &str) -> Vec<Record> {
        records(&recorded(name).stdout, Layout { head: "Job Id: ", indented: true })
    }

    #[test]
    fn recorded_jobs_are_read() {
        let jobs: Vec<Job> = recorded_jobs("jobs.qstat").iter().map(|record| job(record, JobStates::Names).unwrap().job).collect();
        insta::assert_debug_snapshot!("jobs", jobs);
    }

    #[test]
    fn a_recorded_array_is_its_summary_and_its_subjobs() {
        let found: Vec<Found> = recorded_jobs("array.qstat").iter().map(|record| job(record, JobStates::Names).unwrap()).collect();
        let shown: Vec<_> = found.iter().map(|found| (found.job.id.as_str(), found.job.status.state.as_str(), found.finished)).collect();
        assert_eq!(
            shown,
            [("19[]", "RUNNING", false), ("19[1]", "CANCELLED", true), ("19[2]", "RUNNING", false), ("19[3]", "RUNNING", false)]
        );
    }

    #[test]
    fn recorded_files_are_read_without_their_host() {
        let all: Vec<JobMetadata> = recorded_jobs("jobs.qstat").iter().map(|record| metadata(record).unwrap()).collect();
        let files = |id: &str| {
            let one = all.iter().find(|one| one.id.as_str() == id).unwrap();
            (one.standard_output.as_deref().unwrap(), one.standard_error.as_deref().unwrap())
        };
        assert_eq!(files("5"), ("/home/jane/out.txt", "/home/jane/err.txt"));
        assert_eq!(files("19[]"), ("/home/jane/array.o19.^array_index^", "/home/jane/array.e19.^array_index^"));
    }

    #[test]
    fn who_deleted_a_job_is_told() {
        let cancelled = recorded_jobs("jobs.qstat").into_iter().find(|record| record.name == "9.pbs").unwrap();
        assert_eq!(job(&cancelled, JobStates::Names).unwrap().job.kill_request_user.as_deref(), Some("jane"));
    }

    fn one(attributes: &str) -> Record {
        let output = format!("Job Id: 7.srv\n    job_state = C\n    server = srv\n{attributes}");
        records(output.as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0)
    }

    #[test]
    fn joined_files_are_the_same_file() {
        let files = metadata(&one("    Join_Path = oe\n    Output_Path = h:/o\n    Error_Path = h:/e\n")).unwrap();
        assert_eq!((files.standard_output.as_deref(), files.standard_error.as_deref()), (Some("/o"), Some("/o")));
    }

    #[test]
    fn torque_tells_user_group_directory_and_end_by_attributes_of_its_own() {
        let record = one("    euser = jane\n    egroup = staff\n    Account_Name = acct\n    init_work_dir = /home/jane/w\n    \
             comp_time = Sat Nov 21 08:12:34 2026\n    exit_status = 0\n    start_time = Sat Nov 21 08:12:30 2026\n");
        let found = job(&record, JobStates::Names).unwrap();
        assert_eq!(
            (found.job.user.as_deref(), found.job.group.as_deref(), found.job.account.as_deref()),
            (Some("jane"), Some("staff"), Some("acct"))
        );
        assert_eq!((found.job.times.start, found.job.times.end), (Some(1_795_248_750), Some(1_795_248_754)));
        assert_eq!((found.job.working_directory.as_str(), found.job.nodes.as_str()), ("/home/jane/w", "None assigned"));
        assert_eq!((found.job.status.state.as_str(), found.job.status.exit_code), ("COMPLETED", Some(0)));
    }

    #[test]
    fn a_job_that_runs_ends_at_its_limit_at_the_latest() {
        let output = "Job Id: 7.srv\n    job_state = R\n    stime = Sat Nov 21 08:12:34 2026\n    Resource_List.walltime = 00:01:00\n";
        let record = records(output.as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0);
        assert_eq!(job(&record, JobStates::Names).unwrap().job.times.end, Some(1_795_248_814));
    }

    #[test]
    fn a_record_without_an_id_is_an_output_that_is_not_understood() {
        let record = records(b"Job Id: ; rm -rf\n", Layout { head: "Job Id: ", indented: true }).remove(0);
        assert!(matches!(job(&record, JobStates::Names), Err(CommandError::Output { .. })));
    }
}
