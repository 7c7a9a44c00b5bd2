//! Certificates of our own authority against a real OpenSSH server: accepted and refused logins, and the succession of
//! certificates. As in `openssh`, a test passes without doing anything where there is no sshd, or no root.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use goldcrest::credentials::{AuthorityConfig, Cached, CertificateAuthority, Credential, CredentialProvider, Extension};
use goldcrest::domain::{Principal, RemotePath, Secret};
use goldcrest::error::Classify;
use goldcrest::filesystem::{self, ClusterFiles, FileAccess};
use goldcrest::ssh::{CommandLine, Config, Lanes, Transport, TransportError};
use russh::keys::Certificate;
use tokio::io::AsyncReadExt;

use super::openssh::Sshd;
use super::{OneKey, command, config, lanes_with, new_key, sh};
use crate::support::{PATIENCE, principal, wait_for};

/// An authority's key in a folder of its own, as an administrator makes it.
pub struct Key {
    folder: tempfile::TempDir,
}

impl Key {
    /// None where `ssh-keygen` is not installed.
    fn new(arguments: &[&str]) -> Self {
        let key = Self { folder: tempfile::tempdir().unwrap() };
        key.keygen(&[&["-f", "ca", "-C", "an authority"], arguments].concat());
        key
    }

    pub fn ed25519() -> Self {
        Self::new(&["-t", "ed25519", "-N", ""])
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn keygen(&self, arguments: &[&str]) -> String {
        let output = Command::new("ssh-keygen").current_dir(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The line of sshd's configuration by which it trusts the key.
    pub fn trusted(&self) -> String {
        format!("LogLevel VERBOSE\nTrustedUserCAKeys {}", self.path("ca.pub"))
    }

    pub fn config(&self) -> AuthorityConfig {
        AuthorityConfig {
            private_key: Secret::from(std::fs::read_to_string(self.folder.path().join("ca")).unwrap()),
            passphrase: None,
            validity: 300,
            clock_skew: 60,
            source_address: Vec::new(),
            force_command: None,
            extensions: Vec::new(),
        }
    }
}

fn authority(config: &AuthorityConfig) -> CertificateAuthority {
    CertificateAuthority::new(config).unwrap()
}

async fn issue(config: &AuthorityConfig, principal: &Principal) -> Arc<Credential> {
    authority(config).credential(principal).await.unwrap()
}

fn certificate(credential: &Credential) -> Certificate {
    Certificate::from_openssh(credential.certificate.as_deref().unwrap()).unwrap()
}

fn to(sshd: &Sshd, config: &AuthorityConfig) -> Arc<Lanes> {
    by(sshd.port, sshd, config)
}

/// Lanes that log in by this port, with certificates of this authority.
pub fn by(port: u16, sshd: &Sshd, config: &AuthorityConfig) -> Arc<Lanes> {
    lanes_with(super::config(port, &sshd.host_key), Arc::new(Cached::new(authority(config))))
}

/// Lanes that log in with this credential, whoever asks.
fn with(sshd: &Sshd, credential: Arc<Credential>) -> Arc<Lanes> {
    let keys = OneKey::new(&new_key());
    keys.change(credential);
    lanes_with(config(sshd.port, &sshd.host_key), keys)
}

async fn whoami(lanes: &Lanes, principal: &Principal) -> Result<String, TransportError> {
    let output = lanes.exec(principal, sh("id -un; echo \"$SSH_ORIGINAL_COMMAND\"")).await?;
    Ok(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_authorities_of_every_kind_log_in() {
    for (arguments, passphrase) in [
        (["-t", "ed25519", "-N", ""].as_slice(), None),
        (&["-t", "ed25519", "-N", "secret"], Some("secret")),
        (&["-t", "ecdsa", "-b", "384", "-N", ""], None),
        (&["-t", "ecdsa", "-b", "521", "-N", ""], None),
        (&["-t", "rsa", "-b", "2048", "-N", ""], None),
        (&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""], None),
    ] {
        let key = Key::new(arguments);
        let Some(sshd) = Sshd::start(&key.trusted()) else { return };
        let config = AuthorityConfig { passphrase: passphrase.map(|text| Secret::from(text.to_owned())), ..key.config() };
        let found = whoami(&to(&sshd, &config), &principal(&sshd.user)).await;
        assert_eq!(found.unwrap_or_else(|error| panic!("{arguments:?}: {error}")).trim(), sshd.user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_reads_well_and_names_its_caller_in_the_servers_log() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let config = AuthorityConfig {
        source_address: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        extensions: vec![Extension::PermitPty, Extension::PermitPty],
        ..key.config()
    };
    let caller = principal(&sshd.user);
    let credential = issue(&config, &caller).await;
    let serial = certificate(&credential).serial();
    std::fs::write(key.path("issued-cert.pub"), credential.certificate.as_deref().unwrap()).unwrap();
    let read = key.keygen(&["-L", "-f", "issued-cert.pub"]);
    let lines: Vec<&str> = read.lines().map(str::trim).collect();
    let id = format!("goldcrest,user={0},sub=subject-of-{0},client=test-client", sshd.user);
    for line in [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate",
        &format!("Key ID: \"{id}\""),
        &format!("Serial: {serial}"),
        "source-address 127.0.0.0/8,::1",
        "permit-pty",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{read}");
    }
    let principals: Vec<&&str> =
        lines.iter().skip_while(|line| **line != "Principals:").skip(1).take_while(|line| !line.contains(':')).collect();
    assert_eq!(principals, [&sshd.user], "{read}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("permit-")).count(), 1, "{read}");
    let life = certificate(&credential).valid_before() - certificate(&credential).valid_after();
    assert_eq!(life, 360, "five minutes, and one before now");

    whoami(&with(&sshd, credential), &caller).await.unwrap();
    wait_for(PATIENCE, || sshd.log().contains(&format!("ID {id} (serial {serial}) CA ED25519 SHA256:"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_command_is_run_instead_of_the_one_asked_for() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let asked = sshd.path("asked");
    let force_command = format!("echo \"$SSH_ORIGINAL_COMMAND\" >{}; eval \"$SSH_ORIGINAL_COMMAND\"", asked.display());
    let config = AuthorityConfig { force_command: Some(force_command), ..key.config() };
    let output = to(&sshd, &config).exec(&principal(&sshd.user), command(CommandLine::new("echo").flag("ran"))).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ran\n");
    assert_eq!(std::fs::read_to_string(asked).unwrap(), "exec /bin/sh\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_source_address_is_refused() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let from = |network: &str| AuthorityConfig { source_address: vec![network.to_owned()], ..key.config() };
    whoami(&to(&sshd, &from("127.0.0.0/8")), &principal(&sshd.user)).await.unwrap();
    let refused = whoami(&to(&sshd, &from("192.0.2.0/24")), &principal(&sshd.user)).await;
    assert!(matches!(refused, Err(TransportError::Login(_))), "{refused:?}");
    wait_for(PATIENCE, || sshd.log().contains("not from a permitted source address")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_user_is_refused_and_the_message_says_why() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let credential = issue(&key.config(), &principal("somebody-else")).await;
    let serial = certificate(&credential).serial();
    let error = whoami(&with(&sshd, credential), &principal(&sshd.user)).await.unwrap_err();
    let message = error.public_message().into_owned();
    assert!(
        message.starts_with(&format!("the cluster refused the login of {} with the SSH certificate {serial} (goldcrest,", sshd.user)),
        "{message}"
    );
    assert!(message.contains(" at 127.0.0.1:") && message.contains(": it is for other names"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_the_cluster_does_not_trust_is_told() {
    let (key, other) = (Key::ed25519(), Key::ed25519());
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let error = whoami(&to(&sshd, &other.config()), &principal(&sshd.user)).await.unwrap_err();
    let likely = format!("there may be no account {}, it may be revoked there, its authority not trusted", sshd.user);
    assert!(error.public_message().contains(&likely), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_has_ended_is_never_shown_to_the_server() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let credential = issue(&AuthorityConfig { validity: 1, ..key.config() }, &principal(&sshd.user)).await;
    // As from a provider that knows nothing of the end.
    let lanes = with(&sshd, Arc::new(Credential { not_after: None, ..Credential::clone(&credential) }));
    wait_for(PATIENCE, || credential.not_after.unwrap() <= jiff::Timestamp::now()).await;
    let error = whoami(&lanes, &principal(&sshd.user)).await.unwrap_err();
    assert!(matches!(&error, TransportError::Key { reason, .. } if reason == "its time has ended"), "{error}");
    assert!(!sshd.log().contains("Connection from"), "{}", sshd.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_opens_no_new_connection_and_is_named() {
    let key = Key::ed25519();
    std::fs::write(key.path("none"), "").unwrap();
    key.keygen(&["-k", "-q", "-f", "krl", "none"]);
    let Some(sshd) = Sshd::start(&format!("{}\nRevokedKeys {}", key.trusted(), key.path("krl"))) else { return };
    let caller = principal(&sshd.user);
    let credential = issue(&key.config(), &caller).await;
    let serial = certificate(&credential).serial();
    let before = with(&sshd, Arc::clone(&credential));
    whoami(&before, &caller).await.unwrap();

    std::fs::write(key.path("revoked"), format!("serial: {serial}\n")).unwrap();
    key.keygen(&["-k", "-q", "-f", "krl", "-s", "ca.pub", "revoked"]);
    let error = whoami(&with(&sshd, credential), &caller).await.unwrap_err();
    let message = error.public_message().into_owned();
    assert!(message.contains(&format!("the SSH certificate {serial} (")) && message.contains("may be revoked there"), "{message}");
    whoami(&to(&sshd, &key.config()), &caller).await.expect("only that one is revoked");
    whoami(&before, &caller).await.expect("what is open stays open, for ten minutes at most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_host_takes_certificates_that_permit_to_connect_onwards() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let through = || Config { proxy_host: Some("127.0.0.1".to_owned()), proxy_port: Some(sshd.port), ..config(sshd.port, &sshd.host_key) };
    let open = AuthorityConfig { extensions: vec![Extension::PermitPortForwarding], ..key.config() };
    let caller = principal(&sshd.user);
    whoami(&lanes_with(through(), Arc::new(Cached::new(authority(&open)))), &caller).await.unwrap();
    let refused = whoami(&lanes_with(through(), Arc::new(Cached::new(authority(&key.config())))), &caller).await;
    assert!(matches!(refused, Err(TransportError::Connect(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_with_the_same_name_have_certificates_and_connections_of_their_own() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let lanes = to(&sshd, &key.config());
    let one = principal(&sshd.user);
    let other = Principal { subject: "another-subject".to_owned(), ..principal(&sshd.user) };
    for _ in 0..5 {
        whoami(&lanes, &one).await.unwrap();
        whoami(&lanes, &other).await.unwrap();
    }
    assert_eq!(lanes.stats().opened, 2, "and neither takes the other's away: {:?}", lanes.stats());
    wait_for(PATIENCE, || sshd.log().contains("sub=another-subject")).await;
    assert!(sshd.log().contains(&format!("sub=subject-of-{}", sshd.user)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_follows_the_other_and_no_connection_outlives_its_own() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let lanes = to(&sshd, &AuthorityConfig { validity: 6, ..key.config() });
    let caller = principal(&sshd.user);
    whoami(&lanes, &caller).await.unwrap();
    let mut stream = lanes.stream(&caller, &CommandLine::new("sh").flag("-c").arg("sleep 9; echo whole")).await.unwrap();
    let started = Instant::now();
    while lanes.stats().opened < 5 {
        assert!(started.elapsed() < PATIENCE, "{:?}", lanes.stats());
        whoami(&lanes, &caller).await.unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "whole\n", "what was under way ended in its own time, after its certificate");
    drop(stream);

    // Nobody asks any more: no connection is open when the last certificate has ended.
    wait_for(PATIENCE, || lanes.stats().open == 0).await;
    assert_eq!(lanes.stats().closed_credential, lanes.stats().opened);
    let serials = serials(&sshd);
    assert!(serials.len() >= 3, "{serials:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_one_connection_is_served_across_a_renewal() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let settings = Config { max_connections_per_user: 1, ..config(sshd.port, &sshd.host_key) };
    let lanes = lanes_with(settings, Arc::new(Cached::new(authority(&AuthorityConfig { validity: 6, ..key.config() }))));
    let caller = principal(&sshd.user);
    let started = Instant::now();
    while lanes.stats().opened < 3 {
        assert!(started.elapsed() < PATIENCE, "{:?}", lanes.stats());
        futures::future::try_join_all((0..4).map(|_| whoami(&lanes, &caller))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_sftp_session_is_its_callers_alone_and_does_not_outlive_the_certificate() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let lanes = to(&sshd, &AuthorityConfig { validity: 6, ..key.config() });
    let files = ClusterFiles::open(lanes.clone(), FileAccess::Sftp, filesystem::Settings::default());
    let one = principal(&sshd.user);
    let files = files.of(&one).await.unwrap();
    let other = Principal { subject: "another-subject".to_owned(), ..principal(&sshd.user) };
    let root = RemotePath::from_text("/").unwrap();
    files.stat(&one, &root, true).await.unwrap();
    files.stat(&other, &root, true).await.unwrap();
    wait_for(PATIENCE, || serials(&sshd).len() == 2).await;
    let started = Instant::now();
    while serials(&sshd).len() < 4 {
        assert!(started.elapsed() < PATIENCE, "{:?}", serials(&sshd));
        files.stat(&one, &root, true).await.unwrap();
    }
}

/// The lines of the log as JSON.
#[derive(Clone, Default)]
struct JsonLog(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for JsonLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_audit_trail_has_the_serial_number_as_text_which_no_reader_of_json_rounds() {
    let key = Key::ed25519();
    let Some(sshd) = Sshd::start(&key.trusted()) else { return };
    let credential = issue(&key.config(), &principal(&sshd.user)).await;
    let (_, _other_listener) = crate::support::records::records();
    let log = JsonLog::default();
    let writer = log.clone();
    let json = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(json);
    whoami(&with(&sshd, Arc::clone(&credential)), &principal(&sshd.user)).await.unwrap();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().find(|line| line.contains("ssh.login")).unwrap_or_else(|| panic!("{text}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["serial"], certificate(&credential).serial().to_string());
}

/// The serial numbers of the certificates that the server let in.
fn serials(sshd: &Sshd) -> std::collections::BTreeSet<String> {
    let log = sshd.log();
    let accepted = log.lines().filter(|line| line.starts_with("Accepted publickey"));
    accepted.filter_map(|line| Some(line.split_once("(serial ")?.1.split_once(')')?.0.to_owned())).collect()
}
