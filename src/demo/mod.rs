//! `goldcrest demo`: a complete system in one process on loopback, for evaluation.
//!
//! An issuer of tokens, an SSH server that runs as the user who started it, and the proxy with a configuration made for the two.
//! Every secret is new in every run and is kept in memory. The proxy is the one that `goldcrest serve` runs, built by `app`.

mod configuration;
mod greeting;
pub mod issuer;
mod owner;
pub mod sftp_server;
pub mod ssh_server;

use std::collections::HashMap;
use std::error::Error;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config;
use crate::domain::{Secret, Username, bytes_to_text};
use crate::http;
use crate::lifecycle::{Drained, Lifecycle};
use crate::telemetry;
use configuration::Facts;
use greeting::Greeting;
use issuer::{DevelopmentClient, DevelopmentIssuer};
use ssh_server::{Account, Options, RunningServer, Server, Subsystem};

/// The client for the person who tries the demonstration.
const USER_CLIENT: &str = "demo-user";

/// The client of the background checker.
const SERVICE_CLIENT: &str = "demo-service";

/// The time limit for the first answer of the proxy.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The time limit for stopping everything.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The arguments of `goldcrest demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// IP address to listen on. With any but a loopback address, anyone who reaches it can use the token that is printed.
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Port of the API and its token issuer; 0 for any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 8025)]
    pub port: u16,
    /// Format of the output once everything is up: text for people, or one line of JSON for scripts.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// The home directory of commands, where the scheduler keeps its jobs, instead of the account's own.
    #[arg(long, value_name = "DIRECTORY")]
    pub home: Option<PathBuf>,
    /// Print the configuration of such a system and exit. Its ports and keys are no longer in use.
    #[arg(long)]
    pub print_config: bool,
}

/// The output format of the demonstration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// Text for people.
    #[default]
    Text,
    /// One line of JSON.
    Json,
}

/// Any error of a part.
pub type PartError = Box<dyn Error + Send + Sync>;

/// Builds the proxy from a configuration in YAML and serves it together with the issuer until it is stopped.
///
/// # Errors
/// If the configuration has mistakes or cannot be used.
async fn proxy(
    configuration: String,
    issuer: Arc<DevelopmentIssuer>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), PartError> {
    let config = config::from_yaml(&configuration, std::iter::empty())?.config;
    let examples = examples(&config);
    let mut app = App::build(config)?.with_routes_beside(move |api| issuer::beside(api, Arc::clone(&issuer)));
    if let Some(examples) = examples {
        app = app.with_examples(examples);
    }
    app.serve(listener, stop).await;
    Ok(())
}

/// The names in the documentation's examples: the first system, and the owner's home directory on it.
fn examples(config: &config::Config) -> Option<http::Examples> {
    let cluster = config.clusters.first()?;
    let home = cluster.file_systems.iter().find(|file_system| file_system.default_work_dir)?;
    Some(http::Examples { system: cluster.name.to_string(), home: bytes_to_text(home.path.as_bytes()) })
}

/// Why the demonstration did not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Something else listens there.
    #[error("{0} is in use: choose another port with --port, or let --port 0 take any that is free")]
    PortBusy(SocketAddr),
    /// The address cannot be had for another reason.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The directory for `--home` is none, or not ours to write in.
    #[error("{0} is not a directory that can be written")]
    Home(PathBuf),
    /// There is no directory to work in.
    #[error("no home directory can be written: choose a directory with --home")]
    NoHome(#[source] io::Error),
    /// The signals, the SSH server or the issuer did not start.
    #[error("could not start {part}")]
    Start {
        /// The part.
        part: &'static str,
        /// Why not.
        #[source]
        source: PartError,
    },
    /// The proxy ended with an error.
    #[error("the proxy failed")]
    Proxy(#[source] PartError),
    /// The proxy does not answer.
    #[error("the proxy did not answer within {} s", START_TIMEOUT.as_secs())]
    Silent,
    /// Standard output is closed.
    #[error("could not print")]
    Print(#[source] io::Error),
}

/// Runs the demonstration until SIGINT or SIGTERM.
///
/// # Errors
/// If a part does not start, or the proxy fails.
pub async fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let lifecycle = Lifecycle::new();
    lifecycle.shutdown_on_signal().map_err(starting("the signal handlers"))?;
    run_until(args, proxy, &lifecycle, &mut io::stdout()).await
}

/// Runs the demonstration until `lifecycle` is to end, and prints to `out`. `proxy` serves a configuration in YAML, with the issuer
/// beside it, until the token is cancelled.
///
/// # Errors
/// If a part does not start, or the proxy fails.
pub async fn run_until<F>(
    args: &DemoArgs,
    proxy: impl FnOnce(String, Arc<DevelopmentIssuer>, TcpListener, CancellationToken) -> F,
    lifecycle: &Lifecycle,
    out: &mut (impl Write + Send),
) -> Result<(), DemoError>
where
    F: Future<Output = Result<(), PartError>> + Send + 'static,
{
    if let Some(home) = args.home.as_ref().filter(|home| !owner::can_be_written(home)) {
        return Err(DemoError::Home(home.clone()));
    }
    // What is only printed does not collide with a demonstration that runs.
    let listener = listen(SocketAddr::new(args.address, if args.print_config { 0 } else { args.port })).await?;
    // The proxy stops first; it may still need these while its last requests end.
    let backends = CancellationToken::new();
    let _stop_on_every_way_out = backends.clone().drop_guard();
    let system = System::start(args, &listener, &backends).await?;
    let configuration = configuration::render(&system.facts());
    let done = if args.print_config {
        let head = "# The configuration of one run of `goldcrest demo`. Its ports and keys are not in use any more.\n";
        out.write_all([head, &configuration].concat().as_bytes()).map_err(DemoError::Print)
    } else {
        let proxy = proxy(configuration, Arc::clone(&system.issuer), listener, lifecycle.token());
        serve(&system, args.output, proxy, lifecycle, out).await
    };
    system.stop(lifecycle, &backends).await;
    done?;
    if args.output == Output::Text && !args.print_config {
        writeln!(out, "\nStopped. Batch jobs that were running go on.").map_err(DemoError::Print)?;
    }
    Ok(())
}

/// Serves the proxy to its end, and greets once it answers.
async fn serve(
    system: &System,
    output: Output,
    proxy: impl Future<Output = Result<(), PartError>> + Send + 'static,
    lifecycle: &Lifecycle,
    out: &mut (impl Write + Send),
) -> Result<(), DemoError> {
    let (report, mut reported) = oneshot::channel();
    lifecycle.spawn("proxy", async move {
        // The receiver is gone if the demonstration failed for another reason.
        report.send(proxy.await).ok();
    });
    let ended = |result: Result<Result<(), PartError>, oneshot::error::RecvError>| match result {
        Ok(result) => result.map_err(DemoError::Proxy),
        Err(_) => Err(DemoError::Proxy("it panicked".into())),
    };
    tokio::select! {
        result = &mut reported => return ended(result),
        answers = answers(reachable(system.api)) => if !answers { return Err(DemoError::Silent) },
    }
    system.greet(output, out).map_err(DemoError::Print)?;
    ended(reported.await)
}

/// Everything but the proxy, up and known.
struct System {
    api: SocketAddr,
    account: Account,
    scratch: PathBuf,
    ssh: RunningServer,
    issuer: Arc<DevelopmentIssuer>,
    discovery: Value,
    client_secret: Secret,
    service_secret: Secret,
    token: Secret,
    holds: Duration,
    slurm: Option<String>,
}

impl System {
    async fn start(args: &DemoArgs, listener: &TcpListener, stop: &CancellationToken) -> Result<Self, DemoError> {
        let api = listener.local_addr().map_err(starting("the API"))?;
        let account = owner::account(args.home.as_deref()).map_err(DemoError::NoHome)?;
        let slurm = slurm_version(&account.search_path).await;

        let sftp: Subsystem = Arc::new(|stream| Box::pin(sftp_server::serve(stream)));
        let options = Options { port: 0, account: account.clone(), subsystems: HashMap::from([("sftp", sftp)]), stop: stop.clone() };
        let ssh = Server::start(options).await.map_err(starting("the SSH server"))?;

        let (client_secret, service_secret) = (random_secret()?, random_secret()?);
        let clients = clients(&account.name, &client_secret, &service_secret);
        let url = format!("http://{}{}", reachable(api), issuer::PATH);
        let issuer = Arc::new(DevelopmentIssuer::new(url, clients).map_err(starting("the token issuer"))?);
        let discovery = issuer.discovery();
        let issued = issuer.token(USER_CLIENT, &client_secret).map_err(starting("the token issuer"))?;
        Ok(Self {
            api,
            account,
            scratch: std::env::temp_dir(),
            ssh,
            issuer,
            discovery,
            client_secret,
            service_secret,
            token: issued.access_token,
            holds: Duration::from_secs(issued.expires_in),
            slurm,
        })
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            listen: self.api,
            discovery: &self.discovery,
            audience: audience(self.token.expose()),
            user: &self.account.name,
            home: &self.account.home,
            scratch: &self.scratch,
            ssh: self.ssh.addr,
            host_key: &self.ssh.host_public_key,
            private_key: &self.ssh.client_private_key,
            service: (SERVICE_CLIENT, &self.service_secret),
            slurm: self.slurm.as_deref(),
        }
    }

    fn greet(&self, output: Output, out: &mut impl Write) -> io::Result<()> {
        let text = |path: &Path| bytes_to_text(path.as_os_str().as_bytes());
        let greeting = Greeting {
            url: format!("http://{}", reachable(self.api)),
            issuer: self.discovery["issuer"].as_str().unwrap_or_default(),
            token_url: self.discovery["token_endpoint"].as_str().unwrap_or_default(),
            ssh: self.ssh.addr,
            user: &self.account.name,
            client_id: USER_CLIENT,
            client_secret: &self.client_secret,
            token: &self.token,
            holds: self.holds,
            systems: &configuration::systems(&self.facts()),
            file_systems: vec![text(&self.account.home), text(&self.scratch)],
            work_dir: text(&self.account.home),
        };
        match output {
            Output::Json => greeting.json(out)?,
            Output::Text => greeting.text(out, io::stdout().is_terminal() && telemetry::colours())?,
        }
        out.flush()
    }

    /// Ends the SSH server with the commands that run on it, and the issuer.
    async fn stop(&self, lifecycle: &Lifecycle, backends: &CancellationToken) {
        backends.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, self.ssh.stopped()).await.is_err() {
            tracing::warn!("the SSH server did not stop in time");
        }
        if let Drained::TimedOut(names) = lifecycle.drain(STOP_TIMEOUT).await {
            tracing::warn!("these did not stop in time: {}", names.join(", "));
        }
    }
}

fn clients(user: &Username, client_secret: &Secret, service_secret: &Secret) -> Vec<DevelopmentClient> {
    let client = |id: &str, secret: &Secret, email: Option<String>| DevelopmentClient {
        id: id.to_owned(),
        secret: secret.clone(),
        username: user.clone(),
        email,
        groups: Vec::new(),
    };
    vec![client(USER_CLIENT, client_secret, Some("demo@localhost".to_owned())), client(SERVICE_CLIENT, service_secret, None)]
}

async fn listen(address: SocketAddr) -> Result<TcpListener, DemoError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => DemoError::PortBusy(address),
        _ => DemoError::Listen { address, source },
    })
}

/// Where this machine reaches what listens on an address: of all addresses, the loopback one. A container's published port is
/// reached there too.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

fn starting<E: Into<PartError>>(part: &'static str) -> impl FnOnce(E) -> DemoError {
    move |source| DemoError::Start { part, source: source.into() }
}

/// 256 bits from the system, as text that needs no quoting anywhere.
fn random_secret() -> Result<Secret, DemoError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(starting("the token issuer"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes).into())
}

/// The `aud` of a token of our own issuer, so that the configuration accepts what the issuer writes. The token was made in
/// this process: it need not be verified.
fn audience(token: &str) -> Vec<String> {
    let claims = token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    match &claims["aud"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(|one| one.as_str().map(ToOwned::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// The version of the Slurm whose `sbatch` is on the search path; `None` if there is none, or none that is set up.
async fn slurm_version(search_path: &OsStr) -> Option<String> {
    let is_program = |path: &PathBuf| path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0);
    let sbatch = std::env::split_paths(search_path).map(|directory| directory.join("sbatch")).find(is_program)?;
    let asked = tokio::process::Command::new(sbatch).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(5), asked).await;
    let output = output.ok()?.ok().filter(|output| output.status.success())?;
    let text = bytes_to_text(&output.stdout);
    // Such as `slurm 24.11.5` or `slurm-wlm 22.05.8`.
    Some(text.split_whitespace().nth(1).unwrap_or("unknown").to_owned())
}

/// Waits until the API answers its liveness check; false when it does not in time.
async fn answers(api: SocketAddr) -> bool {
    let asked = async {
        while !answers_once(api).await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START_TIMEOUT, asked).await.is_ok()
}

async fn answers_once(api: SocketAddr) -> io::Result<bool> {
    const OK: &[u8] = b"HTTP/1.1 2";
    let mut connection = TcpStream::connect(api).await?;
    let request = format!("GET /status/liveness/ HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut start = [0; OK.len()];
    connection.read_exact(&mut start).await?;
    Ok(start == OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_on_every_address_is_reached_on_the_loopback_one() {
        for (listening, expected) in [("0.0.0.0:8025", "127.0.0.1:8025"), ("[::]:1", "[::1]:1"), ("192.0.2.7:80", "192.0.2.7:80")] {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), expected);
        }
    }

    #[tokio::test]
    async fn a_slurm_that_is_not_set_up_is_no_system() {
        for (script, expected) in [
            ("#!/bin/sh\necho slurm-wlm 22.05.8\n", Some("22.05.8")),
            ("#!/bin/sh\necho 'sbatch: fatal: Could not establish a configuration source' >&2\nexit 1\n", None),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let program = directory.path().join("sbatch");
            std::fs::write(&program, script).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(slurm_version(directory.path().as_os_str()).await.as_deref(), expected, "{script}");
        }
        assert_eq!(slurm_version(OsStr::new("/nowhere")).await, None);
    }
}
