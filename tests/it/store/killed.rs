//! Acknowledged data survives a SIGKILL in the middle of the work.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use goldcrest::store::{Claimed, Postgres, PostgresConfig, Sqlite, Store};

use super::{LONG, RETENTION, claimed, database, in_folder, name};

/// Names the store to a process that is to be killed.
const STORE: &str = "GOLDCREST_TEST_STORE";
const STREAM: &str = "GOLDCREST_TEST_STREAM";
/// The lines that are awaited of it.
const LINES: usize = 60;

fn open(store: &str) -> Arc<dyn Store> {
    match serde_json::from_str::<PostgresConfig>(store) {
        Ok(config) => Arc::new(Postgres::new(&config).unwrap()),
        Err(_) => Arc::new(Sqlite::new(in_folder(store.as_ref()))),
    }
}

/// Not a test: the process that is killed. It says what was acknowledged.
#[tokio::test]
#[ignore = "run by the tests below, which kill it"]
async fn writes_until_it_is_killed() {
    let (Ok(store), Ok(stream)) = (std::env::var(STORE), std::env::var(STREAM)) else { return };
    let store = open(&store);
    for number in 0_u64.. {
        let sequence = store.append(&stream, &[number.to_be_bytes().to_vec(), vec![0; 3000]], RETENTION).await.unwrap();
        println!("\nappended {number} {sequence}");
        let name = format!("{stream}-{number}");
        assert_eq!(store.claim(&claimed(&name, 0, LONG)).await.unwrap(), Claimed::Begun(1));
        store.finish_claim(&name, 1, Some("done")).await.unwrap();
        println!("\nsettled {number} {sequence}");
    }
}

async fn what_was_acknowledged_is_there(place: &str, store: Arc<dyn Store>) {
    for _ in 0..3 {
        let stream = name("killed");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "store::killed::writes_until_it_is_killed", "--ignored", "--nocapture"]);
        let mut child = command.env(STORE, place).env(STREAM, &stream).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledged = lines.filter(|line| line.starts_with("appended ") || line.starts_with("settled "));
        let mut heard: Vec<String> = acknowledged.by_ref().take(LINES).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        heard.extend(acknowledged);
        assert!(heard.len() >= LINES, "{heard:?}");
        let page = store.read(&stream, 0, 1000).await.unwrap();
        let numbers: BTreeSet<u64> = page.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(numbers.len() as u64, page.last, "what was appended in one step is there whole");
        assert_eq!(page.last % 2, 0);
        for line in heard {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(numbers.contains(&words[2].parse().unwrap()), "{line}");
            if words[0] == "settled" {
                let claim = store.claim(&claimed(&format!("{stream}-{}", words[1]), 0, LONG)).await.unwrap();
                assert_eq!(claim, Claimed::Done("done".to_owned()), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn what_sqlite_acknowledged_is_there_after_the_process_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    what_was_acknowledged_is_there(place, open(place)).await;
}

#[tokio::test]
async fn what_postgres_acknowledged_is_there_after_the_process_was_killed() {
    let Some(config) = database() else { return };
    let place = serde_json::json!({"url": config.url.expose(), "ca_file": config.ca_file}).to_string();
    what_was_acknowledged_is_there(&place, open(&place)).await;
}
