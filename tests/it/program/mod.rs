//! The program itself, as a process, in front of SSH servers that behave by script: for what only a whole process shows, such as
//! its memory.

mod crowd;
mod drain;
mod early;
mod hung;
mod idle;
mod killed;
mod logging;
mod memory;
mod metrics;
mod reload;
mod tls;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use goldcrest::demo::sftp_server;
use goldcrest::demo::ssh_server::{Account, Options, RunningServer, Server, Subsystem};
use goldcrest::domain::Username;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Client;
use russh::keys::ssh_key::LineEnding;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::ssh::double::Double;
use crate::ssh::new_key;
use crate::support::service::{Reply, Service};
use crate::support::{PATIENCE, wait_until};

/// Requests of which the 99th percentile is taken.
const REQUESTS: usize = 400;

const ISSUER: &str = "https://idp.example.org";

/// A cluster of the program's.
struct Site {
    name: &'static str,
    port: u16,
    /// The host's public key, as in `*.pub` files.
    host_key: String,
    /// The only key that may log in there, where not any may.
    key: Option<String>,
}

impl Site {
    /// The cluster behind a double.
    fn of(name: &'static str, double: &Double) -> Self {
        Self { name, port: double.port, host_key: double.host_key.public_key().to_openssh().unwrap(), key: None }
    }

    /// The cluster behind a double, reached by another port.
    fn by(name: &'static str, port: u16, double: &Double) -> Self {
        Self { port, ..Self::of(name, double) }
    }
}

/// A login node on which commands really run, in an account of its own name with a home directory of its own.
struct LoginNode {
    running: RunningServer,
    stop: CancellationToken,
    home: TempDir,
}

impl LoginNode {
    async fn start(user: &str) -> Self {
        let (home, stop) = (tempfile::tempdir().unwrap(), CancellationToken::new());
        let account = Account {
            name: Username::new(user).unwrap(),
            home: home.path().canonicalize().unwrap(),
            shell: "/bin/sh".into(),
            search_path: "/usr/local/bin:/usr/bin:/bin".into(),
        };
        let sftp: Subsystem = Arc::new(|stream| Box::pin(sftp_server::serve(stream)));
        let options = Options { port: 0, account, subsystems: HashMap::from([("sftp", sftp)]), stop: stop.clone() };
        Self { running: Server::start(options).await.unwrap(), stop, home }
    }

    fn site(&self, name: &'static str) -> Site {
        let key = Some(self.running.client_private_key.expose().to_owned());
        Site { name, port: self.running.addr.port(), host_key: self.running.host_public_key.clone(), key }
    }
}

impl Drop for LoginNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A program that runs. It is killed when dropped.
struct Program {
    child: Child,
    url: String,
    http: Client,
    signer: EncodingKey,
    _keys: Service,
    /// What is in it can be reached on every cluster: the doubles serve this machine's files.
    files: TempDir,
}

impl Program {
    /// Starts it for these users, with these further lines for the `ssh` section of each cluster.
    async fn start(sites: &[Site], users: &[String], ssh: &str) -> Self {
        let program = Self::spawn(sites, users, ssh, "", |_| {}).await;
        program.is_up().await;
        program
    }

    /// Starts it with this change to its configuration. It may not be up yet.
    async fn spawn_with(sites: &[Site], users: &[String], change: impl FnOnce(String) -> String) -> Self {
        Self::spawn_changed(sites, users, "", change, |_| {}).await
    }

    /// Starts it with further sections of the configuration, and with these changes to how it is run. It may not be up yet.
    async fn spawn(sites: &[Site], users: &[String], ssh: &str, sections: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::spawn_changed(sites, users, ssh, |text| format!("{sections}{text}"), change).await
    }

    async fn spawn_changed(
        sites: &[Site],
        users: &[String],
        ssh: &str,
        change_text: impl FnOnce(String) -> String,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let jwks = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "kid": "one", "use": "sig", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]),
        }]});
        let keys = Service::start(move |_| Reply::json(&jwks)).await;
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("file"), "content").unwrap();
        let port = free_port().await;
        let path = files.path().join("goldcrest.yaml");
        let text = configuration(port, &keys.url, files.path(), sites, users, ssh);
        std::fs::write(&path, change_text(text)).unwrap();
        let mut command = serve(files.path());
        change(&mut command);
        let child = command.spawn().unwrap();
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let signer = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { child, url: format!("http://127.0.0.1:{port}"), http, signer, _keys: keys, files }
    }

    /// Kills it without a word (SIGKILL), and starts another one with the same configuration, which may not be up yet.
    fn replace(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = serve(self.files.path()).spawn().unwrap();
    }

    /// Waits until it listens.
    async fn is_up(&self) {
        let address = self.url.strip_prefix("http://").unwrap();
        wait_until(PATIENCE, async || TcpStream::connect(address).await.is_ok()).await;
    }

    /// A token of a user that holds for an hour.
    fn token(&self, user: &str) -> String {
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({"iss": ISSUER, "aud": "goldcrest", "sub": user, "preferred_username": user, "iat": now, "exp": now + 3600});
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.signer).unwrap()
    }

    /// Asks for the status of a file on a system; answers with the HTTP status and how long it took.
    async fn stat(&self, system: &str, token: &str) -> (u16, Duration) {
        let url = format!("{}/filesystem/{system}/ops/stat", self.url);
        let path = self.files.path().join("file");
        let begun = Instant::now();
        let answer = self.http.get(url).query(&[("path", path.to_str().unwrap())]).bearer_auth(token).send().await.unwrap();
        let status = answer.status().as_u16();
        answer.bytes().await.unwrap();
        (status, begun.elapsed())
    }

    /// The 99th percentile of the time that the status of a file on a system takes, one request after another.
    async fn percentile(&self, system: &str, token: &str) -> Duration {
        let mut times = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            let (status, took) = self.stat(system, token).await;
            assert_eq!(status, 200);
            times.push(took);
        }
        times.sort();
        times[REQUESTS * 99 / 100]
    }

    /// The memory that it holds, in bytes (`VmRSS`, proc(5)).
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program with the configuration in this folder.
fn serve(folder: &Path) -> Command {
    // A build of another profile where one is named.
    let binary = std::env::var_os("GOLDCREST_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_goldcrest").into());
    let mut command = Command::new(binary);
    command.args(["serve", "--config"]).arg(folder.join("goldcrest.yaml")).env("GOLDCREST_LOG", "error").stdin(Stdio::null());
    command
}

/// A port that nobody listens on.
async fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().port()
}

fn configuration(port: u16, keys: &str, files: &Path, sites: &[Site], users: &[String], ssh: &str) -> String {
    let key = files.join("key");
    let only = sites.iter().find_map(|site| site.key.clone());
    std::fs::write(&key, only.unwrap_or_else(|| new_key().to_openssh(LineEnding::LF).unwrap().to_string())).unwrap();
    let (key, files) = (key.display(), files.display());
    let users: String = users.iter().map(|user| format!("    {user}: {{ private_key: \"secret_file:{key}\" }}\n")).collect();
    let cluster = |site: &Site| {
        format!(
            "  - name: {}\n    ssh:\n      host: 127.0.0.1\n      port: {}\n      host_keys: {{ pinned: [\"{}\"] }}\n{ssh}\
             \x20   scheduler: {{ type: slurm, version: \"22.05\" }}\n\
             \x20   data_operation: {{ data_transfer: [] }}\n\
             \x20   service_account: {{ client_id: checker, secret: none }}\n    probing: {{ interval: 3600 }}\n\
             \x20   file_systems: [{{ path: \"{files}\", data_type: users, default_work_dir: true }}]\n",
            site.name, site.port, site.host_key,
        )
    };
    let clusters: String = sites.iter().map(cluster).collect();
    format!(
        "server: {{ listen: \"127.0.0.1:{port}\" }}\nauth:\n  authentication:\n    token_url: \"{keys}\"\n    \
         public_certs: [\"{keys}\"]\n    issuer: {ISSUER}\n    audience: [goldcrest]\nssh_credentials:\n  type: SSHStaticKeys\n  \
         keys:\n{users}clusters:\n{clusters}"
    )
}
