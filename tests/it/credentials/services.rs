//! `SSHService` and `SSHCA`: requests, accepted answers, and error messages.

use std::time::Duration;

use goldcrest::config;
use goldcrest::credentials::{Config, CredentialError, CredentialProvider, KeyService, SshCa};
use goldcrest::error::{Classify, ErrorChain, Kind};
use goldcrest::rest::Client;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PublicKey, decode_secret_key};
use serde_json::json;

use super::{TOKEN, ada, certificate, minute, new_key, text};
use crate::support::service::{Reply, Seen, Service};

/// The section as a file for FirecREST has it, read by the loader.
fn section(kind: &str, url: &str, more: &str) -> Config {
    let site = "auth: {authentication: {token_url: 'https://i/t', public_certs: ['https://i/c']}}\nclusters: []\n";
    let text = format!("{site}ssh_credentials:\n  type: \"{kind}\"\n  url: \"{url}\"\n  {more}\n");
    config::from_yaml(&text, std::iter::empty()).unwrap().config.ssh_credentials
}

fn key_service(url: &str, more: &str) -> KeyService {
    let Config::KeyService(config) = section("SSHService", url, more) else { panic!("another type") };
    KeyService::new(&config, Client::new().unwrap()).unwrap()
}

fn ssh_ca(url: &str, more: &str) -> SshCa {
    let Config::SshCa(config) = section("SSHCA", url, more) else { panic!("another type") };
    SshCa::new(&config, Client::new().unwrap()).unwrap()
}

/// The answer of a key service.
fn keys(private_key: &str, certificate: &str) -> Reply {
    Reply::status(201, json!({"sshKey": {"privateKey": private_key, "publicKey": certificate}}).to_string())
}

/// Signs the key in a request to an SSHCA.
fn sign(seen: &Seen) -> Reply {
    let key = PublicKey::from_openssh(seen.json()["PublicKey"].as_str().unwrap()).unwrap();
    Reply::status(200, format!("{}\n", minute(&key)))
}

async fn failure(provider: &dyn CredentialProvider) -> CredentialError {
    let error = provider.credential(&ada()).await.unwrap_err();
    for told in [ErrorChain(&error).to_string(), format!("{error:?}"), error.public_message().into_owned()] {
        assert!(!told.contains(TOKEN) && !told.contains("hunter2"), "{told}");
    }
    assert_eq!(error.maybe_effected(), Some(false));
    error
}

fn told(error: &CredentialError) -> (Kind, String) {
    (error.kind(), error.public_message().into_owned())
}

#[tokio::test]
async fn a_key_service_is_asked_with_the_callers_token_and_its_keys_are_taken() {
    let key = new_key();
    let (private_key, minute) = (text(&key), minute(key.public_key()));
    let service = Service::start(move |_| keys(&private_key, &minute)).await;
    let credential = key_service(&service.url, "max_connections: 500").credential(&ada()).await.unwrap();

    let seen = &service.seen()[0];
    assert_eq!((seen.method.as_str(), seen.uri.path()), ("POST", "/api/v1/ssh-keys"));
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!((seen.header("x-client-type"), seen.header("x-client-name")), (Some("api"), Some("firecrest")));
    assert!(seen.header("x-client-version").is_some());
    assert_eq!(seen.json(), json!({"duration": "1min", "username": "ada"}));

    let decoded = decode_secret_key(credential.private_key.expose(), None).unwrap();
    assert_eq!(decoded.public_key().key_data(), key.public_key().key_data());
    assert!(Certificate::from_openssh(credential.certificate.as_deref().unwrap()).is_ok());
    let left = credential.not_after.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
    assert!((50..=60).contains(&left), "{left}");
    assert_eq!(credential.caller.as_ref().unwrap().subject, ada().subject);
}

#[tokio::test]
async fn a_path_in_the_services_url_is_kept_and_a_longer_life_can_be_asked_for() {
    let service = Service::start(|_| Reply::status(500, "")).await;
    failure(&key_service(&format!("{}/base/", service.url), "duration: 10min")).await;
    assert_eq!(service.seen()[0].uri.path(), "/base/api/v1/ssh-keys");
    assert_eq!(service.seen()[0].json()["duration"], "10min");
}

#[tokio::test]
async fn an_sshca_signs_a_key_that_never_leaves_this_process() {
    let service = Service::start(sign).await;
    let ca = ssh_ca(&format!("{}/demoCA", service.url), "maxConnections: 3");
    let credential = ca.credential(&ada()).await.unwrap();
    let seen = &service.seen()[0];
    assert_eq!((seen.method.as_str(), seen.uri.path()), ("POST", "/demoCA/sign"));
    let body = seen.json();
    assert_eq!(body["OTT"], TOKEN);
    assert_eq!(body.as_object().unwrap().len(), 2);
    let key = PublicKey::from_openssh(body["PublicKey"].as_str().unwrap()).unwrap();
    assert!(key.algorithm().is_ed25519());
    assert!(seen.header("authorization").is_none(), "the token is in the body");
    let private = decode_secret_key(credential.private_key.expose(), None).unwrap();
    assert_eq!(private.public_key().key_data(), key.key_data());
    assert!(!seen.text().contains("PRIVATE"));

    ca.credential(&ada()).await.unwrap();
    assert_ne!(service.seen()[1].json()["PublicKey"], body["PublicKey"], "each certificate has a key of its own");
}

#[tokio::test]
async fn what_the_service_refuses_is_told_with_what_to_change() {
    for (status, kind, words) in [
        (401, Kind::DependencyFailed, "did not accept the token of ada (status 401): the token must be issued for that service too"),
        (400, Kind::DependencyFailed, "did not accept the token of ada (status 400)"),
        (403, Kind::Forbidden, "gives ada no credential (status 403): ask those who run it"),
        (404, Kind::DependencyFailed, "answered with status 404"),
        (302, Kind::DependencyFailed, "answered with status 302"),
        (503, Kind::DependencyFailed, "answered with status 503"),
    ] {
        // Its words may hold anything, such as the token that it was sent.
        let service = Service::start(move |_| Reply::status(status, format!("no: {TOKEN} hunter2"))).await;
        for provider in [&key_service(&service.url, "") as &dyn CredentialProvider, &ssh_ca(&service.url, "")] {
            let (found, message) = told(&failure(provider).await);
            assert_eq!(found, kind, "{message}");
            assert!(message.starts_with("the SSH ") && message.contains(words), "{message}");
        }
    }
}

#[tokio::test]
async fn a_service_that_is_down_or_silent_is_told_apart() {
    let silent = Service::start(|seen| sign(seen).after(Duration::from_secs(30))).await;
    let (kind, message) = told(&failure(&ssh_ca(&silent.url, "timeout: 1")).await);
    assert_eq!(kind, Kind::DependencyFailed);
    assert!(message.ends_with("the service did not answer within 1 s"), "{message}");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (kind, message) = told(&failure(&key_service(&format!("http://{gone}"), "")).await);
    assert_eq!(kind, Kind::DependencyFailed);
    assert!(
        message.starts_with("the SSH key service gave no credential: the service could not be reached: Connection refused"),
        "{message}"
    );
}

#[tokio::test]
async fn garbage_from_a_key_service_is_no_credential() {
    let (key, other) = (new_key(), new_key());
    let (private, good) = (text(&key), minute(key.public_key()));
    let of_kind = |kind, seconds| certificate(key.public_key(), kind, seconds).to_openssh().unwrap();
    let cases: Vec<(Reply, &str)> = vec![
        (Reply::status(201, "hunter2"), "not in the form"),
        (Reply::status(201, ""), "not in the form"),
        (Reply::json(&json!({"sshKey": {"privateKey": "hunter2"}})), "not in the form"),
        (Reply::json(&json!({"sshKey": {"privateKey": 7, "publicKey": "hunter2"}})), "not in the form"),
        (keys("hunter2", &good), "no private key"),
        (keys(&private, "hunter2"), "no SSH certificate"),
        (keys(&private, &key.public_key().to_openssh().unwrap()), "no SSH certificate"),
        (keys(&private, &good[..good.len() / 2]), "no SSH certificate"),
        (keys(&private, &"A".repeat(20_000)), "too long"),
        (keys(&private, &minute(other.public_key())), "for another key"),
        (keys(&private, &of_kind(CertType::User, -5)), "has expired"),
        (keys(&private, &of_kind(CertType::Host, 60)), "one for hosts"),
        (Reply::status(201, vec![b' '; 200_000]), "larger than 65536 bytes"),
    ];
    for (reply, words) in cases {
        let (status, body) = (reply.status, reply.body);
        let service = Service::start(move |_| Reply::status(status, body.clone())).await;
        let (kind, message) = told(&failure(&key_service(&service.url, "")).await);
        assert_eq!(kind, Kind::DependencyFailed, "{message}");
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[tokio::test]
async fn garbage_from_an_sshca_is_no_credential() {
    for (body, words) in [
        (b"\xff\xfe".to_vec(), "no SSH certificate"),
        (b"<html>login</html>".to_vec(), "no SSH certificate"),
        (minute(new_key().public_key()).into_bytes(), "for another key"),
    ] {
        let service = Service::start(move |_| Reply::status(200, body.clone())).await;
        let (kind, message) = told(&failure(&ssh_ca(&service.url, "")).await);
        assert_eq!(kind, Kind::DependencyFailed);
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[tokio::test]
async fn no_more_calls_than_allowed_are_under_way() {
    let service = Service::start(|seen| sign(seen).after(Duration::from_millis(1200))).await;
    let ca = ssh_ca(&service.url, "max_connections: 1\n  timeout: 2");
    let (first, second, third) = tokio::join!(async { ca.credential(&ada()).await }, async { ca.credential(&ada()).await }, failure(&ca));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(told(&third), (Kind::Unavailable, "the SSH certificate authority is busy: no call could be made within 2 s".to_owned()));
    assert_eq!(service.seen().len(), 2);
    assert!(service.seen()[1].at.duration_since(service.seen()[0].at) >= Duration::from_secs(1));
}

#[test]
fn the_defaults_are_those_of_firecrest() {
    let Config::KeyService(config) = section("SSHService", "http://k", "") else { panic!("another type") };
    assert_eq!((config.max_connections, config.timeout, config.duration.as_str()), (100, 5, "1min"));
    let Config::SshCa(config) = section("SSHCA", "http://k", "max_connections: 0") else { panic!("another type") };
    assert_eq!((config.max_connections, config.timeout), (0, 5));
}
