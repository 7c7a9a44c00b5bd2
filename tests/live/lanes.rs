//! SSH connections under load and under faults.

use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::environment::{Live, wait_for};
use crate::processes;

pub async fn keys_of_every_kind_log_in(live: &Live) {
    // An Ed25519 key, an RSA key, one with a passphrase.
    for user in ["fireuser", "firesrv", "otheruser"] {
        live.api(user).await.file("slurm", "ls", &format!("/home/{user}")).await.expect(200);
    }
    // This user's key is in no authorized_keys file; only its certificate lets it in. OpenFGA knows it on one system.
    live.api("certuser").await.file("slurm-tight", "ls", "/home/certuser").await.expect(200);
}

pub async fn two_hundred_requests_at_once_of_one_user_all_succeed(live: &Live) {
    let api = live.api("fireuser").await;
    for (system, instance) in [("slurm", "stock"), ("slurm-tight", "tight"), ("slurm-nosftp", "nosftp")] {
        let begun = Instant::now();
        let answers = join_all((0..200).map(|_| api.file(system, "ls", "/home/fireuser"))).await;
        let failed: Vec<String> =
            answers.iter().filter(|answer| answer.status != 200).map(|answer| format!("{}: {}", answer.status, answer.message())).collect();
        assert!(failed.is_empty(), "{} of 200 on {system} failed, the first: {}", failed.len(), failed[0]);
        assert!(begun.elapsed() < Duration::from_secs(60), "{system} took {:?}", begun.elapsed());
        let connections = processes::sessions(live.pid("openssh", &format!("/instances/{instance}/pidFile")), "fireuser").len();
        assert!(connections <= 32, "{connections} sshd processes on {system} for one user");
    }
}

pub async fn a_connection_killed_between_requests_is_not_noticed(live: &Live) {
    let api = live.api("otheruser").await;
    let listener = live.pid("openssh", "/instances/stock/pidFile");
    for _ in 0..3 {
        api.file("slurm", "ls", "/home/otheruser").await.expect(200);
        let sessions = processes::sessions(listener, "otheruser");
        assert!(!sessions.is_empty(), "no connection was kept open");
        processes::signal(&sessions, Signal::KILL);
        wait_for("the connection is gone", Duration::from_secs(5), || async {
            processes::sessions(listener, "otheruser").is_empty().then_some(())
        })
        .await;
    }
    api.file("slurm", "ls", "/home/otheruser").await.expect(200);
}

pub async fn a_frozen_connection_costs_at_most_one_request(live: &Live) {
    let api = live.api("otheruser").await;
    api.file("slurm-tight", "ls", "/home/otheruser").await.expect(200);
    let frozen = processes::sessions(live.pid("openssh", "/instances/tight/pidFile"), "otheruser");
    assert!(!frozen.is_empty(), "no connection was kept open");
    processes::signal(&frozen, Signal::STOP);
    let begun = Instant::now();
    let mut failures = Vec::new();
    for _ in 0..5 {
        let answer = api.file("slurm-tight", "ls", "/home/otheruser").await;
        if answer.status != 200 {
            failures.push(format!("{} after {:?}: {}", answer.status, begun.elapsed(), answer.message()));
        }
    }
    let elapsed = begun.elapsed();
    processes::signal(&frozen, Signal::KILL);
    assert!(failures.len() <= 1, "{failures:#?}");
    assert!(elapsed < Duration::from_secs(12), "five requests took {elapsed:?}");
}

pub async fn an_untrusted_host_key_is_refused(live: &Live) {
    let answer = live.api("fireuser").await.file("stranger", "ls", "/home/fireuser").await.expect(424);
    assert!(answer.message().contains("host key"), "{}", answer.message());
}

pub async fn an_unreachable_cluster_fails_within_its_connect_timeout(live: &Live) {
    let api = live.api("fireuser").await;
    let begun = Instant::now();
    api.file("closed", "ls", "/home/fireuser").await.expect(424);
    assert!(begun.elapsed() < Duration::from_secs(8), "a refused connection took {:?}", begun.elapsed());
    // Accepts connections and never says a word, as a host behind a stuck firewall does.
    let port = u16::try_from(live.number("openssh", "/silentPort")).unwrap();
    let _silent = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let begun = Instant::now();
    api.file("silent", "ls", "/home/fireuser").await.expect(424);
    assert!(begun.elapsed() < Duration::from_secs(8), "a silent server took {:?}", begun.elapsed());
}
