//! The process is killed around a submission, which its client sends again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{LoginNode, Program};
use crate::support::{PATIENCE, wait_for, wait_until};

/// Until what was killed can be told from what still runs.
const LONG: Duration = Duration::from_secs(120);

/// When the process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// As soon as the request was sent.
    Sent,
    /// Once its record is on the cluster.
    Recorded,
    /// Once the job is there.
    Made,
    /// Once the answer has begun to come.
    Answered,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_with_a_key_around_which_the_proxy_is_killed_and_that_another_one_gets_again_is_one_job() {
    let node = LoginNode::start("ada").await;
    let local = |text: String| text.replace("{ type: slurm, version: \"22.05\" }", "{ type: local, version: \"1\" }");
    let mut program = Program::spawn_with(&[node.site("cluster")], &["ada".to_owned()], local).await;
    let (state, records) = (node.home.path().join(".local/state/goldcrest"), node.home.path().join(".goldcrest/submit"));
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let made = || entries(&state.join("jobs")).into_iter().filter(|job| job.join("status").exists()).count();
    let recorded = || entries(&records).len();
    let moments = [Moment::Sent, Moment::Recorded, Moment::Made, Moment::Answered];
    for (number, moment) in moments.into_iter().cycle().take(8).enumerate() {
        program.is_up().await;
        let key = format!("run-{number}");
        let before = recorded();
        let mut client = send(&program, &key).await;
        match moment {
            Moment::Sent => {}
            Moment::Recorded => wait_for(PATIENCE, || recorded() > before).await,
            Moment::Made => wait_for(PATIENCE, || made() > number).await,
            Moment::Answered => client.read_exact(&mut [0; 12]).await.map(drop).unwrap(),
        }
        program.replace();
        program.is_up().await;
        let first = insist(&program, &key).await;
        let again = insist(&program, &key).await;
        assert_eq!((first == again, made()), (true, number + 1), "{moment:?}: {first} {again}");
    }
    wait_for(LONG, || entries(&state.join("queue")).is_empty()).await;
}

fn job(program: &Program) -> Value {
    json!({"job": {"workingDirectory": program.files.path(), "script": "#!/bin/sh\ntrue\n"}})
}

/// Sends a submission, and leaves the answer to be read.
async fn send(program: &Program, key: &str) -> TcpStream {
    let mut client = TcpStream::connect(program.url.strip_prefix("http://").unwrap()).await.unwrap();
    let (token, body) = (program.token("ada"), job(program).to_string());
    let request = format!(
        "POST /compute/cluster/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

/// Sends it until there is an id, as a client does.
async fn insist(program: &Program, key: &str) -> Value {
    let (url, token) = (format!("{}/compute/cluster/jobs", program.url), program.token("ada"));
    let mut id = Value::Null;
    wait_until(LONG, async || {
        let request = program.http.post(&url).bearer_auth(&token).header("idempotency-key", key).json(&job(program));
        let answer = request.send().await.unwrap();
        let (status, document) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert!(matches!(status, 201 | 408 | 409 | 424 | 503), "{status} {document}");
        id = document["jobId"].clone();
        status == 201
    })
    .await;
    id
}
