//! Slurm by slurmrestd, of both releases, alone and with the commands beside it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{Component, Live, wait_for};

/// The systems of a mode: of the first releases, and of the third where it is up.
fn systems<'a>(live: &Live, first: [&'a str; 2], third: &'a str) -> Vec<&'a str> {
    first.into_iter().chain(live.has(Component::Slurm26).then_some(third)).collect()
}

fn rest(live: &Live) -> Vec<&'static str> {
    systems(live, ["slurm-rest", "slurm24-rest"], "slurm26-rest")
}

fn hybrid(live: &Live) -> Vec<&'static str> {
    systems(live, ["slurm-hybrid", "slurm24-hybrid"], "slurm26-hybrid")
}

const PATH: &str = "goldcrest-scheduler-path";

pub async fn a_job_runs_to_its_end_by_rest(live: &Live) {
    let api = live.api("fireuser").await;
    for system in rest(live).into_iter().chain(hybrid(live)) {
        let folder = api.new_folder(system, "fireuser").await;
        let value = "it's $HOME, \"quoted\", `id`";
        let script = "#!/bin/bash\n#SBATCH --time=5\n#SBATCH --comment=here\nprintf '%s\\n' \"$GOLDCREST_WORD\"\npwd\nwhoami\n";
        let job = json!({"job": {
            "name": "live 'job'",
            "workingDirectory": folder,
            "standardOutput": format!("{folder}/out put.txt"),
            "standardError": format!("{folder}/err.txt"),
            "env": {"GOLDCREST_WORD": value},
            "script": script,
        }});
        let answer = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201);
        assert_eq!(answer.header(PATH), if hybrid(live).contains(&system) { "rest" } else { "" }, "{system}");
        let id = answer.json()["jobId"].as_str().unwrap().to_owned();
        let ended = api.wait_for_state(system, &id, &["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"]).await;
        assert_eq!(state(&ended), "COMPLETED", "{system}: {ended}");
        assert_eq!((&ended["name"], &ended["user"]), (&json!("live 'job'"), &json!("fireuser")), "{system}: {ended}");
        assert_eq!((&ended["status"]["exitCode"], &ended["time"]["limit"]), (&json!(0), &json!(300)), "{system}: {ended}");
        assert_eq!(ended["workingDirectory"], folder, "{system}: {ended}");
        let output = wait_for("the job's output", Duration::from_secs(20), || async {
            std::fs::read_to_string(format!("{folder}/out put.txt")).ok().filter(|text| text.lines().count() == 3)
        })
        .await;
        assert_eq!(output, format!("{value}\n{folder}\nfireuser\n"), "{system}");
        let logs = api.get(&format!("/compute/{system}/jobs/{id}/logs"), &[("follow", "true")]).await.expect(200);
        assert_eq!(logs.body, output, "{system}");
        wait_for("the list and accounting have the job", Duration::from_secs(30), || async {
            let list = api.get(&format!("/compute/{system}/jobs"), &[]).await.expect(200).json();
            let acct = api.get(&format!("/compute/{system}/acct"), &[("jobs", &id)]).await.expect(200).json();
            [list, acct].iter().all(|answer| answer["jobs"].as_array().unwrap().iter().any(|job| job["jobId"] == id.as_str())).then_some(())
        })
        .await;
        api.remove(system, &folder).await;
    }
}

pub async fn jobs_by_rest_are_cancelled_by_their_owner_alone(live: &Live) {
    let api = live.api("fireuser").await;
    for system in rest(live).into_iter().chain(hybrid(live)) {
        let folder = api.new_folder(system, "fireuser").await;
        let array = api.submit(system, &folder, "#!/bin/bash\n#SBATCH --array=0-2 --hold\nsleep 600\n").await;
        let task = api.wait_for_state(system, &format!("{array}_1"), &["PENDING"]).await;
        assert_eq!(task["user"], "fireuser", "{system}: {task}");
        let path = format!("/compute/{system}/jobs/{array}");
        let other = live.api("otheruser").await.delete(&path, &[]).await;
        assert_eq!(other.status, 403, "{system}: another user's cancel");
        api.delete(&path, &[]).await.expect(204);
        api.wait_for_state(system, &array, &["CANCELLED"]).await;
        let other = live.api("otheruser").await.delete(&path, &[]).await;
        assert_eq!(other.status, 403, "{system}: another user's cancel after the end");
        api.delete(&path, &[]).await.expect(204);
        let answer = api.delete(&format!("/compute/{system}/jobs/99999999"), &[]).await.expect(404);
        assert!(answer.message().contains("Job not found"), "{system}: {}", answer.message());
        api.get(&format!("/compute/{system}/jobs/99999999"), &[]).await.expect(404);
        api.remove(system, &folder).await;
    }
}

pub async fn parts_of_waiting_jobs_are_told_and_cancelled_alike_in_every_mode(live: &Live) {
    let api = live.api("fireuser").await;
    let third = live.has(Component::Slurm26).then_some(("slurm26", ["slurm26-rest", "slurm26-hybrid"]));
    let first = [("slurm", ["slurm-rest", "slurm-hybrid"]), ("slurm24", ["slurm24-rest", "slurm24-hybrid"])];
    for (by_commands, by_rest) in first.into_iter().chain(third) {
        let folder = api.new_folder(by_commands, "fireuser").await;
        let never_started = async |system: &str, id: &str| {
            let job = api.wait_for_state(system, id, &["CANCELLED"]).await;
            assert!(job["time"]["start"].is_null() && job["time"]["end"].is_number(), "{system} {id}: {job}");
        };
        for system in [by_commands].into_iter().chain(by_rest) {
            let path = |id: &str| format!("/compute/{system}/jobs/{id}");
            let array = api.submit(by_commands, &folder, "#!/bin/bash\n#SBATCH --array=0-3 --hold\ntrue\n").await;
            let task = format!("{array}_2");
            assert_eq!(api.wait_for_state(system, &task, &["PENDING"]).await["jobId"], task.as_str(), "{system}");
            api.get(&path(&format!("{array}_77")), &[]).await.expect(404);
            api.delete(&path(&task), &[]).await.expect(204);
            api.wait_for_state(system, &format!("{array}_3"), &["PENDING"]).await;
            api.delete(&path(&array), &[]).await.expect(204);
            never_started(system, &array).await;

            let script = "#!/bin/bash\n#SBATCH --hold --ntasks=1\n#SBATCH hetjob\n#SBATCH --ntasks=1\ntrue\n";
            let whole = api.submit(by_commands, &folder, script).await;
            let (first, second) = (format!("{whole}+0"), format!("{whole}+1"));
            api.wait_for_state(system, &second, &["PENDING"]).await;
            let refused = api.delete(&path(&second), &[]).await.expect(400);
            assert!(refused.message().contains("component"), "{system}: {}", refused.message());
            api.wait_for_state(system, &second, &["PENDING"]).await;
            // scancel ends a whole job that waits by its first component.
            api.delete(&path(&first), &[]).await.expect(204);
            never_started(system, &first).await;
            never_started(system, &second).await;
        }
        api.remove(by_commands, &folder).await;
    }
}

pub async fn what_slurmrestd_refuses_is_told(live: &Live) {
    let api = live.api("fireuser").await;
    for system in rest(live).into_iter().chain(hybrid(live)) {
        let job = |more: Value| {
            let mut job = json!({"workingDirectory": "/home/fireuser", "script": "#!/bin/bash\ntrue\n"});
            job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"job": job})
        };
        let path = format!("/compute/{system}/jobs");
        let answer = api.post(&path, &job(json!({"partition": "no-such-partition"}))).await.expect(400);
        assert!(answer.message().contains("Invalid partition name specified"), "{system}: {}", answer.message());
        let answer = api.post(&path, &job(json!({"account": "no-such-account"}))).await.expect(400);
        assert!(answer.message().contains("Invalid account"), "{system}: {}", answer.message());
    }
    for system in rest(live) {
        let job = json!({"job": {"workingDirectory": "/home/fireuser", "scriptPath": "/home/fireuser/x.sh"}});
        api.post(&format!("/compute/{system}/jobs"), &job).await.expect(501);
        api.put(&format!("/compute/{system}/jobs/1/attach"), &json!({"command": "date"})).await.expect(501);
    }
}

pub async fn rest_and_commands_say_the_same_of_the_cluster(live: &Live) {
    let api = live.api("fireuser").await;
    let third = live.has(Component::Slurm26).then_some(("slurm26", ["slurm26-rest", "slurm26-hybrid"]));
    let first = [("slurm", ["slurm-rest", "slurm-hybrid"]), ("slurm24", ["slurm24-rest", "slurm24-hybrid"])];
    for (by_commands, by_rest) in first.into_iter().chain(third) {
        for system in by_rest {
            let both = async |path: &str, list: &str, keys: &[&str]| {
                let mut answers = Vec::new();
                for system in [by_commands, system] {
                    let answer = api.get(&format!("/status/{system}/{path}"), &[]).await.expect(200).json();
                    let records = answer[list].as_array().unwrap_or_else(|| panic!("{system}: {answer}"));
                    let mut shown: Vec<String> =
                        records.iter().map(|record| keys.iter().map(|key| format!("{key}={} ", record[key])).collect()).collect();
                    shown.sort();
                    answers.push(shown);
                }
                assert!(!answers[0].is_empty() || list == "reservations", "{system} {path}");
                assert_eq!(answers[0], answers[1], "{system} {path}");
            };
            let node = ["name", "cpus", "sockets", "cores", "threads", "features", "hostname", "partitions", "weight"];
            both("nodes", "nodes", &node).await;
            both("partitions", "partitions", &["name", "cpus", "totalNodes", "state"]).await;
            both("reservations", "reservations", &["name", "nodeList", "startTime", "endTime", "state"]).await;
            let user = async |system: &str| api.get(&format!("/status/{system}/userinfo"), &[]).await.expect(200).json();
            assert_eq!(user(by_commands).await, user(system).await, "{system}");
        }
    }
}

pub async fn the_health_of_rest_and_hybrid_systems_is_good(live: &Live) {
    let api = live.api("fireuser").await;
    for system in rest(live).into_iter().chain(hybrid(live)).chain(["slurm-norest"]) {
        wait_for(&format!("{system} is healthy"), Duration::from_secs(40), || async {
            let systems = api.get("/status/systems", &[]).await.expect(200).json();
            let own = systems["systems"].as_array()?.iter().find(|entry| entry["name"] == system)?.clone();
            let health = own["servicesHealth"].as_array()?.clone();
            health.iter().any(|entry| entry["serviceType"] == "scheduler" && entry["healthy"] == true).then_some(())
        })
        .await;
    }
}

pub async fn a_hybrid_system_works_without_slurmrestd_and_says_so(live: &Live) {
    let api = live.api("fireuser").await;
    let system = "slurm-norest";
    let folder = api.new_folder(system, "fireuser").await;
    let job = json!({"job": {"workingDirectory": folder, "script": "#!/bin/bash\nsleep 600\n"}});
    let answer = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201);
    assert_eq!(answer.header(PATH), "ssh; fallback");
    let id = answer.json()["jobId"].as_str().unwrap().to_owned();
    api.wait_for_state(system, &id, &["RUNNING"]).await;
    for path in [format!("/compute/{system}/jobs/{id}"), format!("/status/{system}/nodes"), format!("/status/{system}/userinfo")] {
        assert_eq!(api.get(&path, &[]).await.expect(200).header(PATH), "ssh; fallback", "{path}");
    }
    // What goes to the commands anyhow is no fallback.
    let metadata = api.get(&format!("/compute/{system}/jobs/{id}/metadata"), &[]).await.expect(200);
    assert_eq!(metadata.header(PATH), "ssh");
    api.delete(&format!("/compute/{system}/jobs/{id}"), &[]).await.expect(204);
    api.remove(system, &folder).await;
}

pub async fn a_hybrid_system_does_by_ssh_what_slurmrestd_cannot(live: &Live) {
    let api = live.api("fireuser").await;
    for system in hybrid(live) {
        let folder = api.new_folder(system, "fireuser").await;
        let script = format!("{folder}/run me.sh");
        std::fs::write(&script, "#!/bin/bash\nsleep 600\n").unwrap();
        let job = json!({"job": {"workingDirectory": folder, "scriptPath": script}});
        let answer = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201);
        assert_eq!(answer.header(PATH), "ssh", "{system}");
        let id = answer.json()["jobId"].as_str().unwrap().to_owned();
        api.wait_for_state(system, &id, &["RUNNING"]).await;
        let attached = json!({"command": format!("echo \"$SLURM_JOB_ID\" > {folder}/attached")});
        let answer = api.put(&format!("/compute/{system}/jobs/{id}/attach"), &attached).await.expect(204);
        assert_eq!(answer.header(PATH), "ssh", "{system}");
        assert_eq!(std::fs::read_to_string(format!("{folder}/attached")).unwrap(), format!("{id}\n"), "{system}");
        let metadata = api.get(&format!("/compute/{system}/jobs/{id}/metadata"), &[]).await.expect(200);
        assert_eq!(metadata.json()["jobs"][0]["script"], "#!/bin/bash\nsleep 600\n", "{system}");
        let job = api.get(&format!("/compute/{system}/jobs/{id}"), &[]).await.expect(200);
        assert_eq!(job.header(PATH), "rest", "{system}");
        api.delete(&format!("/compute/{system}/jobs/{id}"), &[]).await.expect(204);
        api.remove(system, &folder).await;
    }
}

fn state(job: &Value) -> &str {
    job["status"]["state"].as_str().unwrap_or_else(|| panic!("no state: {job}"))
}
