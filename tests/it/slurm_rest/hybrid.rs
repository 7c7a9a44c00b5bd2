//! slurmrestd together with the commands.

use super::*;

/// A hybrid scheduler whose commands answer by this script.
fn hybrid(url: &str, steps: impl IntoIterator<Item = Step>) -> SlurmHybrid {
    let ssh = SlurmCli::with_delimiter(Arc::new(ScriptedTransport::new(steps)), || Delimiter::fixed("test"));
    SlurmHybrid::new(rest_with(settings(url)), Arc::new(ssh))
}

const BY_REST: Option<Backend> = Some(Backend { by: Carrier::Rest, fallback: false });
const BY_SSH: Option<Backend> = Some(Backend { by: Carrier::Ssh, fallback: false });
const BY_SSH_INSTEAD: Option<Backend> = Some(Backend { by: Carrier::Ssh, fallback: true });
const NOWHERE: &str = "http://127.0.0.1:1";

/// Any command, which prints an id.
fn sbatch() -> Step {
    prints("", "77\n")
}

#[tokio::test]
async fn a_hybrid_asks_slurmrestd_first_and_says_so() {
    let service = slurmrestd(&["v0.0.42"], |seen| match seen.method {
        Method::POST => Reply::json(&json!({"job_id": 7})),
        _ => Reply::json(&json!({"nodes": []})),
    })
    .await;
    let slurm = hybrid(&service.url, []);
    let submitted = slurm.submit(&principal("jane"), &job()).await.unwrap();
    assert_eq!((submitted.via, submitted.value), (BY_REST, id("7")));
    assert_eq!(slurm.nodes(&principal("jane")).await.unwrap().via.unwrap().to_string(), "rest");
}

#[tokio::test]
async fn a_hybrid_submits_by_the_commands_where_slurmrestd_was_certainly_not_reached() {
    let submitted = hybrid(NOWHERE, [sbatch()]).submit(&principal("jane"), &job()).await.unwrap();
    assert_eq!((submitted.via, submitted.value), (BY_SSH_INSTEAD, id("77")));
    assert_eq!(submitted.via.unwrap().to_string(), "ssh; fallback");
}

#[tokio::test]
async fn a_hybrid_never_submits_a_second_time_what_may_have_been_taken() {
    for reply in [|| Reply::status(200, "{}"), || Reply::status(504, "late"), || Reply::status(500, "")] {
        let service = slurmrestd(&["v0.0.42"], move |_| reply()).await;
        // The script has no step: a command would fail the test.
        let error = hybrid(&service.url, []).submit(&principal("jane"), &job()).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Unanswered(_)), "{error:?}");
        assert_eq!(sent(&service.seen(), &Method::POST).len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_is_the_answer_and_the_commands_are_not_tried() {
    let body = r#"{"errors": [{"error_number": 2000, "error": "Invalid partition name specified"}]}"#;
    let service = slurmrestd(&["v0.0.42"], move |_| Reply::status(500, body)).await;
    let slurm = hybrid(&service.url, []);
    assert!(matches!(slurm.submit(&principal("jane"), &job()).await, Err(SchedulerError::Rejected(_))));
}

#[tokio::test]
async fn a_hybrid_gives_the_commands_what_slurmrestd_cannot_do() {
    let service = slurmrestd(&["v0.0.42"], |_| Reply::status(500, "it must not be asked")).await;
    let path = JobDescription { script: JobScript::Path(RemotePath::from_text("/home/jane/x.sh").unwrap()), ..job() };
    let gpu = JobDescription { script: JobScript::Inline("#!/bin/sh\n#SBATCH --gres=gpu:1\n".to_owned()), ..job() };
    for job in [path, gpu] {
        let submitted = hybrid(&service.url, [sbatch()]).submit(&principal("jane"), &job).await.unwrap();
        assert_eq!((submitted.via, submitted.value), (BY_SSH, id("77")));
    }
    let unknown = "slurm_load_jobs error: Invalid job id specified";
    let slurm = hybrid(&service.url, [fails("", 1, unknown)]);
    assert!(matches!(slurm.attach(&principal("jane"), &id("1"), "date").await, Err(SchedulerError::JobNotFound)));
    assert!(service.seen().is_empty());
}

#[tokio::test]
async fn a_hybrid_reads_by_the_commands_when_slurmrestd_gives_no_answer_and_leaves_it_alone_for_a_while() {
    let slurm = hybrid(NOWHERE, [prints("", ""), prints("", "")]);
    for _ in 0..2 {
        assert_eq!(slurm.nodes(&principal("jane")).await.unwrap().via, BY_SSH_INSTEAD);
    }
    let service = slurmrestd(&["v0.0.42"], |_| Reply::status(502, "no")).await;
    let slurm = hybrid(&service.url, [prints("", "")]);
    assert_eq!(slurm.nodes(&principal("jane")).await.unwrap().via, BY_SSH_INSTEAD);
}
