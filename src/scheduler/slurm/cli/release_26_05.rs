//! Recorded outputs of the commands of Slurm 26.05.

use super::delimiter::Delimiter;
use super::golden::recorded;
use super::sacct::{Runs, Sacct, Span};
use super::scancel::{Cancelled, Scancel};
use super::scontrol_job::JobFiles;
use super::squeue::{Queued, Selection, Squeue};
use crate::domain::{Job, JobId, TimeWindow};
use crate::scheduler::slurm::job_ref::JobRef;
use crate::ssh::RemoteCommand;

const RELEASE: &str = "26.05";
const ALL: Selection<'static> = Selection::Filter { user: None, account: None, name: None };

fn delimiter() -> Delimiter {
    Delimiter::fixed("golden0000")
}

fn squeue(case: &str) -> Vec<Queued> {
    Squeue { delimiter: delimiter(), selection: ALL }.parse(recorded(RELEASE, &format!("{case}.squeue"))).unwrap()
}

fn sacct(case: &str, selection: Selection<'_>) -> Vec<Job> {
    let command = Sacct { delimiter: delimiter(), selection, span: Span::Window(TimeWindow::OneDay), runs: Runs::All };
    command.parse(recorded(RELEASE, &format!("{case}.sacct"))).unwrap()
}

#[test]
fn jobs_of_the_controller_are_read_with_expected_times_apart() {
    let jobs = squeue("all");
    let job = |id: &str| &jobs.iter().find(|queued| queued.job.id.as_str() == id).unwrap_or_else(|| panic!("no job {id}")).job;
    assert_eq!((job("14").times.start, job("14").times.expected_start), (None, Some(1_796_053_823)));
    assert_eq!((job("8").times.start, job("8").times.end, job("8").times.expected_end), (Some(1_795_967_426), None, Some(1_795_971_026)));
    assert_eq!((job("8").status.exit_code, job("14").status.exit_code), (None, None));
    assert_eq!((job("64").status.state.as_str(), job("64").times.expected_end), ("CONFIGURING", None));
    assert_eq!((job("33").status.state.as_str(), job("35").status.state.as_str()), ("SPECIAL_EXIT", "STOPPED"));
}

#[test]
fn a_question_for_a_component_is_answered_with_all_of_them() {
    let ids = |case: &str| squeue(case).iter().map(|queued| queued.job.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids("het-component"), ["40+0", "40+1"]);
    assert_eq!(ids("het"), ["40+0", "40+1"]);
}

#[test]
fn the_runs_of_a_requeued_job_are_told_apart() {
    let id = JobId::new("31").unwrap();
    let runs = sacct("requeued-duplicates", Selection::Job(JobRef::new(&id).unwrap()));
    let told: Vec<_> = runs.iter().map(|run| (run.status.state.as_str(), run.times.start, run.times.end)).collect();
    assert_eq!(told, [("REQUEUED", Some(1_795_967_426), Some(1_795_967_427)), ("RUNNING", Some(1_795_967_549), None)]);
}

#[test]
fn a_job_that_never_started_has_no_start() {
    let jobs = sacct("all", ALL);
    let cancelled = jobs.iter().find(|job| job.id.as_str() == "25").unwrap();
    assert_eq!((cancelled.status.state.as_str(), cancelled.times.start), ("CANCELLED", None));
    // The controller writes the time of the cancellation as the start as well.
    let jobs = squeue("all");
    for id in ["169", "177+0", "177+1", "179"] {
        let job = &jobs.iter().find(|queued| queued.job.id.as_str() == id).unwrap_or_else(|| panic!("no job {id}")).job;
        let told = (job.status.state.as_str(), job.times.start, job.times.end, job.times.elapsed);
        assert_eq!(told, ("CANCELLED", None, Some(1_795_967_758), Some(0)), "{id}");
    }
}

#[test]
fn the_files_of_a_job_are_paths_whatever_follows_them() {
    for (case, number) in [("gres", "61"), ("fill", "8")] {
        let id = JobId::new(number).unwrap();
        let files = JobFiles(JobRef::new(&id).unwrap()).parse(recorded(RELEASE, &format!("{case}.scontrol"))).unwrap();
        let output = format!("/home/fireuser/slurm-{number}.out");
        assert_eq!(files[0].standard_output.as_deref(), Some(output.as_str()), "{case}");
        assert_eq!(files[0].standard_error.as_deref(), Some(output.as_str()), "{case}");
    }
}

#[test]
fn cancellations_are_understood() {
    let cancel = |number: &str, case: &str| {
        let id = JobId::new(number).unwrap();
        Scancel(JobRef::new(&id).unwrap()).parse(recorded(RELEASE, case))
    };
    assert_eq!(cancel("999999", "unknown.scancel").unwrap(), Cancelled::NotKnown);
    assert!(cancel("42+1", "het-component.scancel").is_err());
}
