//! scontrol(1) once more: the files and the script of a job that the controller knows.

use super::file_names::NO_TASK;
use super::slurm_command;
use crate::domain::{JobId, JobMetadata, bytes_to_text};
use crate::scheduler::slurm::job_ref::JobRef;
use crate::scheduler::slurm::values::text;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The fields that scontrol prints after the files of a job.
const AFTER_THE_FILES: [&str; 24] = [
    "Power",
    "OOMKillStep",
    "NtasksPerTRES",
    "CpusPerTres",
    "MemPerTres",
    "TresBind",
    "TresFreq",
    "TresPerJob",
    "TresPerNode",
    "TresPerSocket",
    "TresPerTask",
    "MailUser",
    "MailType",
    "SegmentSize",
    "SpreadSegments",
    "ConsolidateSegments",
    "Switches",
    "GresAllowTaskSharing",
    "GresEnforceBind",
    "GresOneTaskPerSharing",
    "SpreadJob",
    "ExpeditedRequeue",
    "SELinuxContext",
    "ResvPorts",
];

/// Of such fields, those whose values may hold blanks.
const FREE_AFTER_THE_FILES: [&str; 4] = [" BurstBuffer=", " BurstBufferState=", " ContainerType=", " Container="];

/// Asks for the files of a job. squeue has fields for them as well, but with patterns left as they are, or expanded
/// wrongly for tasks of arrays.
pub(super) struct JobFiles<'a>(pub(super) JobRef<'a>);

impl RemoteCommand for JobFiles<'_> {
    type Output = Vec<JobMetadata>;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("--oneliner").flag("show").flag("job").arg(self.0.read_as())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let output = bytes_to_text(&raw.stdout);
        let files: Vec<JobMetadata> = records(&output).filter_map(files).filter(|files| self.0.covers(&files.id)).collect();
        if files.is_empty() {
            let reason = format!("no record of job {}", self.0.as_str());
            return Err(CommandError::Output { program: "scontrol", reason });
        }
        Ok(files)
    }
}

/// Splits where a line starts as a record does. A job's name and paths may contain such a line too. It can forge only parts of that same
/// job: only records of this job are used, and its owner may choose their text anyway.
fn records(output: &str) -> impl Iterator<Item = &str> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in output.split_inclusive('\n') {
        if line.starts_with("JobId=") {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().copied().skip(1).chain([output.len()]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|(start, end)| &output[start..end])
}

fn files(record: &str) -> Option<JobMetadata> {
    // The ids come before all free text, the files after it, in this order.
    let (head, _) = record.split_once(" JobName=")?;
    let value = |key: &str| head.split(' ').find_map(|word| word.strip_prefix(key));
    let job = value("JobId=")?;
    let is_array = value("ArrayTaskId=").is_some_and(|tasks| !tasks.bytes().all(|byte| byte.is_ascii_digit()));
    let printed = match (value("ArrayJobId="), value("ArrayTaskId="), value("HetJobId="), value("HetJobOffset=")) {
        (Some(array), Some(task), ..) if !is_array => format!("{array}_{task}"),
        (Some(array), ..) => array.to_owned(),
        (None, _, Some(leader), Some(offset)) => format!("{leader}+{offset}"),
        _ => job.to_owned(),
    };
    let (before, output) = record.rsplit_once(" StdOut=")?;
    let (before, input) = before.rsplit_once(" StdIn=")?;
    let (_, error) = before.rsplit_once(" StdErr=")?;
    let output = without_later_fields(output.trim_end_matches(['\n', ' ']));
    // The output of 22.05 and later for `%a` in the files of tasks that wait. A job that is no task has this number in its files.
    let path = |value: &str| text(value).map(|path| if is_array { path.replace(&NO_TASK.to_string(), "%a") } else { path });
    // Standard error goes where standard output does, unless the job says otherwise.
    let standard_output = path(output);
    let standard_error = path(error).or_else(|| standard_output.clone());
    let (id, standard_input) = (JobId::new(&printed).ok()?, path(input));
    Some(JobMetadata { id, script: None, standard_input, standard_output, standard_error, is_array })
}

/// The last file alone. Some fields may follow it, by release and by what the job asks for; their values hold no space.
fn without_later_fields(mut output: &str) -> &str {
    if let Some(at) = FREE_AFTER_THE_FILES.iter().filter_map(|field| output.find(field)).min() {
        output = &output[..at];
    }
    while let Some((before, field)) = output.rsplit_once(' ') {
        let Some((key, _)) = field.split_once('=') else { break };
        if !(AFTER_THE_FILES.contains(&key) || key.starts_with("CPU_") || key.starts_with("KillO")) {
            break;
        }
        output = before;
    }
    output
}

/// Asks for the script of a job. `None` if there is none (an interactive job), or where only others may read it.
pub(super) struct JobScriptText<'a>(pub(super) JobRef<'a>);

impl RemoteCommand for JobScriptText<'_> {
    type Output = Option<String>;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("write").flag("batch_script").arg(self.0.read_as()).flag("-")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        // The status is 0 in some releases even when it failed.
        let stderr = bytes_to_text(&raw.stderr);
        if stderr.contains("job script retrieval failed") {
            let none = ["Invalid job id specified", "Invalid user id", "ermission denied", "Batch script"];
            return if none.iter().any(|text| stderr.contains(text)) {
                Ok(None)
            } else {
                Err(CommandError::Exit { exit: raw.exit.max(1), stderr: stderr.trim().to_owned() })
            };
        }
        raw.success()?;
        Ok(Some(bytes_to_text(&raw.stdout)).filter(|script| !script.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::{RELEASES, recorded};
    use super::*;
    use crate::scheduler::SchedulerError;

    fn first_id(raw: &RawOutput) -> JobId {
        let output = bytes_to_text(&raw.stdout);
        let head = output.split(" JobName=").next().unwrap();
        let value = |key: &str| head.split(' ').find_map(|word| word.strip_prefix(key)).map(str::to_owned);
        JobId::new(&value("ArrayJobId=").or_else(|| value("JobId=")).unwrap()).unwrap()
    }

    fn files_of(release: &str, case: &str) -> (JobId, Vec<JobMetadata>) {
        let raw = recorded(release, &format!("{case}.scontrol"));
        let id = first_id(&raw);
        let files = JobFiles(JobRef::new(&id).unwrap()).parse(raw).unwrap();
        (id, files)
    }

    #[test]
    fn the_files_of_an_array_are_those_of_its_tasks_and_a_pattern_for_those_that_wait() {
        for release in RELEASES {
            let (id, files) = files_of(release, "array");
            let output = |id: &str| files.iter().find(|files| files.id.as_str() == id).unwrap().standard_output.clone().unwrap();
            assert_eq!(output(&format!("{id}_1")), format!("/home/fireuser/slurm-{id}_1.out"), "{release}");
            assert_eq!(output(id.as_str()), format!("/home/fireuser/slurm-{id}_%a.out"), "{release}");
            assert!(files.iter().all(|files| files.is_array == (files.id == id)), "{release}: {files:?}");
        }
    }

    #[test]
    fn a_hostile_name_leaves_the_files_alone() {
        for release in RELEASES {
            let (id, files) = files_of(release, "live");
            assert_eq!(files.len(), 1, "{release}");
            assert_eq!((&files[0].id, files[0].standard_output.as_deref()), (&id, Some("/dev/null")), "{release}");
            assert_eq!(files[0].standard_input.as_deref(), Some("/dev/null"), "{release}");
        }
    }

    #[test]
    fn fields_that_follow_the_files_are_not_taken_for_a_part_of_them() {
        let id = JobId::new("5").unwrap();
        for after in [
            " Power=",
            " Power= MailUser=a@b MailType=END",
            " SegmentSize=1 SpreadSegments=Yes",
            " BurstBuffer=#BB create a b",
            " CPU_max_freq=High KillOInInvalidDependent=Yes",
            " KillOnInvalidDependent=No ResvPorts=1-2 ContainerType=oci Container=/a b ContainerID=x",
            " OOMKillStep=0 TresPerNode=gres/gpu:0 TresPerTask=cpu:1 MailUser=a@b MailType=END",
        ] {
            let stdout = format!("JobId=5 JobName=x WorkDir=/w StdErr=/w/e StdIn=/dev/null StdOut=/w/o ut=1.txt{after} \n").into_bytes();
            let files = JobFiles(JobRef::new(&id).unwrap()).parse(RawOutput { stdout, ..RawOutput::default() }).unwrap();
            assert_eq!(files[0].standard_output.as_deref(), Some("/w/o ut=1.txt"), "{after}");
        }
    }

    #[test]
    fn a_job_that_is_no_task_has_the_number_that_slurm_gives_it_as_one() {
        let id = JobId::new("5").unwrap();
        let stdout = b"JobId=5 JobName=x WorkDir=/w StdErr=/w/5_4294967294 StdIn=/dev/null StdOut=/w/5_4294967294 \n".to_vec();
        let files = JobFiles(JobRef::new(&id).unwrap()).parse(RawOutput { stdout, ..RawOutput::default() }).unwrap();
        assert_eq!(files[0].standard_output.as_deref(), Some("/w/5_4294967294"));
        assert_eq!(files[0].standard_error.as_deref(), Some("/w/5_4294967294"));
    }

    #[test]
    fn standard_error_that_is_not_named_goes_where_standard_output_does() {
        let id = JobId::new("5").unwrap();
        let stdout = b"JobId=5 JobName=x WorkDir=/w StdErr= StdIn=/dev/null StdOut=/w/o SegmentSize=1 \n".to_vec();
        let files = JobFiles(JobRef::new(&id).unwrap()).parse(RawOutput { stdout, ..RawOutput::default() }).unwrap();
        assert_eq!((files[0].standard_output.as_deref(), files[0].standard_error.as_deref()), (Some("/w/o"), Some("/w/o")));
    }

    #[test]
    fn a_record_forged_by_a_name_tells_nothing_of_another_job() {
        let name = "x\nJobId=77 JobName=y StdErr=/e StdIn=/i StdOut=/forged";
        let stdout = format!("JobId=5 JobName={name} UserId=u WorkDir=/w StdErr=/w/e StdIn=/dev/null StdOut=/w/o \n").into_bytes();
        let id = JobId::new("5").unwrap();
        let parsed = JobFiles(JobRef::new(&id).unwrap()).parse(RawOutput { stdout, ..RawOutput::default() });
        assert!(parsed.is_err() || parsed.unwrap().iter().all(|files| files.id == id));
    }

    #[test]
    fn a_job_that_is_not_there_is_not_found() {
        for release in RELEASES {
            let id = JobId::new("99999").unwrap();
            let error = JobFiles(JobRef::new(&id).unwrap()).parse(recorded(release, "unknown.scontrol")).unwrap_err();
            assert!(matches!(explain("x")(error), SchedulerError::JobNotFound), "{release}");
        }
    }

    #[test]
    fn a_script_is_read_and_one_that_only_others_may_read_is_none() {
        for release in RELEASES {
            let id = JobId::new("1").unwrap();
            let script = |case: &str| JobScriptText(JobRef::new(&id).unwrap()).parse(recorded(release, case)).unwrap();
            assert!(script("array.scontrol-script").unwrap().starts_with("#!/bin/sh\n"), "{release}");
            assert_eq!(script("live.scontrol-script"), None, "{release}");
        }
    }

    #[test]
    fn a_script_that_could_not_be_asked_for_is_an_error_although_scontrol_succeeds() {
        let id = JobId::new("1").unwrap();
        let stderr = b"job script retrieval failed: Unable to contact slurm controller (connect failure)\n".to_vec();
        let error = JobScriptText(JobRef::new(&id).unwrap()).parse(RawOutput { stderr, ..RawOutput::default() }).unwrap_err();
        assert!(matches!(explain("x")(error), SchedulerError::Down(_)));
    }
}
