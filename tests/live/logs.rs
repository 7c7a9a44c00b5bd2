//! The output of jobs on a real Slurm, read and followed.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::environment::{Live, wait_for};

pub async fn the_output_of_a_job_is_followed_from_before_it_exists_until_the_job_has_ended(live: &Live) {
    let api = live.api("fireuser").await;
    for system in ["slurm", "slurm24", "slurm24-hybrid", "slurm-nosftp"] {
        let folder = api.new_folder(system, "fireuser").await;
        let script = "#!/bin/bash\nsleep 1\necho one\necho wrong >&2\nsleep 3\nprintf 'two\\xff'\n";
        let job = json!({"job": {
            "workingDirectory": folder, "standardOutput": format!("{folder}/%j.out"), "standardError": format!("{folder}/%j.err"), "script": script,
        }});
        let id = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201).json()["jobId"].as_str().unwrap().to_owned();
        let logs = format!("/compute/{system}/jobs/{id}/logs");
        let early = api.get(&logs, &[]).await.expect(200);
        assert_eq!((early.body.len(), early.header("goldcrest-log-next-offset")), (0, "0"), "{system}: nothing is written yet");

        let followed = api.get(&logs, &[("follow", "true")]).await.expect(200);
        assert_eq!(followed.body, &b"one\ntwo\xFF"[..], "{system}");
        let ended = api.get(&format!("/compute/{system}/jobs/{id}"), &[]).await.expect(200).json();
        assert_eq!(ended["jobs"][0]["status"]["state"], "COMPLETED", "{system}");

        let whole = api.get(&logs, &[]).await.expect(200);
        assert_eq!((whole.body.as_ref(), whole.header("goldcrest-log-next-offset")), (&b"one\ntwo\xFF"[..], "8"), "{system}");
        assert_eq!(api.get(&logs, &[("tail", "1")]).await.expect(200).body, &b"two\xFF"[..], "{system}");
        assert_eq!(api.get(&logs, &[("offset", "2")]).await.expect(200).body, &b"e\ntwo\xFF"[..], "{system}");
        assert_eq!(api.get(&logs, &[("offset", "8"), ("follow", "true")]).await.expect(200).body.len(), 0, "{system}");
        assert_eq!(api.get(&logs, &[("stream", "stderr")]).await.expect(200).body, "wrong\n", "{system}");

        let events =
            api.send(api.request(Method::GET, &logs).query(&[("follow", "true")]).header("accept", "text/event-stream")).await.expect(200);
        let told = String::from_utf8(events.body.to_vec()).unwrap();
        assert!(
            told.contains("id: 8\ndata: ") && told.ends_with("event: end\ndata: {\"reason\":\"the job has ended\"}\n\n"),
            "{system}: {told}"
        );

        std::fs::remove_file(format!("{folder}/{id}.out")).unwrap();
        api.get(&logs, &[]).await.expect(404);
        api.remove(system, &folder).await;
    }
}

pub async fn a_task_of_an_array_has_its_own_output_and_others_read_what_the_cluster_lets_them(live: &Live) {
    let api = live.api("fireuser").await;
    for system in ["slurm", "slurm24"] {
        let folder = api.new_folder(system, "fireuser").await;
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let script = "#!/bin/bash\necho \"task $SLURM_ARRAY_TASK_ID\"\n";
        let job = json!({"job": {"workingDirectory": folder, "standardOutput": format!("{folder}/%N.%A-%3a.%%j"), "script": script, "array": "1-2"}});
        let id = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201).json()["jobId"].as_str().unwrap().to_owned();
        let logs = |task: &str| format!("/compute/{system}/jobs/{id}{task}/logs");
        for task in ["1", "2"] {
            api.wait_for_state(system, &format!("{id}_{task}"), &["COMPLETED"]).await;
            let output = api.get(&logs(&format!("_{task}")), &[("follow", "true")]).await.expect(200);
            assert_eq!(output.body, format!("task {task}\n"), "{system}");
        }
        let refused = api.get(&logs(""), &[]).await.expect(400);
        assert!(refused.message().contains("stands for several jobs"), "{system}: {}", refused.message());
        let other = live.api("otheruser").await.get(&logs("_1"), &[]).await;
        assert!(matches!(other.status, 403 | 404), "{system}: {}", other.status);
        assert!(!String::from_utf8_lossy(&other.body).contains("task 1\n"), "{system}");
        api.remove(system, &folder).await;
    }
}

pub async fn an_output_that_is_truncated_is_read_from_its_start_again(live: &Live) {
    let api = live.api("fireuser").await;
    for system in ["slurm", "slurm-nosftp"] {
        let folder = api.new_folder(system, "fireuser").await;
        let script = "#!/bin/bash\n#SBATCH --open-mode=append\necho a long first line\nuntil [ -e go ]; do sleep 0.2; done\n: >out.txt\nsleep 3\necho again\n";
        let job = json!({"job": {"workingDirectory": folder, "standardOutput": format!("{folder}/out.txt"), "script": script}});
        let id = api.post(&format!("/compute/{system}/jobs"), &job).await.expect(201).json()["jobId"].as_str().unwrap().to_owned();
        let logs = format!("/compute/{system}/jobs/{id}/logs");
        let file = format!("{folder}/out.txt");
        wait_for("the job has begun", Duration::from_secs(30), || async {
            std::fs::read(&file).is_ok_and(|text| !text.is_empty()).then_some(())
        })
        .await;
        let events = api.request(Method::GET, &logs).query(&[("follow", "true")]).header("accept", "text/event-stream");
        // One goes on in the middle of the line.
        let resumed = api.request(Method::GET, &logs).query(&[("follow", "true")]).header("last-event-id", "7");
        let truncated = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            std::fs::write(format!("{folder}/go"), "").unwrap();
        };
        let (events, resumed, ()) = futures::join!(api.send(events), api.send(resumed), truncated);
        let told = String::from_utf8(events.expect(200).body.to_vec()).unwrap();
        let (first, second) = (told.find("id: 18\n").unwrap(), told.find("id: 6\n").unwrap());
        let between = told.find("event: truncated").unwrap_or_else(|| panic!("{system}: {told}"));
        assert!(first < between && between < second, "{system}: {told}");
        assert_eq!(resumed.expect(200).body, "first line\nagain\n", "{system}");
        let beyond = api.get(&logs, &[("offset", "18")]).await.expect(200);
        assert_eq!((beyond.header("goldcrest-log-offset"), beyond.body.as_ref()), ("0", &b"again\n"[..]), "{system}");
        api.remove(system, &folder).await;
    }
}

pub async fn a_hundred_who_follow_one_output_open_it_once_on_the_cluster(live: &Live) {
    let api = live.api("fireuser").await;
    let folder = api.new_folder("slurm24", "fireuser").await;
    let script = "#!/bin/bash\necho begun\nuntil [ -e go ]; do sleep 0.2; done\necho ended\n";
    let job = json!({"job": {"workingDirectory": folder, "standardOutput": format!("{folder}/out.txt"), "script": script}});
    let id = api.post("/compute/slurm24/jobs", &job).await.expect(201).json()["jobId"].as_str().unwrap().to_owned();
    let logs = format!("/compute/slurm24/jobs/{id}/logs");
    let file = format!("{folder}/out.txt");
    wait_for("the job has begun", Duration::from_secs(30), || async {
        std::fs::read(&file).is_ok_and(|text| !text.is_empty()).then_some(())
    })
    .await;
    let all = join_all((0..100).map(|_| api.get(&logs, &[("follow", "true")])));
    let watched = async {
        wait_for("somebody follows", Duration::from_secs(20), || async { (readers(&file) > 0).then_some(()) }).await;
        // The others come too.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let readers = readers(&file);
        std::fs::write(format!("{folder}/go"), "").unwrap();
        readers
    };
    let (answers, readers) = futures::join!(all, watched);
    assert_eq!(readers, 1, "the file was opened more than once");
    for answer in answers {
        assert_eq!(answer.expect(200).body, "begun\nended\n");
    }
    api.remove("slurm24", &folder).await;
}

/// How often a file is open in servers of SFTP.
fn readers(file: &str) -> usize {
    let is_server = |process: &std::path::Path| {
        std::fs::read(process.join("cmdline"))
            .is_ok_and(|line| line.starts_with(b"sshd") || line.windows(11).any(|part| part == b"sftp-server"))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(|process| is_server(process));
    let descriptors = processes.filter_map(|process| std::fs::read_dir(process.join("fd")).ok()).flat_map(Iterator::flatten);
    descriptors.filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == std::path::Path::new(file))).count()
}
