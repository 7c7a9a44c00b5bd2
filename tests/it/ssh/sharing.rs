//! The sharing of a cluster's limits between users.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use goldcrest::error::{Classify, Kind};
use goldcrest::ssh::{CommandLine, Exec, LaneKind, Transport, TransportError};
use tokio::io::AsyncReadExt;

use super::double::{Behaviour, Double};
use super::{OneKey, config, exec, lanes, limits, new_key, run};
use crate::support::{PATIENCE, principal, wait_for};

#[tokio::test]
async fn at_the_cap_the_longest_idle_connection_makes_room() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_clients = 3;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    for user in ["ada", "bob", "cyd", "ada", "dan"] {
        exec(&lanes, user, run("echo")).await.unwrap();
    }
    wait_for(PATIENCE, || lanes.stats().closed_evicted == 1).await;
    let before = lanes.stats().opened;
    exec(&lanes, "ada", run("echo")).await.unwrap();
    exec(&lanes, "cyd", run("echo")).await.unwrap();
    assert_eq!(lanes.stats().opened, before, "bob's was idle longest, so ada's and cyd's are still there");
    assert_eq!(lanes.stats().open, 3);
}

#[tokio::test]
async fn at_the_cap_a_new_user_waits_for_a_busy_connection_to_become_idle() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_clients = 1;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let (ada, bob) = tokio::join!(exec(&lanes, "ada", run("nap")), exec(&lanes, "bob", run("echo")));
    assert!(ada.is_ok() && bob.is_ok(), "{ada:?} {bob:?}");
}

/// Commands of each user, as fast as they are answered, until the flag is set; the numbers of answers.
async fn flood(lanes: &Arc<goldcrest::ssh::Lanes>, users: &[&'static str], parallel: usize, time: Duration) -> Vec<usize> {
    let end = Instant::now() + time;
    let of_one = |user: &'static str| {
        let requests = (0..parallel).map(|_| async {
            let mut answers = 0;
            while Instant::now() < end {
                exec(lanes, user, run("echo")).await.unwrap();
                answers += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            answers
        });
        async { futures::future::join_all(requests.collect::<Vec<_>>()).await.into_iter().sum() }
    };
    futures::future::join_all(users.iter().map(|user| of_one(user))).await
}

#[tokio::test]
async fn at_the_cap_a_user_who_never_rests_makes_room_for_another() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    (settings.max_clients, settings.max_channels) = (2, 2);
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let greedy = flood(&lanes, &["ada"], 8, Duration::from_secs(12));
    let modest = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let started = Instant::now();
        exec(&lanes, "bob", run("echo")).await.unwrap();
        started.elapsed()
    };
    let (answers, waited) = tokio::join!(greedy, modest);
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    assert!(answers[0] > 20, "{answers:?}");
    assert!(lanes.stats().closed_yielded >= 1, "{:?}", lanes.stats());
    assert_eq!(lanes.stats().failed, 0);
}

#[tokio::test]
async fn at_the_cap_more_users_than_places_take_turns_and_none_fails() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_clients = 2;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let answers = flood(&lanes, &["ada", "bob", "cyd"], 4, Duration::from_secs(8)).await;
    let (least, most) = (answers.iter().min().unwrap(), answers.iter().max().unwrap());
    assert!(least * 4 > *most, "{answers:?}");
}

#[tokio::test]
async fn at_the_cap_a_kept_session_that_rests_makes_room() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_clients = 1;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let kept = lanes.subsystem(&principal("ada"), LaneKind::Control, "echo").await.unwrap();
    let retired = kept.retired();
    let other = exec(&lanes, "bob", run("echo"));
    let lets_go = async {
        retired.cancelled().await;
        drop(kept);
    };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(5), async { tokio::join!(other, lets_go) }).await.unwrap();
    answer.unwrap();
    assert_eq!(lanes.stats().closed_yielded, 1);
}

#[tokio::test]
async fn a_full_lane_answers_saturated_at_the_deadline() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    (settings.max_connections_per_user, settings.max_channels) = (1, 1);
    (settings.timeout.connection, settings.timeout.login) = (1, 1);
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let _busy = lanes.subsystem(&principal("ada"), LaneKind::Control, "echo").await.unwrap();
    let started = Instant::now();
    let waiting = Exec { limits: limits(Duration::from_millis(200), 100), ..run("echo") };
    let error = exec(&lanes, "ada", waiting).await.unwrap_err();
    assert!(matches!(error, TransportError::Saturated(_)), "{error:?}");
    assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(false)));
    assert!((Duration::from_millis(2100)..Duration::from_secs(4)).contains(&started.elapsed()));
    assert_eq!(lanes.stats().waiting, 0);
}

#[tokio::test]
async fn one_users_flood_does_not_hold_up_another() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = lanes(config(double.port, &double.host_key), OneKey::new(&new_key()));
    exec(&lanes, "bob", run("echo")).await.unwrap();
    let flood: Vec<_> = (0..100)
        .map(|_| {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move { exec(&lanes, "ada", run("nap")).await })
        })
        .collect();
    wait_for(PATIENCE, || double.record.channels.load(SeqCst) >= 8).await;
    let started = Instant::now();
    exec(&lanes, "bob", run("echo")).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "behind the flood it would be 9 s: {:?}", started.elapsed());
    for request in flood {
        request.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_bulk_reader_that_does_not_read_leaves_commands_alone() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = lanes(config(double.port, &double.host_key), OneKey::new(&new_key()));
    let mut stalled = lanes.stream(&principal("ada"), &CommandLine::new("flood")).await.unwrap();
    stalled.read_exact(&mut [0; 16]).await.unwrap();
    for _ in 0..20 {
        let started = Instant::now();
        exec(&lanes, "ada", run("echo")).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    let mut second = lanes.stream(&principal("ada"), &CommandLine::new("flood")).await.unwrap();
    second.read_exact(&mut vec![0; 8 << 20]).await.unwrap();
    assert_eq!(lanes.stats().opened, 3, "bulk streams do not share while there is another way");
}

#[tokio::test]
async fn a_bulk_stream_waits_for_the_connection_that_is_being_opened_for_it() {
    let double = Double::start(Behaviour { login_delay: Duration::from_millis(1200), ..Behaviour::default() }).await;
    let lanes = lanes(config(double.port, &double.host_key), OneKey::new(&new_key()));
    let _first = lanes.stream(&principal("ada"), &CommandLine::new("flood")).await.unwrap();
    let _second = lanes.stream(&principal("ada"), &CommandLine::new("flood")).await.unwrap();
    assert_eq!((lanes.stats().opened, double.record.max_channels.load(SeqCst)), (2, 1));
}

#[tokio::test]
async fn the_limits_of_one_command_are_not_those_of_the_next() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = lanes(config(double.port, &double.host_key), OneKey::new(&new_key()));
    let probe = Exec { limits: limits(Duration::from_millis(100), 100), ..run("nap") };
    assert!(matches!(exec(&lanes, "ada", probe).await, Err(TransportError::Execution(_))));
    assert_eq!(exec(&lanes, "ada", run("nap")).await.unwrap().exit, 0);
    assert_eq!(lanes.stats().opened, 1);
}

#[tokio::test]
async fn logins_under_way_stay_below_max_startups() {
    let double = Double::start(Behaviour { login_delay: Duration::from_millis(100), ..Behaviour::default() }).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_startups = 2;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let users = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"];
    let all = futures::future::join_all(users.map(|user| exec(&lanes, user, run("echo")))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(double.record.max_logins.load(SeqCst), 2);
}

#[tokio::test]
async fn waiters_share_one_connection_attempt() {
    let double = Double::start(Behaviour { login_delay: Duration::from_millis(100), ..Behaviour::default() }).await;
    let lanes = lanes(config(double.port, &double.host_key), OneKey::new(&new_key()));
    let all = futures::future::join_all((0..8).map(|_| exec(&lanes, "ada", run("echo")))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(double.record.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    settings.timeout.idle_timeout = 1;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    assert_eq!(lanes.stats().open, 1);
    wait_for(PATIENCE, || lanes.stats().closed_idle == 1).await;
}

#[tokio::test]
async fn closing_the_lanes_closes_every_connection_and_lends_no_more() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = lanes(config(double.port, &double.host_key), OneKey::new(&new_key()));
    let stream = lanes.subsystem(&principal("ada"), LaneKind::Bulk, "echo").await.unwrap();
    exec(&lanes, "ada", run("echo")).await.unwrap();
    lanes.close().await;
    assert!(matches!(exec(&lanes, "ada", run("echo")).await, Err(TransportError::Broken { sent: false })));
    drop(stream);
    wait_for(PATIENCE, || lanes.stats().open == 0).await;
    assert_eq!(lanes.stats().closed_shutdown, 2);
}
