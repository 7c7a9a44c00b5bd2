//! The memory for connections of idle users. Run it with `--ignored --nocapture`, and with
//! `GOLDCREST_BIN` for a release build, of whose memory the limit is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{StreamExt, stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};

const USERS: usize = 2_000;

/// The most that the program may hold with a connection for each of them.
const MAX_MEMORY: u64 = 250 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it logs two thousand users in, which takes long in a debug build, whose memory proves nothing"]
async fn two_thousand_idle_users_fit_into_250_mebibytes() {
    // Both ends of the connections are files of this process or of its child.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let double = Double::start(Behaviour::default()).await;
    let users: Vec<String> = (0..USERS).map(|number| format!("user{number}")).collect();
    let ssh = format!("      max_clients: {USERS}\n      timeout: {{ idle_timeout: 3600, login: 30, connection: 30 }}\n");
    let program = Program::start(&[Site::of("cluster", &double)], &users, &ssh).await;
    let none = program.memory();
    let tokens: Vec<String> = users.iter().map(|user| program.token(user)).collect();
    let mut asked = stream::iter(&tokens).map(|token| program.stat("cluster", token)).buffer_unordered(32);
    while let Some((status, _)) = asked.next().await {
        assert_eq!(status, 200);
    }
    drop(asked);
    let after = program.memory();
    // Keepalives go over all of them meanwhile.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let idle = program.memory();
    let (connections, channels) = (double.record.users.lock().unwrap().len(), double.record.channels.load(Ordering::SeqCst));
    let mebibytes = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    println!(
        "{connections} logins, {channels} channels open: {:.1} MiB before, {:.1} MiB after, {:.1} MiB when idle; {:.1} KiB a user",
        mebibytes(none),
        mebibytes(after),
        mebibytes(idle),
        mebibytes(idle - none) * 1024.0 / USERS as f64,
    );
    assert_eq!(connections, USERS, "each user has one connection");
    assert!(idle < MAX_MEMORY, "{:.1} MiB", mebibytes(idle));
}
