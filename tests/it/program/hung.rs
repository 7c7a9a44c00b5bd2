//! A cluster whose login node accepts connections and does nothing more.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::ssh::proxy::Proxy;

/// Clients that keep asking the hung cluster.
const PERSISTENT: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_cluster_does_not_slow_another_one_down() {
    let (good, bad) = (Double::start(Behaviour::default()).await, Double::start(Behaviour::default()).await);
    let proxy = Proxy::start(bad.port).await;
    let users = ["ada".to_owned(), "bob".to_owned()];
    let limits = "      timeout: { connection: 4, login: 4, command_execution: 4 }\n";
    let program = Program::start(&[Site::of("good", &good), Site::by("bad", proxy.port, &bad)], &users, limits).await;
    let tokens = users.each_ref().map(|user| program.token(user));
    for system in ["good", "bad"] {
        assert_eq!(program.stat(system, &tokens[0]).await.0, 200, "{system}");
    }
    let before = program.percentile("good", &tokens[0]).await;

    proxy.freeze_for_good();
    let (over, failed) = (AtomicBool::new(false), AtomicUsize::new(0));
    // One of the users has a connection there that was frozen, the other one has to log in.
    let load = join_all((0..PERSISTENT).map(|number| {
        let (program, token, over, failed) = (&program, &tokens[number % 2], &over, &failed);
        async move {
            while !over.load(Ordering::Relaxed) {
                let (status, took) = program.stat("bad", token).await;
                assert!(matches!(status, 408 | 424 | 503), "the hung cluster answered with {status}");
                assert!(took < Duration::from_secs(20), "a request to the hung cluster took {took:?}");
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }));
    let measure = async {
        let during = program.percentile("good", &tokens[0]).await;
        // As long as it takes until the first have failed: connections are given up and made anew meanwhile.
        while failed.load(Ordering::Relaxed) < PERSISTENT {
            let (status, took) = program.stat("good", &tokens[1]).await;
            assert_eq!(status, 200);
            assert!(took < Duration::from_secs(3), "a request to the good cluster took {took:?}");
        }
        over.store(true, Ordering::Relaxed);
        during
    };
    let (_, during) = tokio::join!(load, measure);
    // Other tests run beside this one. A lock or a thread that the clusters shared would cost the whole of a deadline.
    assert!(during < before * 5 + Duration::from_secs(1), "the 99th percentile went from {before:?} to {during:?}");
}
