//! The lanes under failures of the server and the network.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use goldcrest::credentials::Credential;
use goldcrest::domain::{JobQuery, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::filesystem::{self, FileAccess, Settings};
use goldcrest::scheduler::local::Local;
use goldcrest::scheduler::pbs::Pbs;
use goldcrest::scheduler::slurm::SlurmCli;
use goldcrest::scheduler::{self, Scheduler};
use goldcrest::ssh::{CommandLine, LaneKind, Transport, TransportError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::double::{Behaviour, Double};
use super::proxy::Proxy;
use super::{OneKey, config, credential, exec, lanes, limits, new_key, run, to};
use crate::support::{PATIENCE, principal, wait_for};

/// The command with a second to run and 100,000 bytes to print.
fn brief(name: &'static str) -> goldcrest::ssh::Exec {
    goldcrest::ssh::Exec { limits: limits(Duration::from_secs(1), 100_000), ..run(name) }
}

async fn two_hundred(max_sessions: usize) {
    let double = Double::start(Behaviour { max_sessions, ..Behaviour::default() }).await;
    let lanes = to(&double);
    let running = (0..200).map(|_| {
        let lanes = Arc::clone(&lanes);
        tokio::spawn(async move { exec(&lanes, "ada", run("slow")).await })
    });
    for result in futures::future::join_all(running).await {
        assert_eq!(result.unwrap().unwrap().exit, 0);
    }
    let stats = lanes.stats();
    assert!(stats.opened <= 4 && stats.waiting == 0, "{stats:?}");
    assert!(double.record.max_channels.load(SeqCst) <= max_sessions);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_commands_fit_through_ten_sessions_a_connection() {
    two_hundred(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_commands_fit_through_three_sessions_a_connection() {
    two_hundred(3).await;
}

#[tokio::test]
async fn a_refused_channel_lowers_the_budget_and_nobody_notices() {
    let double = Double::start(Behaviour { max_sessions: 2, ..Behaviour::default() }).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_connections_per_user = 1;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    for _ in 0..2 {
        let all = futures::future::join_all((0..6).map(|_| exec(&lanes, "ada", run("slow")))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
    let stats = lanes.stats();
    assert_eq!(stats.opened, 1);
    assert!((1..=4).contains(&stats.refused), "only the first round meets the limit: {stats:?}");
}

#[tokio::test]
async fn a_connection_killed_while_idle_is_not_seen_by_the_next_request() {
    let double = Double::start(Behaviour::default()).await;
    let proxy = Proxy::start(double.port).await;
    let lanes = lanes(config(proxy.port, &double.host_key), OneKey::new(&new_key()));
    for round in 1..=3 {
        assert_eq!(exec(&lanes, "ada", run("echo one")).await.unwrap().stdout, b"one");
        assert_eq!(lanes.stats().opened, round);
        proxy.cut();
    }
}

#[tokio::test]
async fn a_connection_that_froze_while_idle_costs_nobody_a_failure() {
    let double = Double::start(Behaviour::default()).await;
    let proxy = Proxy::start(double.port).await;
    let mut settings = config(proxy.port, &double.host_key);
    settings.timeout.connection = 8;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    proxy.freeze();
    assert_eq!(exec(&lanes, "ada", run("echo two")).await.unwrap().stdout, b"two");
    let started = Instant::now();
    assert_eq!(exec(&lanes, "ada", run("echo three")).await.unwrap().stdout, b"three");
    assert!(started.elapsed() < Duration::from_millis(3500), "the frozen connection is not tried again, for 4 s");
    assert_eq!(lanes.stats().opened, 2);
}

#[tokio::test]
async fn requests_on_a_frozen_connection_leave_it_together() {
    let double = Double::start(Behaviour::default()).await;
    let proxy = Proxy::start(double.port).await;
    let mut settings = config(proxy.port, &double.host_key);
    settings.timeout.connection = 8;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    proxy.freeze();
    let started = Instant::now();
    let requests = (0..6u32).map(|index| {
        let lanes = Arc::clone(&lanes);
        async move {
            tokio::time::sleep(Duration::from_millis(500) * index).await;
            exec(&lanes, "ada", run("echo")).await
        }
    });
    let results = futures::future::join_all(requests).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(
        started.elapsed() < Duration::from_millis(6200),
        "the last came after 2.5 s, the first gives up after 4 s: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_freezes_under_a_command_costs_one_deadline() {
    let double = Double::start(Behaviour::default()).await;
    let proxy = Proxy::start(double.port).await;
    let mut settings = config(proxy.port, &double.host_key);
    settings.timeout.connection = 8;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let (frozen, ()) = tokio::join!(exec(&lanes, "ada", brief("hang")), async {
        wait_for(PATIENCE, || double.record.commands.load(SeqCst) == 1).await;
        proxy.freeze();
    });
    assert!(matches!(frozen, Err(TransportError::Execution(_))));
    let started = Instant::now();
    assert_eq!(exec(&lanes, "ada", run("echo next")).await.unwrap().stdout, b"next");
    assert!(started.elapsed() < Duration::from_millis(3500), "the next one did not wait on it, for 4 s: {:?}", started.elapsed());
    assert_eq!(lanes.stats().opened, 2);
}

#[tokio::test]
async fn a_doubted_connection_that_answers_is_used_again() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    settings.max_connections_per_user = 1;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    assert!(exec(&lanes, "ada", brief("hang")).await.is_err());
    assert_eq!(exec(&lanes, "ada", run("echo again")).await.unwrap().stdout, b"again");
    assert_eq!((lanes.stats().opened, lanes.stats().closed_frozen), (1, 0));
}

#[tokio::test]
async fn output_over_the_cap_fails_at_once_and_the_channel_goes() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    let started = Instant::now();
    let error = exec(&lanes, "ada", brief("flood")).await.unwrap_err();
    assert!(matches!(error, TransportError::Output(100_000)));
    assert_eq!(error.kind(), Kind::TooLarge);
    assert!(started.elapsed() < Duration::from_secs(5));
    wait_for(PATIENCE, || double.record.channels.load(SeqCst) == 0).await;
    assert_eq!(exec(&lanes, "ada", run("echo")).await.unwrap().exit, 0);
    assert_eq!(lanes.stats().opened, 1);
}

#[tokio::test]
async fn a_hung_command_is_stopped_at_its_time() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    let error = exec(&lanes, "ada", brief("hang")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::RemoteTimeout);
    assert!(error.to_string().contains("exit status:124"));
    wait_for(PATIENCE, || double.record.channels.load(SeqCst) == 0).await;
    assert_eq!(double.record.signals.load(SeqCst), 1);
}

#[tokio::test]
async fn a_command_deaf_to_signals_loses_its_channel_and_the_connection_its_work() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    assert!(exec(&lanes, "ada", brief("deaf")).await.is_err());
    wait_for(PATIENCE, || double.record.closed_by_client.load(SeqCst) == 1).await;
    exec(&lanes, "ada", run("echo")).await.unwrap();
    wait_for(PATIENCE, || lanes.stats().closed_lingering == 1).await;
    assert_eq!(lanes.stats().open, 1);
}

#[tokio::test]
async fn a_dropped_request_stops_its_command() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    let record = &double.record;
    let dropped = tokio::select! {
        _ = exec(&lanes, "ada", run("hang")) => false,
        () = wait_for(PATIENCE, || record.commands.load(SeqCst) == 1) => true,
    };
    assert!(dropped);
    wait_for(PATIENCE, || double.record.channels.load(SeqCst) == 0).await;
    assert_eq!(double.record.signals.load(SeqCst), 1);
}

#[tokio::test]
async fn a_dropped_stream_gives_its_channel_back() {
    let double = Double::start(Behaviour::default()).await;
    let mut settings = config(double.port, &double.host_key);
    (settings.max_connections_per_user, settings.max_channels) = (1, 1);
    let lanes = lanes(settings, OneKey::new(&new_key()));
    for _ in 0..3 {
        let mut stream = lanes.subsystem(&principal("ada"), LaneKind::Control, "echo").await.unwrap();
        stream.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
    }
    for _ in 0..3 {
        let refused = lanes.subsystem(&principal("ada"), LaneKind::Control, "none").await;
        assert!(matches!(refused, Err(TransportError::Refused(_))));
    }
    assert_eq!(lanes.stats().opened, 1);
}

#[tokio::test]
async fn a_broken_connection_ends_a_stream_with_an_error() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    let mut stream = lanes.stream(&principal("ada"), &CommandLine::new("half")).await.unwrap();
    let mut text = Vec::new();
    let error = stream.read_to_end(&mut text).await.unwrap_err();
    assert_eq!((text.as_slice(), error.kind()), (b"half".as_slice(), std::io::ErrorKind::ConnectionAborted));
}

#[tokio::test]
async fn the_exit_status_may_come_before_the_last_output() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    let output = exec(&lanes, "ada", run("late")).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice(), output.exit), (b"late".as_slice(), b"stderr".as_slice(), 3));
    assert_eq!(exec(&lanes, "ada", run("killed")).await.unwrap().exit, 137);
}

#[tokio::test]
async fn a_changed_credential_retires_the_connections_of_the_old_one() {
    let double = Double::start(Behaviour::default()).await;
    let (old, new) = (new_key(), new_key());
    let keys = OneKey::new(&old);
    let lanes = lanes(config(double.port, &double.host_key), Arc::clone(&keys));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    let busy = tokio::spawn({
        let lanes = Arc::clone(&lanes);
        async move { exec(&lanes, "ada", run("nap")).await }
    });
    wait_for(PATIENCE, || double.record.commands.load(SeqCst) == 2).await;
    keys.change(credential(&new));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    assert!(busy.await.unwrap().is_ok(), "what runs may end");
    let fingerprint = |key: &russh::keys::PrivateKey| key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
    let used: Vec<String> = double.record.users.lock().unwrap().iter().map(|(_, key)| key.clone()).collect();
    assert_eq!(used, [fingerprint(&old), fingerprint(&new)]);
    wait_for(PATIENCE, || lanes.stats().closed_credential == 1).await;
}

#[tokio::test]
async fn a_credential_that_ends_serves_until_a_connection_of_the_next_one_is_there() {
    let slow = Duration::from_secs(3);
    let double = Double::start(Behaviour { login_delay: slow, ..Behaviour::default() }).await;
    let (old, new) = (new_key(), new_key());
    let hour = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let ending = |key| Arc::new(Credential { not_after: Some(hour), ..Credential::clone(&credential(key)) });
    let keys = OneKey::new(&old);
    keys.change(ending(&old));
    let lanes = lanes(config(double.port, &double.host_key), Arc::clone(&keys));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    let busy = tokio::spawn({
        let lanes = Arc::clone(&lanes);
        async move { exec(&lanes, "ada", run("nap")).await }
    });
    wait_for(PATIENCE, || double.record.commands.load(SeqCst) == 2).await;
    keys.change(ending(&new));
    let mut served = 0;
    while lanes.stats().opened < 2 {
        exec(&lanes, "ada", run("echo")).await.unwrap();
        served += 1;
    }
    assert!(served > 2, "requests waited for the login: {served} were answered before it");
    busy.await.unwrap().unwrap();
    wait_for(PATIENCE, || lanes.stats().closed_credential == 1).await;
    let logins = double.record.users.lock().unwrap().len();
    assert_eq!((logins, lanes.stats().open), (2, 1));
}

#[tokio::test]
async fn a_refused_new_credential_does_not_take_the_old_ones_connection_away_nor_storm_the_server() {
    let double = Double::start(Behaviour { accept_logins: Some(1), ..Behaviour::default() }).await;
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let ending = |not_after| Arc::new(Credential { not_after: Some(not_after), ..Credential::clone(&credential(&new_key())) });
    let keys = OneKey::new(&new_key());
    keys.change(ending(until));
    let lanes = lanes(config(double.port, &double.host_key), Arc::clone(&keys));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    keys.change(ending(until + jiff::SignedDuration::from_hours(1)));
    let refused = loop {
        match exec(&lanes, "ada", run("echo")).await {
            Ok(_) => assert!(jiff::Timestamp::now() < until + jiff::SignedDuration::from_secs(1), "it outlived its end"),
            Err(error) => break error,
        }
    };
    assert!(jiff::Timestamp::now() >= until, "the old one was good until then");
    assert!(matches!(refused, TransportError::Login(_)), "{refused}");
    assert!(double.record.connections.load(SeqCst) <= 3, "{} connections", double.record.connections.load(SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_survive_a_credential_that_keeps_changing() {
    let double = Double::start(Behaviour::default()).await;
    let keys = OneKey::new(&new_key());
    let lanes = lanes(config(double.port, &double.host_key), Arc::clone(&keys));
    let requests: Vec<_> = (0..40)
        .map(|_| {
            let lanes = Arc::clone(&lanes);
            tokio::spawn(async move { exec(&lanes, "ada", run("slow")).await })
        })
        .collect();
    for _ in 0..5 {
        keys.change(credential(&new_key()));
        exec(&lanes, "ada", run("slow")).await.unwrap();
    }
    for request in requests {
        request.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_credential() {
    let double = Double::start(Behaviour::default()).await;
    let key = new_key();
    let keys = OneKey::new(&key);
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    keys.change(Arc::new(Credential { not_after: Some(soon), ..Credential::clone(&credential(&key)) }));
    let lanes = lanes(config(double.port, &double.host_key), Arc::clone(&keys));
    exec(&lanes, "ada", run("echo")).await.unwrap();
    wait_for(PATIENCE, || lanes.stats().closed_credential == 1).await;
    assert_eq!(lanes.stats().open, 0);
    assert!(matches!(exec(&lanes, "ada", run("echo")).await, Err(TransportError::Key { .. })));
    assert_eq!(double.record.connections.load(SeqCst), 1, "a credential that has ended is not tried");
}

#[tokio::test]
async fn a_server_that_hangs_up_after_the_login_is_not_stormed() {
    let double = Double::start(Behaviour { hang_up_after_login: true, ..Behaviour::default() }).await;
    let lanes = to(&double);
    let results = futures::future::join_all((0..50).map(|_| exec(&lanes, "ada", run("echo")))).await;
    let told = |result: &Result<_, _>| matches!(result, Err(TransportError::Connect(_) | TransportError::Broken { sent: false }));
    assert!(results.iter().all(told), "{results:?}");
    assert!(double.record.connections.load(SeqCst) < 20, "{} logins", double.record.connections.load(SeqCst));
}

#[tokio::test]
async fn a_server_that_closes_right_after_the_login_is_told_with_the_account_and_the_host() {
    let double = Double::start(Behaviour { hang_up_after_login: true, ..Behaviour::default() }).await;
    let (ada, at) = (principal("ada"), format!("127.0.0.1:{}", double.port));
    for keep_shells in [true, false] {
        let connect = || {
            let mut settings = config(double.port, &double.host_key);
            settings.keep_shells = keep_shells;
            lanes(settings, OneKey::new(&new_key()))
        };
        let line = CommandLine::new("echo");
        let errors = [
            exec(&connect(), "ada", run("echo")).await.unwrap_err(),
            connect().stream(&ada, &line).await.err().unwrap(),
            connect().subsystem(&ada, LaneKind::Control, "sftp").await.err().unwrap(),
            connect().subsystem(&ada, LaneKind::Bulk, "sftp").await.err().unwrap(),
        ];
        for (number, error) in errors.into_iter().enumerate() {
            let told = error.public_message();
            assert_eq!((error.kind(), error.maybe_effected()), (Kind::DependencyFailed, Some(false)), "{number}: {error:?}");
            assert!(told.contains("ada") && told.contains(&at), "{keep_shells} {number}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_may_not_log_in_is_forbidden_with_its_name_and_host_whatever_is_asked() {
    let double = Double::start(Behaviour { closed_accounts: true, ..Behaviour::default() }).await;
    let (ada, at) = (principal("ada"), format!("127.0.0.1:{}", double.port));
    let told = |what: &str, kind: Kind, message: &str| {
        assert_eq!(kind, Kind::Forbidden, "{what}: {message}");
        assert!(
            ["the account ada ", &at, "This account is currently not available"].iter().all(|part| message.contains(part)),
            "{what}: {message}"
        );
    };
    for keep_shells in [true, false] {
        let mut settings = config(double.port, &double.host_key);
        settings.keep_shells = keep_shells;
        let lanes = lanes(settings, OneKey::new(&new_key()));
        let error = exec(&lanes, "ada", run("echo")).await.unwrap_err();
        told("command", error.kind(), &error.public_message());
        let error = lanes.stream(&ada, &CommandLine::new("echo")).await.err().unwrap();
        told("stream", error.kind(), &error.public_message());
        let home = RemotePath::from_text("/home").unwrap();
        for access in [FileAccess::Auto, FileAccess::Sftp, FileAccess::Exec] {
            let files = filesystem::ClusterFiles::open(lanes.clone(), access, Settings::default());
            let error = async { files.of(&ada).await?.stat(&ada, &home, true).await }.await.unwrap_err();
            told(&format!("{access:?}"), error.kind(), &error.public_message());
            let error = async { files.of(&ada).await?.identity(&ada).await }.await.unwrap_err();
            told(&format!("{access:?} identity"), error.kind(), &error.public_message());
        }
        let schedulers: [Arc<dyn Scheduler>; 3] = [
            Arc::new(SlurmCli::new(lanes.clone())),
            Arc::new(Pbs::new(lanes.clone(), scheduler::pbs::Config::default())),
            Arc::new(Local::new(lanes.clone(), scheduler::local::Config::default())),
        ];
        for (name, scheduler) in ["slurm", "pbs", "local"].into_iter().zip(schedulers) {
            let error = scheduler.jobs(&ada, &JobQuery::default()).await.unwrap_err();
            told(name, error.kind(), &error.public_message());
        }
    }
}

#[tokio::test]
async fn a_frozen_stream_ends_with_an_error_when_the_keepalives_do() {
    let double = Double::start(Behaviour::default()).await;
    let proxy = Proxy::start(double.port).await;
    let mut settings = config(proxy.port, &double.host_key);
    settings.timeout.keep_alive = 1;
    let lanes = lanes(settings, OneKey::new(&new_key()));
    let mut stream = lanes.stream(&principal("ada"), &CommandLine::new("hang")).await.unwrap();
    proxy.freeze();
    let read = tokio::time::timeout(Duration::from_secs(8), stream.read(&mut [0; 1])).await;
    assert!(read.expect("it must not wait for ever").is_err());
}

#[tokio::test]
async fn a_refused_login_and_an_unreadable_key_are_told_apart() {
    let double = Double::start(Behaviour { refuse_logins: true, ..Behaviour::default() }).await;
    let keys = OneKey::new(&new_key());
    let lanes = lanes(config(double.port, &double.host_key), Arc::clone(&keys));
    for _ in 0..5 {
        assert!(matches!(exec(&lanes, "ada", run("echo")).await, Err(TransportError::Login(told))
                if told == format!("ada at 127.0.0.1:{}: there may be no account ada, or its authorized_keys may lack the key", double.port)));
    }
    assert_eq!(double.record.connections.load(SeqCst), 1, "a login that was just refused is not tried again");
    let unreadable = Credential { private_key: String::from("no key").into(), ..Credential::clone(&credential(&new_key())) };
    keys.change(Arc::new(unreadable));
    assert!(matches!(exec(&lanes, "ada", run("echo")).await, Err(TransportError::Key { .. })));
}

#[tokio::test]
async fn a_server_that_hangs_up_before_the_handshake_is_tried_again() {
    let double = Double::start(Behaviour { hang_up: 3, ..Behaviour::default() }).await;
    let lanes = to(&double);
    assert_eq!(exec(&lanes, "ada", run("echo")).await.unwrap().exit, 0);
    let stats = lanes.stats();
    assert_eq!((stats.dropped_by_server, stats.opened, stats.failed), (3, 1, 0));
}

#[tokio::test]
async fn nobody_listening_fails_at_once() {
    let double = Double::start(Behaviour::default()).await;
    double.stop();
    let lanes = to(&double);
    wait_for(PATIENCE, || std::net::TcpListener::bind(("127.0.0.1", double.port)).is_ok()).await;
    let started = Instant::now();
    let results = futures::future::join_all((0..50).map(|_| exec(&lanes, "ada", run("echo")))).await;
    let told = |result: &Result<_, TransportError>| {
        let expected =
            format!("could not connect to the cluster's SSH server 127.0.0.1:{}: Connection refused (os error 111)", double.port);
        result.as_ref().is_err_and(|error| error.to_string() == expected)
    };
    assert!(results.iter().all(told), "host, port and the system's words are named: {:?}", results[0]);
    assert!(started.elapsed() < Duration::from_secs(4), "the limits of a connection are 5 s: {:?}", started.elapsed());
    assert!(lanes.stats().failed <= 2, "who waits together fails together: {:?}", lanes.stats());
}
