//! SSH connections under load and under faults.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::client::Api;
use crate::environment::{Live, wait_for};
use crate::instance::Instance;
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

pub async fn a_hung_cluster_does_not_slow_another_one_down(live: &Live) {
    const PERSISTENT: usize = 16;
    let node = LoginNode::start(live).await;
    let instance = Instance::start(live, &[]).await;
    let url = instance.url();
    let apis = [live.api_at(&url, "fireuser").await, live.api_at(&url, "otheruser").await];
    apis[0].file("silent", "stat", "/home/fireuser").await.expect(200);
    let mut before = Duration::ZERO;
    for _ in 0..5 {
        before = before.max(percentile(&apis[0]).await);
    }

    node.hang();
    let (over, failed) = (AtomicBool::new(false), AtomicUsize::new(0));
    // One of the users has a connection there, which is frozen now, and the other one has to log in.
    let load = join_all((0..PERSISTENT).map(|number| {
        let (api, over, failed) = (&apis[number % 2], &over, &failed);
        async move {
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = api.file("silent", "stat", "/home").await;
                assert!(matches!(answer.status, 408 | 424 | 503), "the hung cluster answered with {}", answer.status);
                assert!(begun.elapsed() < Duration::from_secs(12), "a request to it took {:?}", begun.elapsed());
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    let measure = async {
        let mut during = percentile(&apis[0]).await;
        // Until the first have failed: connections are given up and made anew meanwhile.
        while failed.load(Ordering::Relaxed) < PERSISTENT {
            during = during.max(percentile(&apis[0]).await);
        }
        over.store(true, Ordering::Relaxed);
        during
    };
    let (_, during) = tokio::join!(load, measure);
    println!("    99 % of the requests to another cluster took at most {before:?} before and {during:?} meanwhile");
    // The machine is not quiet. A lock or a thread that the clusters shared would cost the whole of a deadline.
    assert!(during < before * 5 + Duration::from_millis(100), "the 99th percentile went from {before:?} to {during:?}");
}

/// The 99th percentile of the time that a request takes to a cluster that is well.
async fn percentile(api: &Api) -> Duration {
    let mut times = Vec::new();
    for _ in 0..400 {
        let begun = Instant::now();
        api.file("slurm", "stat", "/home/fireuser").await.expect(200);
        times.push(begun.elapsed());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

/// An sshd as the stock one, of a scenario's own, on the port that is kept free for a silent server.
struct LoginNode {
    listener: Child,
    _folder: TempDir,
}

impl LoginNode {
    async fn start(live: &Live) -> Self {
        let port = live.number("openssh", "/silentPort");
        let folder = tempfile::tempdir().unwrap();
        let address = format!("ListenAddress 127.0.0.1:{port}");
        let stock = live.file("openssh", "stock/sshd_config");
        let lines = stock.lines().filter(|line| !line.starts_with("PidFile "));
        let lines = lines.map(|line| if line.starts_with("ListenAddress ") { &address } else { line });
        let config = folder.path().join("sshd_config");
        std::fs::write(&config, lines.fold(String::from("PidFile none\n"), |text, line| text + line + "\n")).unwrap();
        let listener = Command::new("/usr/sbin/sshd").args(["-D", "-f"]).arg(config).stderr(Stdio::null()).spawn().unwrap();
        let node = Self { listener, _folder: folder };
        let port = u16::try_from(port).unwrap();
        wait_for("a login node listens", Duration::from_secs(10), || async { TcpStream::connect(("127.0.0.1", port)).await.ok() }).await;
        node
    }

    /// Stops all its processes where they are: the kernel goes on accepting connections, and nobody takes them.
    fn hang(&self) {
        processes::signal(&self.processes(), Signal::STOP);
    }

    fn processes(&self) -> Vec<i32> {
        let listener = i32::try_from(self.listener.id()).unwrap();
        processes::below(listener)
    }
}

impl Drop for LoginNode {
    fn drop(&mut self) {
        processes::signal(&self.processes(), Signal::KILL);
        // It was just killed, so that this does not wait for long.
        let _ = self.listener.wait();
    }
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
