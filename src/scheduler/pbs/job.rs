//! A record of qstat as a job, and as its files.

use super::config::{AccountOption, Config};
use super::job_ref::shown_id;
use super::records::PbsRecord;
use super::status::{is_finished, is_waiting, status};
use super::values::{duration, hosts, path_of, timestamp};
use crate::domain::{Job, JobId, JobMetadata, JobTimes};
use crate::ssh::CommandError;

/// The project of a job that names none.
const NO_PROJECT: &str = "_pbs_project_default";

/// The text that clients know from Slurm for a job without nodes.
const NO_NODES: &str = "None assigned";

/// A job with the fields that it is filtered by.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The job.
    pub(super) job: Job,
    /// Whether its state is final.
    pub(super) finished: bool,
}

/// The job that a record is.
///
/// # Errors
/// If its name is no job id.
pub(super) fn job(record: &PbsRecord, config: Config) -> Result<Found, CommandError> {
    let text = |attribute: &str| record.get(attribute).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let account = match config.account {
        // Torque has no projects.
        AccountOption::Project if record.get("project").is_some() => text("project").filter(|project| project != NO_PROJECT),
        AccountOption::Project | AccountOption::AccountName => text("Account_Name"),
    };
    let number = |attribute| record.get(attribute).and_then(|text| text.trim().parse().ok());
    let finished = is_finished(record.get("job_state").unwrap_or_default());
    let job = Job {
        id: id(record)?,
        name: record.get("Job_Name").unwrap_or_default().to_owned(),
        status: status(record, config.job_states),
        steps: None,
        times: times(record, finished),
        account,
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
    Ok(Found { job, finished })
}

/// The files of a job. PBS keeps the script to itself and has no file for standard input.
///
/// # Errors
/// If its name is no job id.
pub(super) fn metadata(record: &PbsRecord) -> Result<JobMetadata, CommandError> {
    let (output, error) = (file(record, &STANDARD_OUTPUT), file(record, &STANDARD_ERROR));
    let (standard_output, standard_error) = match record.get("Join_Path").map(str::trim) {
        Some("oe") => (output.clone(), output),
        Some("eo") => (error.clone(), error),
        _ => (output, error),
    };
    let is_array = record.get("array").is_some_and(|array| array.trim() == "True");
    Ok(JobMetadata { id: id(record)?, script: None, standard_input: None, standard_output, standard_error, is_array })
}

/// One of the two files that a job writes, as PBS names it.
struct OutputFile {
    attribute: &'static str,
    /// The letter of the stream in `Keep_Files`, and in the name of a kept file.
    letter: char,
    /// The suffix of its name in the spool, which it keeps in a directory.
    suffix: &'static str,
}

const STANDARD_OUTPUT: OutputFile = OutputFile { attribute: "Output_Path", letter: 'o', suffix: ".OU" };
const STANDARD_ERROR: OutputFile = OutputFile { attribute: "Error_Path", letter: 'e', suffix: ".ER" };

/// The path of a file of the job after its end.
fn file(record: &PbsRecord, file: &OutputFile) -> Option<String> {
    if let Some(kept) = kept_file(record, file.letter) {
        return Some(kept);
    }
    let path = path_of(record.get(file.attribute)?.trim());
    match path {
        "" => None,
        directory if directory.ends_with('/') => Some(format!("{directory}{}{}", record.name.trim(), file.suffix)),
        path => Some(path.to_owned()),
    }
}

/// The file of a job that is to keep it where it runs (`qsub -k`): in the home directory, under the name of the job. With `d` the
/// file is written to the requested path.
fn kept_file(record: &PbsRecord, letter: char) -> Option<String> {
    let kept = record.get("Keep_Files")?.trim();
    if kept == "n" || kept.contains('d') || !kept.contains(letter) {
        return None;
    }
    let home = record.get("jobdir").map(|directory| directory.trim().to_owned()).or_else(|| record.variable("PBS_O_HOME"))?;
    let name = record.get("Job_Name")?;
    let number: String = record.name.chars().take_while(char::is_ascii_digit).collect();
    let index = record.get("array_index").map(|index| format!(".{}", index.trim())).unwrap_or_default();
    Some(format!("{home}/{name}.{letter}{number}{index}"))
}

fn id(record: &PbsRecord) -> Result<JobId, CommandError> {
    shown_id(&record.name, record.get("server").map(str::trim)).map_err(|error| {
        let name: String = record.name.chars().take(80).collect();
        CommandError::Output { program: "qstat", reason: format!("{name:?}: {error}") }
    })
}

/// The user who deleted the job, from `... and terminated by jane@host`.
fn terminated_by(comment: &str) -> Option<String> {
    let (_, who) = comment.trim_end().rsplit_once(" terminated by ")?;
    who.split('@').next().filter(|user| !user.is_empty()).map(str::to_owned)
}

fn times(record: &PbsRecord, finished: bool) -> JobTimes {
    let time = |attribute| record.get(attribute).and_then(timestamp);
    let length = |attribute| record.get(attribute).and_then(duration);
    let (elapsed, limit) = (length("resources_used.walltime"), length("Resource_List.walltime"));
    // A subjob that is pending, or was deleted while pending, may have the start time of its array.
    let waiting = is_waiting(record.get("job_state").unwrap_or_default());
    let never_placed = finished && record.get("array_id").is_some() && record.get("exec_host").is_none();
    let start = time("stime").or_else(|| time("start_time")).filter(|_| !waiting && !never_placed);
    // An unfinished job has no end, and a pending one no start: the estimates of PBS are neither.
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
        None
    };
    let expected_start = time("estimated.start_time").filter(|_| waiting);
    let expected_end = if finished { None } else { start.zip(limit).map(|(start, limit)| start.saturating_add(limit)) };
    JobTimes { elapsed, start, end, expected_start, expected_end, suspended: None, limit }
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::super::records::{Layout, records};
    use super::*;
    use crate::domain::bytes_to_text;

    fn recorded_jobs(name: &str) -> Vec<PbsRecord> {
        records(&recorded(name).stdout, Layout { head: "Job Id: ", indented: true })
    }

    #[test]
    fn recorded_jobs_are_read() {
        let jobs: Vec<Job> = recorded_jobs("jobs.qstat").iter().map(|record| job(record, Config::default()).unwrap().job).collect();
        insta::assert_debug_snapshot!("jobs", jobs);
    }

    #[test]
    fn a_recorded_array_is_its_summary_and_its_subjobs() {
        let found: Vec<Found> = recorded_jobs("array.qstat").iter().map(|record| job(record, Config::default()).unwrap()).collect();
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
        assert!(all.iter().all(|one| one.is_array == one.id.as_str().ends_with("[]")));
    }

    #[test]
    fn who_deleted_a_job_is_told() {
        let cancelled = recorded_jobs("jobs.qstat").into_iter().find(|record| record.name == "9.pbs").unwrap();
        assert_eq!(job(&cancelled, Config::default()).unwrap().job.kill_request_user.as_deref(), Some("jane"));
    }

    fn one(attributes: &str) -> PbsRecord {
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
        let found = job(&record, Config::default()).unwrap();
        assert_eq!(
            (found.job.user.as_deref(), found.job.group.as_deref(), found.job.account.as_deref()),
            (Some("jane"), Some("staff"), Some("acct"))
        );
        assert_eq!((found.job.times.start, found.job.times.end), (Some(1_795_248_750), Some(1_795_248_754)));
        assert_eq!((found.job.working_directory.as_str(), found.job.nodes.as_str()), ("/home/jane/w", "None assigned"));
        assert_eq!((found.job.status.state.as_str(), found.job.status.exit_code), ("COMPLETED", Some(0)));
    }

    #[test]
    fn a_file_in_a_directory_and_one_that_is_kept_are_told_where_they_are() {
        let files = |name: &str| metadata(&recorded_jobs(&format!("openpbs-23.06.06/{name}"))[0]).unwrap();
        let kept = files("output-directory.qstat");
        assert_eq!(kept.standard_output.as_deref(), Some("/home/fireuser/dirout.o47721"));
        assert_eq!(kept.standard_error.as_deref(), Some("/home/fireuser/dirout.e47721"));
        let in_directory = |keep: &str| {
            let text = bytes_to_text(&recorded("openpbs-23.06.06/output-directory.qstat").stdout).replace("Keep_Files = oe", keep);
            let record = records(text.as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0);
            metadata(&record).unwrap()
        };
        for keep in ["Keep_Files = n", "Keep_Files = doe"] {
            assert_eq!(in_directory(keep).standard_output.as_deref(), Some("/home/fireuser/h8/outdir/47721.pbs.OU"), "{keep}");
            assert_eq!(in_directory(keep).standard_error.as_deref(), Some("/home/fireuser/h8/dirout.e47721"), "{keep}");
        }
    }

    #[test]
    fn the_account_is_what_the_site_says_it_is() {
        let record = one("    project = proj\n    Account_Name = acct\n");
        let account = |account| job(&record, Config { account, ..Config::default() }).unwrap().job.account;
        assert_eq!(account(AccountOption::Project).as_deref(), Some("proj"));
        assert_eq!(account(AccountOption::AccountName).as_deref(), Some("acct"));
        let record = one("    project = _pbs_project_default\n");
        let account = |account| job(&record, Config { account, ..Config::default() }).unwrap().job.account;
        assert_eq!((account(AccountOption::Project), account(AccountOption::AccountName)), (None, None));
    }

    #[test]
    fn a_job_that_waits_has_no_start_and_one_that_goes_on_has_no_end() {
        for letter in ["Q", "H", "W", "T"] {
            let output = format!(
                "Job Id: 7[2].srv\n    job_state = {letter}\n    stime = Sat Nov 21 08:12:34 2026\n    estimated.start_time = Sat Nov 21 09:12:34 2026\n"
            );
            let record = records(output.as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0);
            let times = job(&record, Config::default()).unwrap().job.times;
            assert_eq!((times.start, times.end, times.expected_end), (None, None, None), "{letter}");
            assert_eq!(times.expected_start, Some(1_795_252_354), "{letter}");
        }
    }

    #[test]
    fn a_job_that_ended_while_it_waited_has_no_start() {
        for name in ["deleted-queued", "deleted-held", "dependency-failed"] {
            let found = job(&recorded_jobs(&format!("openpbs-23.06.06/{name}.qstat"))[0], Config::default()).unwrap();
            assert_eq!((found.job.status.state.as_str(), found.job.times.start), ("CANCELLED", None), "{name}");
            assert!(found.job.times.end.is_some(), "{name}");
        }
        let subjob = |placed: &str| {
            let text = format!(
                "Job Id: 7[2].srv\n    job_state = X\n    array_id = 7[].srv\n    stime = Sat Nov 21 08:12:34 2026\n    substate = 91\n{placed}"
            );
            let record = records(text.as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0);
            job(&record, Config::default()).unwrap().job.times.start
        };
        assert_eq!((subjob(""), subjob("    exec_host = n1/0\n")), (None, Some(1_795_248_754)));
    }

    #[test]
    fn the_limit_of_a_job_that_runs_is_no_end() {
        let output = "Job Id: 7.srv\n    job_state = R\n    stime = Sat Nov 21 08:12:34 2026\n    Resource_List.walltime = 00:01:00\n";
        let record = records(output.as_bytes(), Layout { head: "Job Id: ", indented: true }).remove(0);
        let times = job(&record, Config::default()).unwrap().job.times;
        assert_eq!((times.start, times.end, times.limit), (Some(1_795_248_754), None, Some(60)));
        assert_eq!((times.expected_start, times.expected_end), (None, Some(1_795_248_814)));
    }

    #[test]
    fn a_record_without_an_id_is_an_output_that_is_not_understood() {
        let record = records(b"Job Id: ; rm -rf\n", Layout { head: "Job Id: ", indented: true }).remove(0);
        assert!(matches!(job(&record, Config::default()), Err(CommandError::Output { .. })));
    }
}
