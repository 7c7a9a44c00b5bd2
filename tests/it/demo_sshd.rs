//! The demonstration's SSH server, against russh's client and, where it is installed, OpenSSH's.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use goldcrest::demo::ssh_server::{Account, Options, RunningServer, Server, Subsystem};
use goldcrest::domain::Username;
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use russh::{Channel, ChannelMsg, Sig};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, wait_for};

const USER: &str = "tester";
const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn both_outputs_and_the_exit_status_arrive() {
    let setup = Setup::start().await;
    let answer = exec(&setup.login().await, "printf out; printf err >&2; exit 7", b"").await;
    assert_eq!(answer, Answer { stdout: b"out".to_vec(), stderr: b"err".to_vec(), status: Some(7), signal: None });
}

#[tokio::test]
async fn a_command_runs_at_home_in_a_clean_environment() {
    let setup = Setup::start().await;
    let answer = exec(&setup.login().await, "pwd; env | cut -d= -f1 | sort | tr '\\n' ' '; echo $USER $HOME", b"").await;
    let text = String::from_utf8(answer.stdout).unwrap();
    let home = setup.home.path().display();
    let (pwd, rest) = text.split_once('\n').unwrap();
    assert_eq!(pwd, home.to_string());
    for name in ["HOME", "LOGNAME", "PATH", "SHELL", "USER"] {
        assert!(rest.contains(name), "{name} is missing in {rest}");
    }
    assert!(!rest.contains("CARGO"), "the environment of the server leaks: {rest}");
    assert!(rest.ends_with(&format!("{USER} {home}\n")), "{rest}");
}

#[tokio::test]
async fn death_by_a_signal_is_reported_as_such() {
    let setup = Setup::start().await;
    let answer = exec(&setup.login().await, "kill -USR1 $$", b"").await;
    assert_eq!((answer.status, answer.signal.as_deref()), (None, Some("USR1")));
}

#[tokio::test]
async fn a_command_line_that_cannot_be_started_says_so() {
    let setup = Setup::start().await;
    let answer = exec(&setup.login().await, "echo a\0b", b"").await;
    assert_eq!(answer.status, Some(126));
    assert!(!answer.stderr.is_empty());
}

#[tokio::test]
async fn sixty_four_mebibytes_of_output_arrive_whole() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.exec(true, format!("yes 0123456789abcde | head -c {}", 64 * MIB)).await.unwrap();
    let (mut sum, mut length) = (Context::new(&SHA256), 0);
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } = message {
            sum.update(&data);
            length += data.len();
        }
    }
    assert_eq!(length, 64 * MIB);
    assert_eq!(sum.finish().as_ref(), pattern_digest(64 * MIB).as_ref());
}

#[tokio::test]
async fn input_and_output_flow_at_the_same_time() {
    let setup = Setup::start().await;
    let input = pattern(32 * MIB);
    let answer = exec(&setup.login().await, "cat", &input).await;
    assert_eq!(answer.status, Some(0));
    assert!(answer.stdout == input, "{} of {} bytes came back", answer.stdout.len(), input.len());
}

#[tokio::test]
async fn a_program_that_writes_more_than_it_reads_does_not_stall_its_connection() {
    let setup = Setup::start().await;
    // Each of the input's lines becomes 64 times as long, so that the output blocks while input is waiting.
    let command = "while IFS= read -r line; do for i in 1 2 3 4 5 6 7 8; do echo $line$line$line$line$line$line$line$line; done; done | wc -c; head -c 48000000 /dev/zero";
    let input = pattern(MIB / 4);
    let answer = exec(&setup.login().await, command, &input).await;
    let first_line = answer.stdout.split(|byte| *byte == b'\n').next().unwrap();
    assert_eq!(String::from_utf8_lossy(first_line).trim(), (MIB / 4 / 16 * 8 * (15 * 8 + 1)).to_string());
    assert_eq!(answer.stdout.len() - first_line.len() - 1, 48_000_000);
}

#[tokio::test]
async fn unread_input_holds_up_its_sender_and_not_the_other_channels() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let sleeper = connection.channel_open_session().await.unwrap();
    sleeper.exec(true, "sleep 300").await.unwrap();
    let sent = AtomicUsize::new(0);
    let flood = async {
        let block = pattern(MIB);
        for _ in 0..64 {
            sleeper.data_bytes(block.clone()).await.unwrap();
            sent.fetch_add(block.len(), Ordering::Relaxed);
        }
    };
    let others = async {
        let mut answered = 0;
        // Until the flood stands still, and for a good while after.
        for _ in 0..50 {
            let answer = exec(&connection, "head -c 100000 /dev/zero; cat", b"").await;
            answered += answer.stdout.len();
        }
        answered
    };
    tokio::select! {
        () = flood => panic!("nobody read it, and it was all taken"),
        answered = others => assert_eq!(answered, 50 * 100_000),
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!((MIB..16 * MIB).contains(&sent), "{sent} bytes were taken for a program that reads none");
}

#[tokio::test]
async fn a_sender_that_was_held_up_goes_on_when_its_program_reads() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let (gate, input) = (setup.home.path().join("gate"), pattern(16 * MIB));
    let open = async {
        // By now more was sent than is held for a program that does not read; that it is, another test shows.
        let answer = exec(&connection, "cat", &pattern(4 * MIB)).await;
        std::fs::write(&gate, b"").unwrap();
        answer
    };
    let (slow, quick) = tokio::join!(exec(&connection, "while ! [ -e gate ]; do sleep 0.05; done; cat", &input), open);
    assert!(slow.stdout == input, "{} of {} bytes came back", slow.stdout.len(), input.len());
    assert_eq!(quick.stdout.len(), 4 * MIB);
}

#[tokio::test]
async fn closing_the_channel_ends_the_whole_process_group() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let (channel, pids) = start_two_sleepers(&connection).await;
    channel.close().await.unwrap();
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn a_lost_connection_ends_the_whole_process_group() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let (channel, pids) = start_two_sleepers(&connection).await;
    drop((channel, connection));
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn a_group_that_ignores_sigterm_is_killed() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.exec(true, "trap '' TERM; echo $$; while :; do sleep 1; done").await.unwrap();
    let pids = read_pids(&mut channel, 1).await;
    channel.close().await.unwrap();
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn a_signal_request_reaches_the_whole_process_group() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let (mut channel, pids) = start_two_sleepers(&connection).await;
    channel.signal(Sig::TERM).await.unwrap();
    let answer = collect(&mut channel).await;
    assert_eq!(answer.signal.as_deref(), Some("TERM"));
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn stopping_the_server_ends_commands_and_connections() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let (_channel, pids) = start_two_sleepers(&connection).await;
    setup.stop.cancel();
    within(setup.running.stopped()).await;
    wait_until_gone(&pids).await;
    wait_for(PATIENCE, || connection.is_closed()).await;
}

#[test]
fn a_runtime_that_is_dropped_leaves_no_process_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pids = runtime.block_on(async {
        let setup = Setup::start().await;
        let connection = setup.login().await;
        start_two_sleepers(&connection).await.1
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
    // The shell itself is waited for by whichever runtime sees the next signal; its child is not ours.
    tokio::runtime::Runtime::new().unwrap().block_on(wait_until_gone(&pids[..1]));
}

#[tokio::test]
async fn the_server_stops_while_a_peer_is_silent() {
    let setup = Setup::start().await;
    let _silent = tokio::net::TcpStream::connect(setup.running.addr).await.unwrap();
    setup.stop.cancel();
    within(setup.running.stopped()).await;
}

#[tokio::test]
async fn another_key_and_another_name_are_refused() {
    let setup = Setup::start().await;
    let right = setup.key();
    let wrong = PrivateKey::random(&mut russh::keys::key::safe_rng(), russh::keys::Algorithm::Ed25519).unwrap();
    let mut connection = setup.connect().await;
    assert!(!authenticate(&mut connection, USER, wrong).await);
    assert!(!authenticate(&mut connection, "root", right.clone()).await);
    assert!(authenticate(&mut connection, USER, right).await);
}

#[tokio::test]
async fn the_eleventh_session_is_refused_and_a_closed_one_makes_room() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(connection.channel_open_session().await.unwrap());
    }
    assert!(connection.channel_open_session().await.is_err());
    let mut last = open.pop().unwrap();
    last.exec(true, "true").await.unwrap();
    collect(&mut last).await;
    // The place is free as soon as the end of the last command was heard.
    assert!(connection.channel_open_session().await.is_ok());
}

#[tokio::test]
async fn terminals_shells_forwarding_and_a_second_command_are_refused() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.request_shell(true).await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.set_env(true, "LD_PRELOAD", "x").await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.request_subsystem(true, "nothing").await.unwrap();
    assert!(!granted(&mut channel).await);
    channel.exec(true, "cat").await.unwrap();
    assert!(granted(&mut channel).await);
    channel.exec(true, "id").await.unwrap();
    assert!(!granted(&mut channel).await);
    assert!(connection.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1).await.is_err());
}

#[tokio::test]
async fn a_subsystem_is_served_by_its_handler() {
    let setup = Setup::start().await;
    let connection = setup.login().await;
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "echo").await.unwrap();
    assert!(granted(&mut channel).await);
    let input = pattern(8 * MIB);
    let answer = feed_and_collect(channel, input.clone()).await;
    assert!(answer.stdout == input);
    assert_eq!(answer.status, Some(0));
}

#[tokio::test]
async fn openssh_gets_output_errors_input_and_exit_status() {
    let Some(ssh) = program(&["/usr/bin/ssh", "/usr/local/bin/ssh"]) else { return };
    let setup = Setup::start().await;
    let mut child = setup.openssh(&ssh).arg("wc -c; echo err >&2; exit 3").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, &pattern(MIB)).await.unwrap();
    drop(stdin);
    let output = within(child.wait_with_output()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), MIB.to_string());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n");
    assert_eq!(output.status.code(), Some(3));
}

/// A server with a home directory of its own.
struct Setup {
    running: RunningServer,
    stop: CancellationToken,
    home: TempDir,
}

impl Setup {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let echo: Subsystem = Arc::new(|stream| {
            Box::pin(async move {
                let (mut input, mut output) = tokio::io::split(stream);
                tokio::io::copy(&mut input, &mut output).await.map(drop)
            })
        });
        let account = Account {
            name: Username::new(USER).unwrap(),
            home: home.path().canonicalize().unwrap(),
            shell: PathBuf::from("/bin/sh"),
            search_path: "/usr/local/bin:/usr/bin:/bin".into(),
        };
        let options = Options { port: 0, account, subsystems: HashMap::from([("echo", echo)]), stop: stop.clone() };
        Self { running: Server::start(options).await.unwrap(), stop, home }
    }

    fn key(&self) -> PrivateKey {
        decode_secret_key(self.running.client_private_key.expose(), None).unwrap()
    }

    async fn connect(&self) -> Handle<Client> {
        let config = client::Config { nodelay: true, ..client::Config::default() };
        let expected = self.running.host_public_key.clone();
        client::connect(Arc::new(config), self.running.addr, Client { expected }).await.unwrap()
    }

    async fn login(&self) -> Handle<Client> {
        let mut connection = self.connect().await;
        assert!(authenticate(&mut connection, USER, self.key()).await);
        connection
    }

    fn openssh(&self, ssh: &Path) -> tokio::process::Command {
        let (key, known) = (self.home.path().join("key"), self.home.path().join("known"));
        std::fs::write(&key, self.running.client_private_key.expose()).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let port = self.running.addr.port();
        std::fs::write(&known, format!("[127.0.0.1]:{port} {}\n", self.running.host_public_key)).unwrap();
        let mut command = tokio::process::Command::new(ssh);
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known.display())).arg("-i").arg(key);
        command.args(["-p", &port.to_string(), "-l", USER, "127.0.0.1"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

struct Client {
    expected: String,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(key.to_openssh().unwrap() == self.expected)
    }
}

#[derive(Debug, Default, PartialEq)]
struct Answer {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Option<u32>,
    signal: Option<String>,
}

async fn authenticate(connection: &mut Handle<Client>, user: &str, key: PrivateKey) -> bool {
    connection.authenticate_publickey(user, PrivateKeyWithHashAlg::new(Arc::new(key), None)).await.unwrap().success()
}

async fn exec(connection: &Handle<Client>, command: &str, input: &[u8]) -> Answer {
    let channel = connection.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    feed_and_collect(channel, input.to_vec()).await
}

async fn feed_and_collect(channel: Channel<Msg>, input: Vec<u8>) -> Answer {
    let (mut reader, writer) = channel.split();
    let feed = async {
        writer.data_bytes(input).await.unwrap();
        writer.eof().await.unwrap();
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut answer = Answer::default();
        while let Some(message) = reader.wait().await {
            answer.take(message);
        }
        answer
    };
    within(async {
        tokio::select! {
            answer = read => answer,
            () = feed => unreachable!(),
        }
    })
    .await
}

async fn collect(channel: &mut Channel<Msg>) -> Answer {
    let mut answer = Answer::default();
    while let Some(message) = within(channel.wait()).await {
        answer.take(message);
    }
    answer
}

impl Answer {
    fn take(&mut self, message: ChannelMsg) {
        match message {
            ChannelMsg::Data { data } => self.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => self.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => self.status = Some(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => self.signal = Some(format!("{signal_name:?}")),
            _ => {}
        }
    }
}

async fn granted(channel: &mut Channel<Msg>) -> bool {
    loop {
        match within(channel.wait()).await {
            Some(ChannelMsg::Success) => return true,
            Some(ChannelMsg::Failure) | None => return false,
            Some(_) => {}
        }
    }
}

/// A shell and a child of it, both asleep for longer than any test.
async fn start_two_sleepers(connection: &Handle<Client>) -> (Channel<Msg>, Vec<u32>) {
    let mut channel = connection.channel_open_session().await.unwrap();
    channel.exec(true, "sleep 300 & echo $!; echo $$; wait").await.unwrap();
    let pids = read_pids(&mut channel, 2).await;
    (channel, pids)
}

async fn read_pids(channel: &mut Channel<Msg>, count: usize) -> Vec<u32> {
    let mut text = String::new();
    while text.lines().count() < count || !text.ends_with('\n') {
        match within(channel.wait()).await {
            Some(ChannelMsg::Data { data }) => text.push_str(std::str::from_utf8(&data).unwrap()),
            Some(_) => {}
            None => panic!("the command ended after {text:?}"),
        }
    }
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// A zombie still has its folder in `/proc`, so this also proves that they were waited for.
async fn wait_until_gone(pids: &[u32]) {
    for pid in pids {
        assert!(*pid > 1);
        wait_for(PATIENCE, || !Path::new(&format!("/proc/{pid}")).exists()).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

fn pattern(length: usize) -> Vec<u8> {
    b"0123456789abcde\n".iter().copied().cycle().take(length).collect()
}

fn pattern_digest(length: usize) -> aws_lc_rs::digest::Digest {
    aws_lc_rs::digest::digest(&SHA256, &pattern(length))
}

fn program(candidates: &[&str]) -> Option<PathBuf> {
    candidates.iter().map(PathBuf::from).find(|path| path.exists())
}
