//! The files of Slurm's jobs, whose names may be patterns.

use std::sync::Arc;

use goldcrest::domain::{JobId, JobMetadata};
use goldcrest::scheduler::Scheduler;
use goldcrest::scheduler::slurm::{Delimiter, SlurmCli};

use crate::support::principal;
use crate::support::scripted::{ScriptedTransport, Step, fails, prints};

const DELIMITER: &str = "\u{1f}test";
const COMMAND: &str = "env LC_ALL=C SLURM_TIME_FORMAT=%s";

async fn metadata(steps: Vec<Step>) -> JobMetadata {
    let slurm = SlurmCli::with_delimiter(Arc::new(ScriptedTransport::new(steps)), || Delimiter::fixed("test"));
    slurm.metadata(&principal("jane"), &JobId::new("7").unwrap()).await.unwrap().value.remove(0)
}

fn record(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("{field}{DELIMITER}")).collect::<String>() + "\n"
}

/// scontrol about a job whose output it names so.
fn shown(output: &str) -> Step {
    let line = format!("JobId=7 JobName=x WorkDir=/w StdErr=/w/e StdIn=/dev/null StdOut={output} \n");
    prints(&format!("{COMMAND} scontrol --oneliner show job '7'"), line)
}

fn script() -> Step {
    prints(&format!("{COMMAND} scontrol write batch_script '7' -"), "#!/bin/sh\n")
}

/// The line that asks the controller for the names as they were given.
fn given() -> String {
    let fields = ["JobArrayID", "JobID", "NodeList", "UserName", "StdIn", "StdOut", "StdErr", "WorkDir", "Name"];
    let format: Vec<String> = fields.iter().map(|field| format!("{field}:{DELIMITER}")).collect();
    format!("{COMMAND} squeue --noheader --all --states=all --Format='{}' --jobs='7'", format.join(","))
}

#[tokio::test]
async fn a_name_that_scontrol_leaves_as_a_pattern_is_settled_by_the_one_that_was_given() {
    let fields = |nodes, output| record(&["7", "7", nodes, "jane", "/dev/null", output, "/w/e", "/w", "x"]);
    for (printed, nodes, output, expected) in [
        ("/w/slurm.%N.7.out", "n[2-3]", "/w/slurm.%N.%j.out", Some("/w/slurm.n2.7.out")),
        ("/w/%5j", "n1", "/w/%5j", Some("/w/00007")),
        (r"/w/x\7", "n1", r"/w/x\%j", Some("/w/x%j")),
        ("/w/N-(null)", "", "/w/N-%N", None),
        ("/w/z%q", "n1", "/w/z%q", None),
    ] {
        let files = metadata(vec![shown(printed), script(), prints(&given(), fields(nodes, output))]).await;
        assert_eq!((files.standard_output.as_deref(), files.standard_error.as_deref()), (expected, Some("/w/e")), "{printed}");
        assert_eq!(files.script.as_deref(), Some("#!/bin/sh\n"));
    }
}

#[tokio::test]
async fn a_name_without_a_pattern_costs_no_further_command_and_one_of_a_job_that_is_gone_is_unknown() {
    assert_eq!(metadata(vec![shown("/w/7.out"), script()]).await.standard_output.as_deref(), Some("/w/7.out"));
    let gone = fails(&given(), 1, "slurm_load_jobs error: Invalid job id specified");
    assert_eq!(metadata(vec![shown("/w/%N"), script(), gone]).await.standard_output, None);
}
