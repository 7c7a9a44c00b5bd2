//! `goldcrest demo` with a proxy that only says that it lives.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test's helpers do not expect fails the test")]

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use goldcrest::config;
use goldcrest::credentials;
use goldcrest::demo::issuer::DevelopmentIssuer;
use goldcrest::demo::{DemoArgs, DemoError, Output, PartError, issuer, run_until};
use goldcrest::error::ErrorChain;
use goldcrest::lifecycle::Lifecycle;
use goldcrest::ssh::HostKeys;
use russh::client;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, decode_secret_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn the_demonstration_prints_a_line_that_a_script_can_work_with() {
    let configuration = Arc::default();
    let demo = Demo::start(arguments(0), living_proxy(&configuration));
    let line = demo.first_line().await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let url = line["url"].as_str().unwrap();
    assert!(get(url, "/status/liveness/", None).await.starts_with("HTTP/1.1 200"));
    assert_eq!(line["docs"], format!("{url}/docs/"));
    assert_eq!(line["systems"][0], "local");

    let issuer = line["issuer"].as_str().unwrap();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        line["clientId"].as_str().unwrap(),
        line["clientSecret"].as_str().unwrap()
    );
    assert!(get(issuer, "/token", Some(&form)).await.starts_with("HTTP/1.1 200"));
    let discovery = get(issuer, "/.well-known/openid-configuration", None).await;
    assert!(discovery.contains(issuer), "{discovery}");

    let configuration = configuration.lock().unwrap().clone();
    assert!(configuration.contains(&format!("issuer: \"{issuer}\"")), "{configuration}");
    demo.stop().await.unwrap();
}

#[tokio::test]
async fn the_configuration_leads_to_the_ssh_server() {
    let configuration = Arc::default();
    let demo = Demo::start(arguments(0), living_proxy(&configuration));
    demo.first_line().await;
    let text = configuration.lock().unwrap().clone();
    let config = config::from_yaml(&text, std::iter::empty()).unwrap().config;
    let scheduler = config.clusters[0].scheduler.as_ref().unwrap();
    assert_eq!(scheduler.common().job_mirror.pause(), Duration::from_millis(500), "waits for jobs end soon");
    let ssh = config.clusters[0].ssh.as_ref().unwrap();
    let credentials::Config::StaticKeys(keys) = config.ssh_credentials else { panic!("no static keys") };
    let (user, keys) = keys.keys.iter().next().unwrap();
    let address = (ssh.host.as_str(), ssh.port);
    let Some(HostKeys::Pinned(pinned)) = &ssh.host_keys else { panic!("{:?}", ssh.host_keys) };
    let pinned = pinned[0].clone();
    let mut connection = client::connect(Arc::default(), address, Client { pinned }).await.unwrap();
    let key = decode_secret_key(keys.private_key.expose(), None).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    assert!(connection.authenticate_publickey(user.as_str(), key).await.unwrap().success());
    demo.stop().await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the SSH server still listens");
}

#[tokio::test]
async fn a_busy_port_is_named_together_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = Demo::start(arguments(port), living_proxy(&Arc::default())).end().await.unwrap_err();
    assert!(matches!(error, DemoError::PortBusy(busy) if busy.port() == port));
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("--port 0"), "{text}");
}

#[tokio::test]
async fn a_proxy_that_fails_is_reported_with_its_reason() {
    let error = Demo::start(arguments(0), |_, _, _, _| async { Err("no such scheduler".into()) }).end().await.unwrap_err();
    assert_eq!(ErrorChain(&error).to_string(), "the proxy failed: no such scheduler");
}

#[tokio::test]
async fn the_configuration_can_be_had_without_starting_a_proxy() {
    async fn proxy(_: String, _: Arc<DevelopmentIssuer>, _: TcpListener, _: CancellationToken) -> Result<(), PartError> {
        panic!("it is not to start")
    }
    // As while a demonstration runs on the same port.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let demo = Demo::start(DemoArgs { print_config: true, ..arguments(taken.local_addr().unwrap().port()) }, proxy);
    let text = demo.printed();
    demo.end().await.unwrap();
    let text = text.lock().unwrap().clone();
    config::from_yaml(std::str::from_utf8(&text).unwrap(), std::iter::empty()).unwrap();
}

/// A demonstration that runs in the background.
struct Demo {
    lifecycle: Lifecycle,
    out: Arc<Mutex<Vec<u8>>>,
    running: tokio::task::JoinHandle<Result<(), DemoError>>,
}

impl Demo {
    fn start<F>(
        args: DemoArgs,
        proxy: impl FnOnce(String, Arc<DevelopmentIssuer>, TcpListener, CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), PartError>> + Send + 'static,
    {
        let (lifecycle, out) = (Lifecycle::new(), Arc::default());
        let (life, mut sink) = (lifecycle.clone(), Sink(Arc::clone(&out)));
        let running = tokio::spawn(async move { run_until(&args, proxy, &life, &mut sink).await });
        Self { lifecycle, out, running }
    }

    fn printed(&self) -> Arc<Mutex<Vec<u8>>> {
        self.out.clone()
    }

    async fn first_line(&self) -> String {
        let line = async {
            loop {
                if self.out.lock().unwrap().ends_with(b"\n") {
                    return String::from_utf8(self.out.lock().unwrap().clone()).unwrap();
                }
                assert!(!self.running.is_finished(), "the demonstration ended early");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), line).await.expect("nothing is printed")
    }

    async fn stop(self) -> Result<(), DemoError> {
        self.lifecycle.token().cancel();
        self.end().await
    }

    async fn end(self) -> Result<(), DemoError> {
        tokio::time::timeout(Duration::from_secs(30), self.running).await.expect("it does not end").unwrap()
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Client {
    pinned: String,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(key.to_openssh().unwrap() == self.pinned)
    }
}

fn arguments(port: u16) -> DemoArgs {
    DemoArgs { address: Ipv4Addr::LOCALHOST.into(), port, output: Output::Json, home: None, print_config: false }
}

type Served = BoxFuture<'static, Result<(), PartError>>;

/// A proxy that answers 200 to everything but what the issuer answers. It writes the configuration that it was given to `seen`.
fn living_proxy(
    seen: &Arc<Mutex<String>>,
) -> impl FnOnce(String, Arc<DevelopmentIssuer>, TcpListener, CancellationToken) -> Served + Send + 'static {
    let configuration = Arc::clone(seen);
    move |text, issuer, listener, stop: CancellationToken| {
        *configuration.lock().unwrap() = text;
        let router = issuer::beside(Router::new().fallback(|| async {}), issuer);
        async move { Ok(axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?) }.boxed()
    }
}

/// The whole answer to a GET, or to a POST of a form.
async fn get(url: &str, path: &str, form: Option<&str>) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let (host, base) = address.split_once('/').map_or((address, String::new()), |(host, base)| (host, format!("/{base}")));
    let mut connection = TcpStream::connect(host).await.unwrap();
    let request = match form {
        None => format!("GET {base}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        Some(form) => format!(
            "POST {base}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ),
    };
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(20), connection.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    answer
}
