//! The options of a job, and operations on it before its end, on a real Slurm by its commands and by slurmrestd.

use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{Live, wait_for};

const SYSTEMS: [&str; 3] = ["slurm24", "slurm24-hybrid", "slurm24-rest"];

pub async fn a_job_asks_for_what_it_needs_and_slurm_agrees(live: &Live) {
    let api = live.api("fireuser").await;
    for system in SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let script =
            "#!/bin/bash\nprintf '%s\\n' \"$SLURM_NTASKS\" \"$SLURM_CPUS_PER_TASK\" \"$SLURM_MEM_PER_NODE\" \"$SLURM_ARRAY_TASK_ID\"\n";
        let job = json!({"job": {
            "workingDirectory": folder, "standardOutput": format!("{folder}/out.txt"), "script": script,
            "nodes": 1, "tasks": 1, "cpusPerTask": 1, "memory": "64M", "timeLimit": 120, "array": "3-3", "mailEvents": ["fail"],
            "dependencies": [{"type": "singleton"}],
        }});
        let id = submitted(&api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201).json());
        let ended = api.wait_for_state(system, &format!("{id}_3"), &["COMPLETED", "FAILED"]).await;
        assert_eq!(ended["time"]["limit"], 120, "{system}: {ended}");
        let output = wait_for("the job's output", Duration::from_secs(20), || async {
            std::fs::read_to_string(format!("{folder}/out.txt")).ok().filter(|text| text.lines().count() == 4)
        })
        .await;
        assert_eq!(output, "1\n1\n64\n3\n", "{system}");
        let refused = json!({"job": {"workingDirectory": folder, "script": script, "gpus": 2}});
        let answer = api.post(&format!("/compute/{system}/jobs"), &refused).await;
        assert_eq!(answer.status, 400, "{system}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("generic resource"), "{system}: {}", answer.json());
        let unknown =
            json!({"job": {"workingDirectory": folder, "script": script, "dependencies": [{"type": "afterok", "jobs": ["999999"]}]}});
        let answer = api.post(&format!("/compute/{system}/jobs"), &unknown).await;
        assert_eq!(answer.status, 400, "{system}: {}", answer.json());
        assert!(answer.json()["detail"].as_str().unwrap().contains("dependency"), "{system}: {}", answer.json());
        api.remove(system, &folder).await;
    }
}

pub async fn a_job_is_held_released_limited_signalled_and_requeued(live: &Live) {
    let api = live.api("fireuser").await;
    for system in SYSTEMS {
        let folder = api.new_folder(system, "fireuser").await;
        let script = "#!/bin/bash\ntrap 'echo seen >>seen.txt' USR1\n: >begun.txt\nwhile :; do sleep 1; done\n";
        let job = json!({"job": {"workingDirectory": folder, "script": script, "timeLimit": 600, "hold": true}});
        let id = submitted(&api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201).json());
        let held = api.wait_for_state(system, &id, &["PENDING"]).await;
        assert_eq!(held["status"]["stateReason"], "JobHeldUser", "{system}: {held}");
        let change = async |what: &str, body: Value| api.put(&format!("/compute/{system}/jobs/{id}/{what}"), &body).await;
        let other = live.api("otheruser").await.put(&format!("/compute/{system}/jobs/{id}/release"), &json!({})).await;
        assert_eq!(other.status, 403, "{system}: {}", other.json());
        let early = change("signal", json!({"signal": "USR1"})).await;
        assert_eq!(early.status, 400, "{system}: {}", early.json());
        change("time-limit", json!({"timeLimit": 240})).await.expect(204);
        change("release", json!({})).await.expect(204);
        let running = api.wait_for_state(system, &id, &["RUNNING"]).await;
        assert_eq!(running["time"]["limit"], 240, "{system}: {running}");
        wait_for("the script has begun", Duration::from_secs(20), || async {
            std::fs::exists(format!("{folder}/begun.txt")).unwrap().then_some(())
        })
        .await;
        change("signal", json!({"signal": "USR1"})).await.expect(204);
        wait_for("the script has seen the signal", Duration::from_secs(20), || async {
            std::fs::exists(format!("{folder}/seen.txt")).unwrap().then_some(())
        })
        .await;
        let requeued = change("requeue", json!({})).await;
        assert_eq!(requeued.status, if system.ends_with("-rest") { 501 } else { 204 }, "{system}");
        api.delete(&format!("/compute/{system}/jobs/{id}"), &[]).await.expect(204);
        api.wait_for_state(system, &id, &["CANCELLED"]).await;
        let over = change("hold", json!({})).await;
        assert_eq!(over.status, 400, "{system}: {}", over.json());
        assert!(over.json()["detail"].as_str().unwrap().contains("already"), "{system}: {}", over.json());
        let unknown = api.put(&format!("/compute/{system}/jobs/999999/hold"), &json!({})).await;
        assert_eq!(unknown.status, 404, "{system}: {}", unknown.json());
        api.remove(system, &folder).await;
    }
}

pub async fn a_job_is_validated_without_being_submitted(live: &Live) {
    let api = live.api("fireuser").await;
    for system in ["slurm24", "slurm24-hybrid"] {
        let job = |options: Value| {
            let mut job = json!({"workingDirectory": "/tmp", "script": "#!/bin/bash\ntrue\n"});
            job.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
            json!({"job": job})
        };
        let path = format!("/compute/{system}/jobs/validate");
        let answer = api.post(&path, &job(json!({"nodes": 1}))).await.expect(200).json();
        let start = answer["expectedStart"].as_i64().unwrap();
        assert!(start > jiff::Timestamp::now().as_second() - 60, "{system}: {answer}");
        assert!(answer["nodes"].is_string() && answer["cpus"].is_number(), "{system}: {answer}");
        let answer = api.post(&path, &job(json!({"memory": "900T"}))).await;
        assert_eq!(answer.status, 400, "{system}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("Requested node configuration is not available") || detail.contains("emory"), "{system}: {detail}");
    }
}

fn submitted(answer: &Value) -> String {
    answer["jobId"].as_str().unwrap().to_owned()
}
