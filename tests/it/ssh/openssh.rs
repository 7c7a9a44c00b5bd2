//! The lanes against a real OpenSSH server with its stock limits, started by each test on loopback.
//!
//! Each test passes without doing anything where `sshd` is not installed or the tests do not run as root, which sshd needs in
//! order to start sessions.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use goldcrest::credentials::Credential;
use goldcrest::ssh::{CommandLine, Config, Exec, LaneKind, Lanes, Timeouts, Transport, TransportError};
use goldcrest::telemetry::{Metrics, Sources};
use russh::keys::{PrivateKey, ssh_key::LineEnding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{OneKey, command, config, exec, lanes, limits, new_key, sh};
use crate::api::Api;
use crate::support::{PATIENCE, principal, skip, wait_for, wait_until};

const SSHD: &str = "/usr/sbin/sshd";

pub struct Sshd {
    process: Child,
    pub port: u16,
    pub(super) host_key: PrivateKey,
    pub user: String,
    pub(super) user_key: PrivateKey,
    pub(super) directory: tempfile::TempDir,
}

impl Sshd {
    /// A server with these further lines of configuration; none where it cannot be had.
    pub fn start(settings: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() || !rustix::process::geteuid().is_root() {
            skip(&format!("this test needs {SSHD} and root"));
            return None;
        }
        std::fs::create_dir_all("/run/sshd").unwrap();
        let directory = tempfile::tempdir().unwrap();
        // The user reads the keys and writes marks there.
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let user = ordinary_user();
        let (host_key, user_key) = (new_key(), new_key());
        let path = |name: &str| directory.path().join(name);
        let private = |key: &PrivateKey, name: &str| {
            std::fs::write(path(name), key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
            std::fs::set_permissions(path(name), Permissions::from_mode(0o600)).unwrap();
        };
        private(&host_key, "host_key");
        std::fs::write(path("authorized_keys"), user_key.public_key().to_openssh().unwrap()).unwrap();
        for port in 22100..22200 {
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_err() {
                continue;
            }
            let text = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
                 PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n\
                 SetEnv SHLVL=2\n{settings}\n",
                path("host_key").display(),
                path("authorized_keys").display()
            );
            std::fs::write(path("sshd_config"), text).unwrap();
            if let Some(process) = listening(directory.path()) {
                return Some(Self { process, port, host_key, user, user_key, directory });
            }
        }
        panic!("no sshd would start on the ports 22100 to 22199");
    }

    /// Kills the server with all its sessions.
    pub fn kill(&mut self) {
        let sessions = self.sessions();
        let _ = self.process.kill();
        let _ = self.process.wait();
        sessions.into_iter().for_each(|session| stop(session, rustix::process::Signal::KILL));
    }

    /// Starts it again, after it was killed.
    pub fn start_again(&mut self) {
        self.process = listening(self.directory.path()).expect("it starts again");
    }

    /// What it has written so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub fn lanes(&self) -> Arc<Lanes> {
        self.lanes_with(|_| {})
    }

    /// Lanes to it with other settings.
    pub fn lanes_with(&self, change: impl FnOnce(&mut Config)) -> Arc<Lanes> {
        let mut settings = config(self.port, &self.host_key);
        change(&mut settings);
        lanes(settings, OneKey::new(&self.user_key))
    }

    /// A path that the user may write to.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The server processes of the connections: of each the monitor, and the one that works as the user.
    fn sessions(&self) -> Vec<i32> {
        let monitors = children(self.process.id().cast_signed());
        monitors.iter().flat_map(|monitor| children(*monitor)).chain(monitors.clone()).collect()
    }
}

/// A server with the configuration in this directory, once it listens; none if it ends.
fn listening(directory: &Path) -> Option<Child> {
    let log = directory.join("log");
    let mut process = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(directory.join("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until && process.try_wait().unwrap().is_none() {
        if std::fs::read_to_string(&log).unwrap().contains("Server listening") {
            return Some(process);
        }
        #[expect(clippy::disallowed_methods, reason = "the server is a process, and this is no task yet")]
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}

/// Time limits for a machine on which everything takes long.
fn slow_limits(connection: u64) -> Timeouts {
    Timeouts { connection, login: 60, command_execution: 60, idle_timeout: 300, keep_alive: 60 }
}

fn children(pid: i32) -> Vec<i32> {
    // A process that has ended since has none.
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// An account that can log in and is not root, for which sshd delivers signals; root where there is none. Without PAM sshd lets
/// nobody in whose account is locked.
fn ordinary_user() -> String {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let passwords = std::fs::read_to_string("/etc/shadow").unwrap();
    let locked = |name: &str| passwords.lines().any(|line| line.starts_with(&format!("{name}:!")));
    let ordinary = accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u32 = fields.get(2)?.parse().ok()?;
        (uid >= 1000 && fields.get(6)?.ends_with("sh") && !locked(fields[0])).then(|| fields[0].to_owned())
    });
    ordinary.unwrap_or_else(|| "root".to_owned())
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn two_hundred(settings: &str) {
    let Some(sshd) = Sshd::start(settings) else { return };
    let lanes = sshd.lanes();
    let started = Instant::now();
    let running = (0..200).map(|_| {
        let (lanes, user) = (Arc::clone(&lanes), sshd.user.clone());
        tokio::spawn(async move { exec(&lanes, &user, command(CommandLine::new("ls").arg("/"))).await })
    });
    let mut failures = Vec::new();
    for result in futures::future::join_all(running).await {
        match result.unwrap() {
            Ok(output) if output.exit == 0 && output.stdout.split(|byte| *byte == b'\n').any(|name| name == b"bin") => {}
            other => failures.push(format!("{other:?}")),
        }
    }
    eprintln!("200 concurrent ls with {settings:?}: {:?}, {:?}", started.elapsed(), lanes.stats());
    assert!(failures.is_empty(), "{} failed, first: {}", failures.len(), failures[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_commands_of_one_user_pass_the_stock_limits() {
    two_hundred("MaxSessions 10\nMaxStartups 10:30:100").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_commands_of_one_user_pass_a_tight_session_limit() {
    two_hundred("MaxSessions 3\nMaxStartups 10:30:100").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_what_the_lanes_did_and_not_for_whom() {
    let Some(sshd) = Sshd::start("MaxSessions 2") else { return };
    let lanes = sshd.lanes_with(|config| config.max_connections_per_user = 2);
    let api = Api::new(vec![], vec![]);
    let metrics = Metrics::new(Sources {
        request_metrics: api.request_metrics,
        gate: api.gate,
        lanes: vec![Arc::clone(&lanes)],
        store: None,
        webhooks: None,
        tasks: Vec::new(),
    });
    let value = |series: &str| {
        let text = metrics.render(goldcrest::http::MetricsFormat::OpenMetrics).unwrap();
        assert!(!text.contains(&format!("\"{}\"", sshd.user)), "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("goldcrest_ssh_{series} "))?.parse::<u64>().ok());
        value.unwrap_or_else(|| panic!("no {series} in\n{text}"))
    };
    assert_eq!(value("connections_opened_total{system=\"test\"}"), 0);
    let running = (0..20).map(|_| exec(&lanes, &sshd.user, sh("sleep 0.1")));
    for output in futures::future::join_all(running).await {
        assert_eq!(output.unwrap().exit, 0);
    }
    let stats = lanes.stats();
    assert!(stats.waits > 0 && stats.channels >= 20, "{stats:?}");
    assert_eq!(value("connections{system=\"test\"}"), stats.open);
    assert_eq!(value("requests_waiting{system=\"test\"}"), 0);
    assert_eq!(value("connections_opened_total{system=\"test\"}"), stats.opened);
    assert_eq!(value("channels_opened_total{system=\"test\"}"), stats.channels);
    assert_eq!(value("channels_refused_total{system=\"test\"}"), stats.refused);
    assert_eq!(value("channel_waits_total{system=\"test\"}"), stats.waits);
    lanes.close().await;
    wait_until(PATIENCE, async || value("connections{system=\"test\"}") == 0).await;
    assert_eq!(value("connections_closed_total{system=\"test\",reason=\"shutdown\"}"), stats.open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_connection_carries_hundreds_of_commands_a_second() {
    let Some(sshd) = Sshd::start("MaxSessions 10") else { return };
    let mut settings = config(sshd.port, &sshd.host_key);
    settings.max_connections_per_user = 1;
    let lanes = lanes(settings, OneKey::new(&sshd.user_key));
    exec(&lanes, &sshd.user, sh("true")).await.unwrap();
    for tasks in [1, 32] {
        let each = 320 / tasks;
        let started = Instant::now();
        let running = (0..tasks).map(|_| {
            let (lanes, user) = (Arc::clone(&lanes), sshd.user.clone());
            tokio::spawn(async move {
                for _ in 0..each {
                    exec(&lanes, &user, command(CommandLine::new("true"))).await.unwrap();
                }
            })
        });
        for done in futures::future::join_all(running).await {
            done.unwrap();
        }
        eprintln!("{} commands, {tasks} at once: {:.0} a second", each * tasks, f64::from(each * tasks) / started.elapsed().as_secs_f64());
    }
    assert_eq!(lanes.stats().opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_out_of_time_is_gone_from_the_server() {
    let Some(sshd) = Sshd::start("") else { return };
    let lanes = sshd.lanes();
    let mark = sshd.directory.path().join("mark");
    // The port makes the commands of this test its own.
    let line = |last| CommandLine::new("sh").flag("-c").arg(format!("echo $$ > {}; sleep {}{last} & wait", mark.display(), sshd.port));
    let gone = || {
        let pid = std::fs::read_to_string(&mark).unwrap();
        !Path::new(&format!("/proc/{}", pid.trim())).exists()
    };

    let mut hung = command(line(1));
    hung.limits = limits(Duration::from_secs(1), 100);
    assert!(matches!(exec(&lanes, &sshd.user, hung).await, Err(TransportError::Execution(_))));
    wait_for(PATIENCE, gone).await;

    std::fs::remove_file(&mark).unwrap();
    let dropped = tokio::time::timeout(Duration::from_secs(1), exec(&lanes, &sshd.user, command(line(2)))).await;
    assert!(dropped.is_err());
    wait_for(PATIENCE, gone).await;
    assert_eq!(
        exec(
            &lanes,
            &sshd.user,
            command(CommandLine::new("pgrep").flag("-u").arg(&sshd.user).flag("-f").arg(format!("sleep {}[12]", sshd.port)))
        )
        .await
        .unwrap()
        .exit,
        1
    );
    // A slow machine may have been given a second connection while the first was looked at; none is given up.
    let stats = lanes.stats();
    assert_eq!(stats.open, stats.opened, "the connections stay in use: {stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_process_costs_no_request_more_than_its_patience() {
    let Some(sshd) = Sshd::start("") else { return };
    // The connection is given up after half of `connection`. The other limits are far beyond that, and beyond what a loaded machine takes for a
    // login: a request that waits for one of them is told from one that does not.
    let lanes = sshd.lanes_with(|config| config.timeout = slow_limits(10));
    exec(&lanes, &sshd.user, sh("true")).await.unwrap();
    let frozen = sshd.sessions();
    for pid in &frozen {
        stop(*pid, rustix::process::Signal::STOP);
    }
    let started = Instant::now();
    let result = exec(&lanes, &sshd.user, sh("true")).await;
    let took = started.elapsed();
    for pid in &frozen {
        stop(*pid, rustix::process::Signal::CONT);
    }
    eprintln!("beside a stopped server process: {took:?}");
    assert_eq!(result.unwrap().exit, 0);
    assert!(took < Duration::from_secs(50), "{took:?}");
    assert_eq!(lanes.stats().opened, 2, "it went another way while the first connection stood still");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_on_the_server_is_not_seen_by_the_next_request() {
    let Some(sshd) = Sshd::start("") else { return };
    let lanes = sshd.lanes();
    for round in 1..=3 {
        assert_eq!(exec(&lanes, &sshd.user, sh("true")).await.unwrap().exit, 0);
        assert_eq!(lanes.stats().opened, round);
        for pid in sshd.sessions() {
            stop(pid, rustix::process::Signal::KILL);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_max_startups_all_get_in() {
    let Some(sshd) = Sshd::start("MaxStartups 2:100:2") else { return };
    let clients = futures::future::join_all((0..12).map(|_| {
        // Those that are dropped try again for as long as a connection may take.
        let (lanes, user) = (sshd.lanes_with(|config| config.timeout = slow_limits(60)), sshd.user.clone());
        tokio::spawn(async move {
            let result = exec(&lanes, &user, sh("true")).await;
            (result.map(|output| output.exit), lanes.stats().dropped_by_server)
        })
    }));
    let clients: Vec<_> = clients.await.into_iter().map(Result::unwrap).collect();
    eprintln!("dropped by MaxStartups and let in later: {}", clients.iter().map(|(_, dropped)| dropped).sum::<u64>());
    assert!(clients.iter().all(|(result, _)| matches!(result, Ok(0))), "{clients:?}");
}

/// Runs `ssh-keygen` in the server's directory.
fn keygen(sshd: &Sshd, arguments: &[&str]) {
    let output = Command::new("ssh-keygen").current_dir(sshd.directory.path()).arg("-q").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_certificates_of_every_kind_log_in() {
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("authority.pub");
    let Some(sshd) = Sshd::start(&format!("TrustedUserCAKeys {}", authority.display())) else { return };
    keygen(&sshd, &["-t", "ed25519", "-N", "", "-f", "authority"]);
    std::fs::copy(sshd.directory.path().join("authority.pub"), &authority).unwrap();
    let path = |name: &str| sshd.directory.path().join(name);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let kinds: [(&str, &[&str], &str, bool); 8] = [
        ("ed25519", &["-t", "ed25519"], "", false),
        ("ecdsa", &["-t", "ecdsa", "-b", "384"], "", false),
        ("rsa", &["-t", "rsa", "-b", "3072"], "", false),
        ("rsa-pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"], "", false),
        ("rsa-pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"], "", false),
        ("locked", &["-t", "ed25519"], "secret", false),
        ("ed25519-signed", &["-t", "ed25519"], "", true),
        ("rsa-signed", &["-t", "rsa", "-b", "2048"], "", true),
    ];
    for (name, arguments, passphrase, signed) in kinds {
        keygen(&sshd, &[arguments, &["-N", passphrase, "-f", name]].concat());
        if signed {
            keygen(&sshd, &["-s", "authority", "-I", name, "-n", &sshd.user, "-V", "+5m", &format!("{name}.pub")]);
            std::fs::write(path("authorized_keys"), "").unwrap();
        } else {
            std::fs::copy(path(&format!("{name}.pub")), path("authorized_keys")).unwrap();
        }
        let keys = OneKey::new(&sshd.user_key);
        keys.change(Arc::new(Credential {
            private_key: read(name).into(),
            passphrase: (!passphrase.is_empty()).then(|| passphrase.to_owned().into()),
            certificate: signed.then(|| read(&format!("{name}-cert.pub"))),
            not_after: None,
            caller: None,
        }));
        let lanes = lanes(config(sshd.port, &sshd.host_key), keys);
        let started = Instant::now();
        let result = exec(&lanes, &sshd.user, sh("true")).await;
        eprintln!("{name}: {:?}", started.elapsed());
        assert!(matches!(&result, Ok(output) if output.exit == 0), "{name}: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_input_and_large_output_arrive_whole() {
    let Some(sshd) = Sshd::start("") else { return };
    let mut settings = config(sshd.port, &sshd.host_key);
    settings.max_output = 16 << 20;
    settings.timeout.command_execution = 60;
    let lanes = lanes(settings, OneKey::new(&sshd.user_key));
    let stdin: Vec<u8> = (0..12u32 << 20).map(|index| (index % 251) as u8).collect();
    let copy = Exec { stdin: stdin.clone().into(), ..command(CommandLine::new("cat")) };
    let output = exec(&lanes, &sshd.user, copy).await.unwrap();
    assert!(output.stdout == stdin, "{} bytes came back", output.stdout.len());

    let unread = Exec { stdin: stdin.into(), ..sh("exit 7") };
    assert_eq!(exec(&lanes, &sshd.user, unread).await.unwrap().exit, 7, "a command need not read its input");

    let started = Instant::now();
    let flood = exec(&lanes, &sshd.user, sh("exec cat /dev/zero")).await;
    assert!(matches!(flood, Err(TransportError::Output(_))));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(exec(&lanes, &sshd.user, sh("true")).await.unwrap().exit, 0);
    assert_eq!(lanes.stats().opened, 1);
}

pub(super) fn stop(pid: i32, signal: rustix::process::Signal) {
    match rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal) {
        // It has ended by itself, as the monitor of a session does when its child is killed.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("{pid} could not be sent {signal:?}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_streams_carry_data_both_ways() {
    let Some(sshd) = Sshd::start("") else { return };
    let lanes = sshd.lanes();
    let size = 64 << 20;
    let path = sshd.directory.path().join("data");

    let started = Instant::now();
    let line = CommandLine::new("sh").flag("-c").arg(format!("cat > {}", path.display()));
    let mut upload = lanes.stream(&principal(&sshd.user), &line).await.unwrap();
    let block = vec![7u8; 1 << 20];
    for _ in 0..64 {
        upload.write_all(&block).await.unwrap();
    }
    upload.shutdown().await.unwrap();
    assert_eq!(upload.read(&mut [0; 1]).await.unwrap(), 0);
    eprintln!("up: {:.0} MiB/s", 64.0 / started.elapsed().as_secs_f64());
    assert_eq!(std::fs::metadata(&path).unwrap().len(), size);

    let started = Instant::now();
    let mut download = lanes.stream(&principal(&sshd.user), &CommandLine::new("cat").arg(path.to_str().unwrap())).await.unwrap();
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = download.read(&mut buffer).await.unwrap();
        if length == 0 {
            break;
        }
        assert!(buffer[..length].iter().all(|byte| *byte == 7));
        received += length;
    }
    eprintln!("down: {:.0} MiB/s", 64.0 / started.elapsed().as_secs_f64());
    assert_eq!(received as u64, size);

    let mut failing = lanes.stream(&principal(&sshd.user), &CommandLine::new("cat").arg("/does/not/exist")).await.unwrap();
    let error = failing.read(&mut buffer).await.unwrap_err();
    assert_eq!(error.to_string(), "Remote process failed with exit status:1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sftp_subsystem_answers_and_its_channel_is_given_back() {
    let Some(sshd) = Sshd::start("") else { return };
    let lanes = sshd.lanes();
    for _ in 0..40 {
        let mut sftp = lanes.subsystem(&principal(&sshd.user), LaneKind::Control, "sftp").await.unwrap();
        // SSH_FXP_INIT for version 3 (draft-ietf-secsh-filexfer-02, 4), and the answer of the same shape.
        sftp.write_all(&[0, 0, 0, 5, 1, 0, 0, 0, 3]).await.unwrap();
        let mut answer = [0; 9];
        sftp.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[4..], [2, 0, 0, 0, 3]);
    }
    let refused = lanes.subsystem(&principal(&sshd.user), LaneKind::Control, "none-such").await;
    assert!(matches!(refused, Err(TransportError::Refused(_))));
    let stats = lanes.stats();
    assert_eq!((stats.refused, stats.closed_lingering), (0, 0), "{stats:?}");
}
