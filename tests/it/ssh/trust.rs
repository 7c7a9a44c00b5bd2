//! The verification of servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use goldcrest::ssh::{CommandLine, Config, HostKeys, Lanes, TransportError};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::double::{Behaviour, Double};
use super::{OneKey, command, config, exec, lanes, new_key};
use crate::support::{PATIENCE, wait_for};

async fn reach(lanes: &Lanes) -> Result<(), String> {
    match exec(lanes, "ada", command(CommandLine::new("echo"))).await {
        Ok(_) => Ok(()),
        Err(TransportError::HostKey(reason)) => Err(reason),
        Err(other) => panic!("{other:?}"),
    }
}

fn with(double: &Double, host_keys: HostKeys) -> Arc<Lanes> {
    lanes(Config { host_keys: Some(host_keys), ..config(double.port, &double.host_key) }, OneKey::new(&new_key()))
}

fn public(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

fn fingerprint(key: &PrivateKey) -> String {
    key.fingerprint(russh::keys::HashAlg::Sha256).to_string()
}

#[tokio::test]
async fn a_key_that_is_not_the_pinned_one_is_refused() {
    let double = Double::start(Behaviour::default()).await;
    reach(&with(&double, HostKeys::Pinned(vec![public(&new_key()), public(&double.host_key)]))).await.unwrap();
    let lanes = with(&double, HostKeys::Pinned(vec![public(&new_key())]));
    let reason = reach(&lanes).await.unwrap_err();
    assert!(reason.contains("not the one that is known") && reason.contains(&fingerprint(&double.host_key)), "{reason}");
    assert!(double.record.users.lock().unwrap().len() == 1, "nobody logs in to a host that is not believed");
}

#[tokio::test]
async fn known_hosts_files_are_read_anew_for_each_connection() {
    let double = Double::start(Behaviour::default()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let lanes = with(&double, HostKeys::KnownHosts(file.path().to_owned()));
    let reason = reach(&lanes).await.unwrap_err();
    assert!(reason.contains("no key of 127.0.0.1") && reason.contains(&fingerprint(&double.host_key)), "{reason}");

    let name = format!("[127.0.0.1]:{}", double.port);
    std::fs::write(file.path(), format!("# hosts\n{name} {}\n", public(&double.host_key))).unwrap();
    reach(&lanes).await.unwrap();
}

#[tokio::test]
async fn hashed_and_revoked_lines_count() {
    let double = Double::start(Behaviour::default()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("[127.0.0.1]:{} {}\n", double.port, public(&double.host_key))).unwrap();
    if let Ok(hashed) = std::process::Command::new("ssh-keygen").arg("-H").arg("-f").arg(file.path()).output() {
        assert!(hashed.status.success());
        assert!(std::fs::read_to_string(file.path()).unwrap().starts_with("|1|"));
    }
    reach(&with(&double, HostKeys::KnownHosts(file.path().to_owned()))).await.unwrap();

    let mut text = std::fs::read_to_string(file.path()).unwrap();
    text.push_str(&format!("@revoked * {}\n", public(&double.host_key)));
    std::fs::write(file.path(), text).unwrap();
    let reason = reach(&with(&double, HostKeys::KnownHosts(file.path().to_owned()))).await.unwrap_err();
    assert!(reason.contains("@revoked"), "{reason}");
}

#[tokio::test]
async fn a_missing_file_is_an_error_and_not_trust() {
    let double = Double::start(Behaviour::default()).await;
    let reason = reach(&with(&double, HostKeys::KnownHosts("/does/not/exist".into()))).await.unwrap_err();
    assert!(reason.contains("/does/not/exist"), "{reason}");
}

#[tokio::test]
async fn trust_on_first_use_insists_on_the_first_key() {
    let first = Double::start(Behaviour::default()).await;
    let port = first.port;
    let lanes = with(&first, HostKeys::TrustOnFirstUse);
    reach(&lanes).await.unwrap();
    first.stop();
    drop(first);
    wait_for(PATIENCE, || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).await;
    let second = Double::start_at(port, new_key(), Behaviour::default()).await;
    let reason = reach(&lanes).await.unwrap_err();
    assert!(reason.contains(&fingerprint(&second.host_key)), "{reason}");
}

fn certificate(host_key: &PrivateKey, authority: &PrivateKey, name: &str, kind: CertType) -> russh::keys::Certificate {
    let now = SystemTime::now();
    let (from, to) = (now - Duration::from_secs(60), now + Duration::from_secs(60));
    let mut builder =
        Builder::new_with_random_nonce(&mut russh::keys::key::safe_rng(), host_key.public_key(), unix(from), unix(to)).unwrap();
    builder.cert_type(kind).unwrap();
    builder.key_id("host").unwrap();
    builder.valid_principal(name).unwrap();
    builder.sign(authority).unwrap()
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn a_host_certificate_counts_when_its_authority_is_known() {
    let (host_key, authority) = (new_key(), new_key());
    let pinned = |authority: &PrivateKey| HostKeys::Pinned(vec![format!("@cert-authority {}", public(authority))]);
    for (name, kind, good) in [("127.0.0.1", CertType::Host, true), ("other", CertType::Host, false), ("127.0.0.1", CertType::User, false)]
    {
        let certificate = Some(certificate(&host_key, &authority, name, kind));
        let double = Double::start_at(0, host_key.clone(), Behaviour { certificate, ..Behaviour::default() }).await;
        assert_eq!(reach(&with(&double, pinned(&authority))).await.is_ok(), good, "{name} {kind:?}");
        assert!(reach(&with(&double, pinned(&new_key()))).await.is_err(), "an authority that is not known");
        reach(&with(&double, HostKeys::Pinned(vec![public(&host_key)]))).await.unwrap();
    }
}

#[tokio::test]
async fn a_jump_host_is_checked_like_the_host_behind_it() {
    let (jump, target) = (Double::start(Behaviour::default()).await, Double::start(Behaviour::default()).await);
    let through = |keys: Vec<String>| {
        let settings = Config {
            proxy_host: Some("127.0.0.1".to_owned()),
            proxy_port: Some(jump.port),
            host_keys: Some(HostKeys::Pinned(keys)),
            ..config(target.port, &target.host_key)
        };
        lanes(settings, OneKey::new(&new_key()))
    };
    reach(&through(vec![public(&jump.host_key), public(&target.host_key)])).await.unwrap();
    assert_eq!(jump.record.users.lock().unwrap().len(), 1);
    assert!(reach(&through(vec![public(&target.host_key)])).await.unwrap_err().contains(&fingerprint(&jump.host_key)));
    assert!(reach(&through(vec![public(&jump.host_key)])).await.unwrap_err().contains(&fingerprint(&target.host_key)));
}

#[tokio::test]
async fn a_server_that_is_not_one_of_ssh_is_named_with_its_answer_and_not_tried_again() {
    let double = Double::start(Behaviour::default()).await;
    for (answer, shown) in [
        (&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], "it answered \"HTTP/1.1 400 Bad Request\""),
        (b"\x15\x03\x03\x00\x02\x02\x32", "it answered with bytes that are no text"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let server = tokio::spawn(async move {
            loop {
                let mut connection = listener.accept().await.unwrap().0;
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = connection.read(&mut [0; 1024]).await.unwrap();
                connection.write_all(answer).await.unwrap();
                connection.shutdown().await.unwrap();
                // Until the client has closed, so that no reset overtakes the answer.
                let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
            }
        });
        let lanes = lanes(config(port, &double.host_key), OneKey::new(&new_key()));
        let error = exec(&lanes, "ada", command(CommandLine::new("echo"))).await.unwrap_err();
        let expected = format!("127.0.0.1:{port}: this is no SSH server: {shown}; is the port that of sshd?");
        assert!(matches!(&error, TransportError::Connect(reason) if *reason == expected), "{error:?}");
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        server.abort();
    }
}
