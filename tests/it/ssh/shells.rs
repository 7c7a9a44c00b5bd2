//! The shells that lanes keep for short commands, against a real OpenSSH server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use goldcrest::domain::RemotePath;
use goldcrest::filesystem::{Changes, CommandFiles, CompressOptions, Contents, Settings};
use goldcrest::ssh::{CommandLine, Exec, LaneKind, Lanes, Transport, TransportError};
use rustix::process::Signal;

use super::openssh::{Sshd, stop};
use super::{command, exec, sh};
use crate::support::{PATIENCE, principal, wait_for};

/// Prints the shell that runs it.
fn who() -> Exec {
    command(CommandLine::new("echo $$"))
}

/// The shell that runs a command now.
async fn shell(lanes: &Lanes, user: &str) -> i32 {
    let output = exec(lanes, user, who()).await.unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn server(settings: &str) -> Option<(Sshd, Arc<Lanes>, String)> {
    let sshd = Sshd::start(settings)?;
    let lanes = sshd.lanes_with(|config| config.keep_shells = true);
    let user = sshd.user.clone();
    Some((sshd, lanes, user))
}

fn is_gone(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_one_after_the_other_share_one_shell() {
    let Some((_sshd, lanes, user)) = server("") else { return };
    let first = shell(&lanes, &user).await;
    for _ in 0..20 {
        assert_eq!(shell(&lanes, &user).await, first);
    }
    let stats = lanes.stats();
    assert_eq!((stats.channels, stats.shells, stats.reused), (1, 1, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_in_a_shell_gives_what_it_gives_on_a_channel_of_its_own() {
    let Some((sshd, lanes, user)) = server("") else { return };
    let plain = sshd.lanes_with(|_| {});
    for script in ["printf out; printf err >&2; exit 3", "cat", "true", "printf '\\n\\n'", "exec 2>&1; ls /nowhere", "exit 255"] {
        for stdin in ["", "one\ntwo", "quoted ' and $HOME\n"] {
            let told = || Exec { stdin: stdin.into(), ..sh(script) };
            let (kept, own) = (exec(&lanes, &user, told()).await.unwrap(), exec(&plain, &user, told()).await.unwrap());
            assert_eq!(kept, own, "{script:?} with {stdin:?}");
        }
    }
    assert_eq!(lanes.stats().channels, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_killed_by_a_signal_says_so_and_the_shell_lives_on() {
    let Some((_sshd, lanes, user)) = server("") else { return };
    let kept = shell(&lanes, &user).await;
    assert_eq!(exec(&lanes, &user, sh("kill -9 $$")).await.unwrap().exit, 137);
    assert_eq!(shell(&lanes, &user).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_killed_between_commands_is_not_seen_by_the_next_one() {
    let Some((_sshd, lanes, user)) = server("") else { return };
    for _ in 0..5 {
        // No time passes between the kill and the next command, which may not run twice.
        let killed = shell(&lanes, &user).await;
        stop(killed, Signal::KILL);
        assert_ne!(shell(&lanes, &user).await, killed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_killed_under_a_command_fails_that_one_alone_and_it_is_not_run_twice() {
    let Some((sshd, lanes, user)) = server("") else { return };
    let ran = sshd.path("ran");
    let deadly = Exec {
        idempotent: false,
        ..command(CommandLine::new("echo x >>").arg(ran.as_os_str().as_encoded_bytes()).flag("; kill -9 $$; sleep 5"))
    };
    let error = exec(&lanes, &user, deadly).await.unwrap_err();
    assert!(matches!(error, TransportError::Broken { sent: true }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "x\n");
    assert_eq!(exec(&lanes, &user, sh("true")).await.unwrap().exit, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_shell_costs_one_deadline() {
    let Some((sshd, _, user)) = server("") else { return };
    let lanes = sshd.lanes_with(|config| {
        config.keep_shells = true;
        config.timeout.command_execution = 6;
    });
    let frozen = shell(&lanes, &user).await;
    stop(frozen, Signal::STOP);
    let error = exec(&lanes, &user, sh("true")).await.unwrap_err();
    assert!(matches!(error, TransportError::Execution(_)), "{error:?}");
    let started = Instant::now();
    assert_ne!(shell(&lanes, &user).await, frozen);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    wait_for(PATIENCE, || is_gone(frozen)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_command_left_running_cannot_spoil_a_later_one() {
    let Some((sshd, lanes, user)) = server("") else { return };
    let (noisy, told) = (shell(&lanes, &user).await, sshd.path("told"));
    let noise = CommandLine::new("(for i in 1 2 3; do sleep 0.05; echo garbage; echo garbage >&2; done; touch");
    exec(&lanes, &user, command(noise.arg(told.as_os_str().as_encoded_bytes()).flag(") &"))).await.unwrap();
    wait_for(PATIENCE, || told.exists()).await;
    // On the same connection, whose server sends the garbage before this answer.
    drop(lanes.subsystem(&principal(&user), LaneKind::Control, "sftp").await.unwrap());
    assert_ne!(shell(&lanes, &user).await, noisy, "a shell that has said something unasked is left");
    wait_for(PATIENCE, || is_gone(noisy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_start_up_files_print_is_not_taken_for_output() {
    let greeting = "ForceCommand printf 'Welcome'; printf 'Welcome' >&2; eval \"$SSH_ORIGINAL_COMMAND\"";
    let Some((_sshd, lanes, user)) = server(greeting) else { return };
    let output = exec(&lanes, &user, sh("echo hello; echo trouble >&2")).await.unwrap();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"hello\n"[..], &b"trouble\n"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_user_may_have_no_shell_commands_are_sent_by_themselves() {
    let forced = "ForceCommand case \"$SSH_ORIGINAL_COMMAND\" in *'exec /bin/sh'*) echo not allowed >&2; exit 1;; esac; eval \"$SSH_ORIGINAL_COMMAND\"";
    let Some((_sshd, lanes, user)) = server(forced) else { return };
    for _ in 0..2 {
        let output = exec(&lanes, &user, command(CommandLine::new("echo").arg("a b"))).await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.exit), (&b"a b\n"[..], 0));
    }
    assert_eq!(lanes.stats().channels, 4, "a shell was asked for once, and then whether single commands run");
    let error = exec(&lanes, &user, command(CommandLine::new("echo").arg("it's"))).await.unwrap_err();
    assert!(matches!(&error, TransportError::Refused(why) if why.contains("plain commands only")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_runs_no_line_is_refused_with_what_its_server_has_to_permit() {
    for forced in
        ["ForceCommand echo only slurm commands >&2; exit 1", "ForceCommand case \"$SSH_ORIGINAL_COMMAND\" in squeue*) ;; *) exit 1;; esac"]
    {
        let Some((_sshd, lanes, user)) = server(forced) else { return };
        let error = exec(&lanes, &user, command(CommandLine::new("squeue"))).await.unwrap_err();
        let permitted = |why: &str| why.contains("a ForceCommand of its sshd has to permit `exec /bin/sh`");
        assert!(matches!(&error, TransportError::Refused(why) if permitted(why)), "{error:?}");
    }
    // As docs/operations.md says: the wrapper is for everybody but Goldcrest, or lets the one line through.
    let lets_through = "ForceCommand case \"$SSH_ORIGINAL_COMMAND\" in 'exec /bin/sh') exec /bin/sh;; *) exit 1;; esac";
    for permitting in ["ForceCommand /bin/false\nMatch Address 127.0.0.1\nForceCommand none", lets_through] {
        let Some((_sshd, lanes, user)) = server(permitting) else { return };
        let output = exec(&lanes, &user, sh("echo it\\'s")).await.unwrap();
        assert_eq!(output.stdout, b"it's\n", "{permitting}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_commands_pass_a_tight_session_limit_in_shells() {
    let Some((_sshd, lanes, user)) = server("MaxSessions 3\nMaxStartups 10:30:100") else { return };
    let running = (0..200).map(|number: u32| {
        let (lanes, user) = (Arc::clone(&lanes), user.clone());
        tokio::spawn(async move { (number, exec(&lanes, &user, command(CommandLine::new("echo").number(number.into()))).await) })
    });
    for done in futures::future::join_all(running).await {
        let (number, output) = done.unwrap();
        assert_eq!(output.unwrap().stdout, format!("{number}\n").into_bytes());
    }
    assert!(lanes.stats().channels < 60, "shells are handed on: {:?}", lanes.stats());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_shell_makes_room_for_a_session() {
    let Some((sshd, _, user)) = server("MaxSessions 1") else { return };
    let lanes = sshd.lanes_with(|config| {
        config.keep_shells = true;
        config.max_channels = 1;
        config.max_connections_per_user = 1;
    });
    let kept = shell(&lanes, &user).await;
    let session = tokio::time::timeout(Duration::from_secs(3), lanes.subsystem(&principal(&user), LaneKind::Control, "sftp")).await;
    drop(session.expect("the shell makes room at once").unwrap());
    assert!(is_gone(kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_waits_for_is_stopped_with_its_shell() {
    let Some((_sshd, lanes, user)) = server("") else { return };
    let kept = shell(&lanes, &user).await;
    let dropped = tokio::time::timeout(Duration::from_millis(300), exec(&lanes, &user, command(CommandLine::new("sleep 60")))).await;
    assert!(dropped.is_err());
    wait_for(PATIENCE, || is_gone(kept)).await;
    assert_eq!(exec(&lanes, &user, sh("true")).await.unwrap().exit, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_over_the_limit_fails_and_ends_the_shell() {
    let Some((_sshd, lanes, user)) = server("") else { return };
    let kept = shell(&lanes, &user).await;
    let error = exec(&lanes, &user, sh("head -c 2000000 /dev/zero")).await.unwrap_err();
    assert!(matches!(error, TransportError::Output(_)), "{error:?}");
    assert_ne!(shell(&lanes, &user).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_lanes_leaves_no_shell_behind() {
    let Some((_sshd, lanes, user)) = server("") else { return };
    let kept = shell(&lanes, &user).await;
    lanes.close().await;
    wait_for(PATIENCE, || is_gone(kept)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_file_operation_that_nobody_waits_for_nothing_runs_on() {
    let Some((sshd, lanes, user)) = server("") else { return };
    let (user, folder) = (principal(&user), sshd.directory.path());
    let sparse = folder.join("sparse");
    std::fs::File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    let path = |path: &std::path::Path| RemotePath::from_text(path.to_str().unwrap()).unwrap();
    let running = || {
        let commands = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let words = |command: Vec<u8>| String::from_utf8_lossy(&command).replace('\0', " ");
        commands.map(words).filter(|command| command.contains(folder.to_str().unwrap()) && !command.contains("sshd")).count()
    };
    // Commands with limits of their own have channels of their own; others run in a kept shell.
    for copy_timeout in [Duration::from_secs(600), Duration::from_secs(4)] {
        let files = CommandFiles::new(lanes.clone(), Settings { copy_timeout, ..Settings::default() });
        let (source, target, options) = (path(&sparse), path(&folder.join("packed")), CompressOptions::default());
        let operations =
            [files.checksum(&user, &source).map(drop).boxed(), files.compress(&user, &source, &target, &options).map(drop).boxed()];
        for operation in operations {
            let mut operation = operation;
            while running() == 0 {
                assert!(tokio::time::timeout(Duration::from_millis(50), &mut operation).await.is_err(), "it has ended");
            }
            drop(operation);
            wait_for(PATIENCE, || running() == 0).await;
        }
    }
}
