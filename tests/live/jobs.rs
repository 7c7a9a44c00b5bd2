//! Jobs on a real Slurm.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::environment::{Live, wait_for};
use crate::processes;

/// What a job is in when nothing more happens to it.
const ENDED: [&str; 5] = ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"];

pub async fn a_job_runs_to_its_end_and_leaves_its_output(live: &Live) {
    run_a_job(live, "slurm").await;
    run_a_job(live, "slurm-tight").await;
    run_a_job(live, "slurm-nosftp").await;
}

pub async fn the_second_release_runs_a_job_too(live: &Live) {
    run_a_job(live, "slurm24").await;
}

pub async fn the_third_release_runs_a_job_too(live: &Live) {
    run_a_job(live, "slurm26").await;
    run_a_job(live, "slurm26-hybrid").await;
}

async fn run_a_job(live: &Live, system: &str) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder(system, "fireuser").await;
    let value = "it's $HOME, \"quoted\" `id`";
    let script = "#!/bin/bash\nprintf '%s\\n' \"$GOLDCREST_WORD\"\npwd\nwhoami\n";
    let job = json!({"job": {
        "name": "live 'job'",
        "workingDirectory": folder,
        "standardOutput": format!("{folder}/out put.txt"),
        "standardError": format!("{folder}/err.txt"),
        "env": {"GOLDCREST_WORD": value},
        "script": script,
    }});
    let answer = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201);
    let id = answer.json()["jobId"].as_str().unwrap().to_owned();
    let ended = api.wait_for_state(system, &id, &ENDED).await;
    assert!(ended["status"]["state"].as_str().unwrap().contains("COMPLETED"), "{system}: {ended}");
    assert_eq!(ended["jobId"], id, "{system}");
    assert_eq!(ended["name"], "live 'job'", "{system}: {ended}");
    assert_eq!(ended["user"], "fireuser", "{system}: {ended}");
    assert_eq!(ended["status"]["exitCode"], 0, "{system}: {ended}");
    assert_eq!(ended["workingDirectory"], folder, "{system}: {ended}");

    let metadata = api.get(&format!("/compute/{system}/jobs/{id}/metadata"), &[]).await.expect(200).json();
    assert_eq!(metadata["jobs"][0]["jobId"], id, "{system}: {metadata}");
    assert_eq!(metadata["jobs"][0]["standardOutput"], format!("{folder}/out put.txt"), "{system}: {metadata}");
    let output = wait_for("the job's output is there", Duration::from_secs(10), || async {
        let answer = api.file(system, "view", &format!("{folder}/out put.txt")).await;
        (answer.status == 200).then(|| answer.json()["output"].as_str().unwrap().to_owned()).filter(|text| text.lines().count() == 3)
    })
    .await;
    assert_eq!(output, format!("{value}\n{folder}\nfireuser\n"), "{system}");
    api.remove(system, &folder).await;
}

pub async fn accounting_has_a_job_for_its_owner_by_id_and_by_time(live: &Live) {
    for system in ["slurm", "slurm24"] {
        let api = live.api("fireuser").await;
        let folder = api.new_folder(system, "fireuser").await;
        let before = (jiff::Timestamp::now().as_second() - 5).to_string();
        let id = api.submit(system, &folder, "#!/bin/bash\ntrue\n").await;
        api.wait_for_state(system, &id, &["COMPLETED"]).await;
        let path = format!("/compute/{system}/acct");
        let found = async |query: &[(&str, &str)]| {
            let answer = api.get(&path, query).await.expect(200).json();
            answer["jobs"].as_array().unwrap().iter().any(|job| job["jobId"] == id.as_str())
        };
        wait_for("accounting has the job", Duration::from_secs(30), || async { found(&[("jobs", &id)]).await.then_some(()) }).await;
        // Until now is not yet the second in which it ended.
        let since_before_it = || async { found(&[("starttime", &before)]).await.then_some(()) };
        wait_for("accounting has the job by its time", Duration::from_secs(30), since_before_it).await;
        assert!(!found(&[("endtime", &before), ("starttime", "0")]).await, "{system}: until before it");
        let page = api.get(&path, &[("starttime", &before), ("pageSize", "1")]).await.expect(200);
        assert_eq!(page.json()["jobs"].as_array().map(Vec::len), Some(1), "{system}");
        let other = live.api("otheruser").await.get(&path, &[("jobs", &id)]).await.expect(200).json();
        assert_eq!(other["jobs"].as_array().map(Vec::len), Some(0), "{system}: another user's question: {other}");
        api.remove(system, &folder).await;
    }
}

pub async fn a_running_job_is_cancelled(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let id = api.submit("slurm", &folder, "#!/bin/bash\nsleep 600\n").await;
    api.wait_for_state("slurm", &id, &["RUNNING"]).await;
    // Another user may see that job, and may not end it.
    let other = live.api("otheruser").await.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await;
    assert!([403, 404].contains(&other.status), "another user's cancel: {}", other.status);
    api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    api.wait_for_state("slurm", &id, &["CANCELLED"]).await;
    let other = live.api("otheruser").await.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await;
    assert!([403, 404].contains(&other.status), "another user's cancel after the end: {}", other.status);
    api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    api.remove("slurm", &folder).await;
}

pub async fn array_and_dependent_jobs_are_listed(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let array = api.submit("slurm", &folder, "#!/bin/bash\n#SBATCH --array=0-2\nsleep 600\n").await;
    let script = format!("#!/bin/bash\n#SBATCH --dependency=afterok:{array}\ntrue\n");
    let dependent = api.submit("slurm", &folder, &script).await;
    wait_for("both jobs are in the list", Duration::from_secs(30), || async {
        let jobs = api.get("/compute/slurm/jobs", &[]).await.expect(200).json();
        let ids: Vec<String> = jobs["jobs"].as_array()?.iter().map(|job| job["jobId"].as_str().unwrap().to_owned()).collect();
        let array_listed = ids.iter().any(|id| *id == array || id.starts_with(&format!("{array}_")));
        (array_listed && ids.contains(&dependent)).then_some(())
    })
    .await;
    let waiting = api.get(&format!("/compute/slurm/jobs/{dependent}"), &[]).await.expect(200).json();
    assert!(state(&waiting["jobs"][0]).contains("PENDING"), "{waiting}");
    // One task by its own id, which holds an underscore.
    let task = api.wait_for_state("slurm", &format!("{array}_1"), &["PENDING", "RUNNING"]).await;
    assert_eq!(task["user"], "fireuser", "{task}");
    for id in [&dependent, &array] {
        api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    }
    api.wait_for_state("slurm", &dependent, &["CANCELLED"]).await;
    api.remove("slurm", &folder).await;
}

pub async fn a_command_is_attached_to_a_running_job(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let id = api.submit("slurm", &folder, "#!/bin/bash\nsleep 600\n").await;
    api.wait_for_state("slurm", &id, &["RUNNING"]).await;
    let command = format!("echo \"$SLURM_JOB_ID it's here\" > {folder}/attached");
    api.put(&format!("/compute/slurm/jobs/{id}/attach"), &json!({"command": command})).await.expect(204);
    assert_eq!(std::fs::read_to_string(format!("{folder}/attached")).unwrap(), format!("{id} it's here\n"));
    api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    api.remove("slurm", &folder).await;
}

pub async fn a_hung_command_times_out_and_is_stopped(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    let id = api.submit("slurm", &folder, "#!/bin/bash\nsleep 600\n").await;
    api.wait_for_state("slurm", &id, &["RUNNING"]).await;
    // The mark stands in the command line of every process that carries the command.
    let mark = format!("goldcrest-hung-{}", uuid::Uuid::new_v4().simple());
    let command = format!("exec bash -c 'exec -a {mark} sleep 300'");
    let begun = Instant::now();
    let answer = api.put(&format!("/compute/slurm/jobs/{id}/attach"), &json!({"command": command})).await.expect(408);
    assert!(answer.message().contains("exit status:124"), "{}", answer.message());
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let left = tokio::time::timeout(
        Duration::from_secs(20),
        wait_for("the command is gone", Duration::from_secs(60), || async { processes::running(&mark).is_empty().then_some(()) }),
    )
    .await;
    processes::signal(&processes::running(&mark), Signal::KILL);
    api.delete(&format!("/compute/slurm/jobs/{id}"), &[]).await.expect(204);
    assert!(left.is_ok(), "the command went on running");
    api.remove("slurm", &folder).await;
}

pub async fn what_the_scheduler_refuses_is_told(live: &Live) {
    let api = live.api("fireuser").await;
    let answer = api.get("/compute/slurm/jobs/99999999", &[]).await.expect(404);
    assert!(answer.message().contains("Job not found"), "{}", answer.message());
    let answer = api.delete("/compute/slurm/jobs/99999999", &[]).await.expect(404);
    assert!(answer.message().contains("Job not found"), "{}", answer.message());
    let job = json!({"job": {"workingDirectory": "/home/fireuser", "partition": "no-such-partition", "script": "#!/bin/bash\ntrue\n"}});
    let answer = api.post("/compute/slurm/jobs", &job).await.expect(400);
    assert!(answer.message().contains("artition"), "{}", answer.message());
    for system in ["slurm", "slurm24", "slurm26"] {
        // sbatch ends with 255 where it does not know an option, or its value.
        for (line, words) in [("--tiem=1", "--tiem=1"), ("--time=abc", "--time"), ("--mail-type=foo", "--mail-type")] {
            let job = json!({"job": {"workingDirectory": "/home/fireuser", "script": format!("#!/bin/bash\n#SBATCH {line}\ntrue\n")}});
            let answer = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(400);
            assert!(answer.message().contains(words), "{system}, {line}: {}", answer.message());
        }
        let job = json!({"job": {"workingDirectory": "/root", "script": "#!/bin/bash\ntrue\n"}});
        let answer = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(400);
        assert!(answer.message().contains("/root"), "{system}: {}", answer.message());
    }
    api.get("/compute/slurm/jobs/1;id", &[]).await.expect(400);
}

pub async fn nodes_partitions_reservations_and_identity_are_shown(live: &Live) {
    let api = live.api("fireuser").await;
    let nodes = api.get("/status/slurm/nodes", &[]).await.expect(200).json();
    assert!(nodes["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()), "{nodes}");
    let partitions = api.get("/status/slurm/partitions", &[]).await.expect(200).json();
    assert!(partitions["partitions"].as_array().is_some_and(|partitions| !partitions.is_empty()), "{partitions}");
    let reservations = api.get("/status/slurm/reservations", &[]).await.expect(200).json();
    assert!(reservations["reservations"].is_array(), "{reservations}");
    let identity = api.get("/status/slurm/userinfo", &[]).await.expect(200).json();
    assert_eq!(identity["user"]["name"], "fireuser", "{identity}");
}

fn state(job: &Value) -> &str {
    job["status"]["state"].as_str().unwrap_or_else(|| panic!("no state: {job}"))
}
