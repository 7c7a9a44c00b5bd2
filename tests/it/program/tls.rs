//! HTTPS without a proxy in front.

use std::path::Path;
use std::time::Duration;

use reqwest::tls::{Certificate, TlsInfo, Version};
use reqwest::{Client, ClientBuilder};
use rustix::process::{Pid, Signal, kill_process};

use super::{Program, Site};
use crate::ssh::double::{Behaviour, Double};
use crate::support::{PATIENCE, wait_until};

const AUTHORITY: &[u8] = include_bytes!("../fixtures/tls/ca.pem");

fn client(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = Client::builder().no_proxy().tls_certs_only([Certificate::from_pem(AUTHORITY).unwrap()]).tls_info(true);
    change(builder.timeout(Duration::from_secs(10)).pool_max_idle_per_host(0)).build().unwrap()
}

/// Puts a certificate and its key where the program looks for them.
fn put(folder: &Path, name: &str) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/tls");
    for (suffix, target) in [("pem", "served.pem"), ("key", "served.key")] {
        std::fs::copy(fixtures.join(format!("{name}.{suffix}")), folder.join(target)).unwrap();
    }
}

/// The program, which serves with this certificate.
async fn start(double: &Double, folder: &Path, certificate: &str) -> Program {
    put(folder, certificate);
    let (certificate, key) = (folder.join("served.pem"), folder.join("served.key"));
    let tls = format!("tls: {{ certificate: \"{}\", private_key: \"{}\" }}, ", certificate.display(), key.display());
    let with_tls = |text: String| text.replace("server: { ", &format!("server: {{ {tls}"));
    let program = Program::spawn_with(&[Site::of("good", double)], &["ada".to_owned()], with_tls).await;
    program.is_up().await;
    program
}

/// A certificate that `openssl req -x509` makes without further options is that of an authority.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_authority_itself_is_refused_in_words_with_the_way_out() {
    let double = Double::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let program = start(&double, folder.path(), "authority-itself").await;
    let url = format!("{}/status/liveness/", program.url.replace("http://127.0.0.1", "https://localhost"));
    let told = async |trusted: &str| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_goldcrest"));
        let command = command.args(["health", "--url", &url]).env("SSL_CERT_FILE", folder.path().join(trusted));
        String::from_utf8(command.output().await.unwrap().stderr).unwrap()
    };
    let itself = told("served.pem").await;
    assert!(itself.contains("(CA:TRUE)") && itself.contains("basicConstraints=critical,CA:FALSE"), "{itself}");
    std::fs::write(folder.path().join("ca.pem"), AUTHORITY).unwrap();
    let unknown = told("ca.pem").await;
    assert!(unknown.contains("SSL_CERT_FILE") || unknown.contains("(CA:TRUE)"), "{unknown}");
    assert!(!itself.contains("CaUsedAsEndEntity") && !unknown.contains("OtherError"), "{itself}{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_served_over_tls_and_a_new_certificate_is_taken_without_a_restart() {
    let double = Double::start(Behaviour::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let program = start(&double, folder.path(), "one").await;
    let url = format!("{}/status/liveness/", program.url.replace("http://", "https://"));
    let shown = async |client: &Client| {
        let answer = client.get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        (answer.version(), answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec())
    };
    let (version, first) = shown(&client(|client| client)).await;
    assert_eq!(version, reqwest::Version::HTTP_2, "by ALPN");
    assert_eq!(shown(&client(ClientBuilder::http1_only)).await.0, reqwest::Version::HTTP_11);
    shown(&client(|client| client.tls_version_max(Version::TLS_1_2))).await;
    let plain = Client::builder().no_proxy().build().unwrap().get(&program.url).send().await.unwrap();
    let answer = (plain.status().as_u16(), plain.text().await.unwrap());
    assert_eq!(answer, (400, "this port speaks TLS: use an https URL\n".to_owned()), "nothing else is answered without TLS");
    let health = ["health", "--url", &format!("{}/status/liveness/", program.url)].map(ToOwned::to_owned);
    let health = tokio::process::Command::new(env!("CARGO_BIN_EXE_goldcrest")).args(health).output().await.unwrap();
    assert!(String::from_utf8(health.stderr).unwrap().ends_with("use https://\n"));

    // A half-written pair is not taken, and the certificate before it is served on.
    std::fs::write(folder.path().join("served.key"), "half").unwrap();
    kill_process(Pid::from_child(&program.child), Signal::HUP).unwrap();
    put(folder.path(), "two");
    kill_process(Pid::from_child(&program.child), Signal::HUP).unwrap();
    wait_until(PATIENCE, async || shown(&client(|client| client)).await.1 != first).await;
}
