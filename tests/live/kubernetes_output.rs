//! What jobs on a real Kubernetes node print, commands and signals in them, and jobs that are submitted at times.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::environment::{Live, wait_for};
use crate::kubernetes::{ENDED, SYSTEM, admin, ids, submit};

pub async fn the_output_of_a_job_is_followed_from_before_its_pod_exists_until_the_job_has_ended(live: &Live) {
    let api = live.api("fireuser").await;
    // The two streams are put together by the time of their lines.
    let script = "#!/bin/sh\necho one\nsleep 1\necho wrong >&2\nsleep 3\nprintf 'two\\xff'\n";
    let id = submit(&api, SYSTEM, &json!({"job": {"workingDirectory": "/tmp", "script": script}})).await;
    let logs = format!("/compute/{SYSTEM}/jobs/{id}/logs");
    let followed = join_all((0..5).map(|_| api.get(&logs, &[("follow", "true")]))).await;
    for answer in followed {
        assert_eq!(answer.expect(200).body, &b"one\nwrong\ntwo\xFF"[..]);
    }
    let ended = api.get(&format!("/compute/{SYSTEM}/jobs/{id}"), &[]).await.expect(200).json();
    assert_eq!(ended["jobs"][0]["status"]["state"], "COMPLETED", "{ended}");
    let whole = api.get(&logs, &[]).await.expect(200);
    assert_eq!((whole.body.as_ref(), whole.header("goldcrest-log-next-offset")), (&b"one\nwrong\ntwo\xFF"[..], "14"));
    assert_eq!(api.get(&logs, &[("tail", "1")]).await.expect(200).body, &b"two\xFF"[..]);
    assert_eq!(api.get(&logs, &[("offset", "4")]).await.expect(200).body, &b"wrong\ntwo\xFF"[..]);
    let events = api.send(api.request(Method::GET, &logs).query(&[("follow", "true")]).header("accept", "text/event-stream")).await;
    let told = String::from_utf8(events.expect(200).body.to_vec()).unwrap();
    assert!(told.contains("id: 14\ndata: ") && told.contains("event: end\n"), "{told}");
    let apart = api.get(&logs, &[("stream", "stderr")]).await.expect(404);
    assert!(apart.message().contains("one stream"), "{}", apart.message());
    live.api("otheruser").await.get(&logs, &[]).await.expect(404);
}

pub async fn megabytes_of_output_arrive_byte_for_byte(live: &Live) {
    let api = live.api("fireuser").await;
    // The container runtime copies what a container has printed for two seconds after its end, and drops the rest. On a busy machine that is little.
    let script =
        "#!/bin/sh\ni=0\nwhile [ $i -lt 60000 ]; do echo \"line $i of an output that is long enough\"; i=$((i + 1)); done\nsleep 5\n";
    let expected: String = (0..60_000).map(|number| format!("line {number} of an output that is long enough\n")).collect();
    let id = submit(&api, SYSTEM, &json!({"job": {"workingDirectory": "/tmp", "script": script}})).await;
    let logs = format!("/compute/{SYSTEM}/jobs/{id}/logs");
    for query in [&[("follow", "true")][..], &[]] {
        let output = api.get(&logs, query).await.expect(200);
        assert!(output.body == expected, "{query:?}: {} of {} bytes", output.body.len(), expected.len());
    }
}

pub async fn each_task_of_an_array_has_its_own_output(live: &Live) {
    let api = live.api("fireuser").await;
    let job = json!({"job": {"workingDirectory": "/tmp", "script": "#!/bin/sh\necho \"task $GOLDCREST_ARRAY_TASK_ID\"\n", "array": "0-1"}});
    let id = submit(&api, SYSTEM, &job).await;
    for task in 0..2 {
        let output = api.get(&format!("/compute/{SYSTEM}/jobs/{id}_{task}/logs"), &[("follow", "true")]).await.expect(200);
        assert_eq!(output.body, format!("task {task}\n"));
    }
    let refused = api.get(&format!("/compute/{SYSTEM}/jobs/{id}/logs"), &[]).await.expect(400);
    assert!(refused.message().contains("2"), "{}", refused.message());
}

pub async fn commands_and_signals_reach_the_container_of_a_running_job(live: &Live) {
    let api = live.api("fireuser").await;
    // In one stream: the runtime does not keep the order of two, and the shell writes about the signal that ended `sleep`.
    let script = "#!/bin/sh\nexec 2>&1\ntrap 'echo signalled; exit 5' USR1\necho ready\nwhile :; do sleep 1; done\n";
    let id = submit(&api, SYSTEM, &json!({"job": {"workingDirectory": "/tmp", "script": script, "env": {"WORD": "it's"}}})).await;
    let path = format!("/compute/{SYSTEM}/jobs/{id}");
    api.wait_for_state(SYSTEM, &id, &["RUNNING"]).await;
    wait_for("the script has set its trap", Duration::from_secs(30), || async {
        (api.get(&format!("{path}/logs"), &[]).await.expect(200).body == "ready\n").then_some(())
    })
    .await;
    let attach = format!("{path}/attach");
    let command = json!({"command": "echo \"$WORD $GOLDCREST_JOB_ID\"; id -u; pwd; echo apart >&2; exit 7"});
    let printed = api.send(api.request(Method::PUT, &attach).query(&[("output", "true")]).json(&command)).await.expect(200).json();
    assert_eq!(printed, json!({"stdout": format!("it's {id}\n1000\n/tmp\n"), "stderr": "apart\n", "exitCode": 7}));
    api.put(&attach, &json!({"command": "true"})).await.expect(204);
    assert!(api.put(&attach, &json!({"command": "false"})).await.status >= 400);
    let other = live.api("otheruser").await;
    other.put(&attach, &json!({"command": "true"})).await.expect(404);
    other.put(&format!("{path}/signal"), &json!({"signal": "KILL"})).await.expect(404);
    api.put(&format!("{path}/signal"), &json!({"signal": "USR1"})).await.expect(204);
    let ended = api.wait_for_state(SYSTEM, &id, &ENDED).await;
    assert_eq!((&ended["status"]["state"], &ended["status"]["exitCode"]), (&json!("FAILED"), &json!(5)), "{ended}");
    assert_eq!(api.get(&format!("{path}/logs"), &[("tail", "1")]).await.expect(200).body, "signalled\n");
    let late = api.put(&attach, &json!({"command": "true"})).await.expect(400);
    assert!(late.message().contains("does not run"), "{}", late.message());
}

pub async fn a_schedule_submits_jobs_until_it_is_removed(live: &Live) {
    let api = live.api("fireuser").await;
    let schedules = format!("/compute/{SYSTEM}/schedules");
    let job = json!({"workingDirectory": "/tmp", "script": "#!/bin/sh\necho \"$WORD\"\n", "env": {"WORD": "on time"}});
    let described = json!({"name": "every minute", "cron": "* * * * *", "overlap": "skip", "job": job});
    let created = api.post(&schedules, &described).await.expect(201).json();
    let id = created["scheduleId"].as_str().unwrap().to_owned();
    let one = format!("{schedules}/{id}");
    let list = api.get(&schedules, &[]).await.expect(200).json();
    assert!(list["schedules"].as_array().unwrap().iter().any(|schedule| schedule["scheduleId"] == id.as_str()), "{list}");
    live.api("otheruser").await.get(&one, &[]).await.expect(404);
    let run = wait_for("a job of the schedule has succeeded", Duration::from_secs(120), || async {
        let jobs = api.get(&format!("/compute/{SYSTEM}/jobs"), &[]).await.expect(200).json();
        jobs["jobs"].as_array()?.iter().find(|job| of(job, &id) && job["status"]["state"] == "COMPLETED").cloned()
    })
    .await;
    let run = ids(&json!({"jobs": [run]})).remove(0);
    assert_eq!(api.get(&format!("/compute/{SYSTEM}/jobs/{run}/logs"), &[]).await.expect(200).body, "on time\n");
    let metadata = api.get(&format!("/compute/{SYSTEM}/jobs/{run}/metadata"), &[]).await.expect(200).json();
    assert_eq!(metadata["jobs"][0]["script"], job["script"], "{metadata}");
    let schedule = api.get(&one, &[]).await.expect(200).json()["schedule"].clone();
    assert!(schedule["lastTime"].is_i64() && schedule["name"] == "every minute" && schedule["partition"] == "small", "{schedule}");
    live.api("otheruser").await.delete(&one, &[]).await.expect(404);
    api.delete(&one, &[]).await.expect(204);
    api.get(&one, &[]).await.expect(404);
    wait_for("the schedule's Secret is gone", Duration::from_secs(60), || async {
        let secret = admin(live, Method::GET, &format!("/api/v1/namespaces/goldcrest-fireuser/secrets/{id}"), None).await;
        (secret.status == 404).then_some(())
    })
    .await;
}

/// Whether a job was made by this schedule.
fn of(job: &Value, schedule: &str) -> bool {
    job["jobId"].as_str().is_some_and(|id| id.starts_with(&format!("{schedule}-")))
}
