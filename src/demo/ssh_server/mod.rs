//! An SSH server for the demonstration: it runs commands and subsystems as the user who started it.
//!
//! It listens on loopback, knows one user and one key, and both keys live in memory only. It offers `exec` and the subsystems
//! it was given; terminals, forwarding and everything else is refused. It must not know what a subsystem speaks: whoever
//! starts the server hands in the handler. One more kind of channel request is a method in `connection.rs`, and what it then
//! runs is an arm in `session.rs`.

mod connection;
mod program;
mod session;
mod stream;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey, PublicKey};
use russh::{Disconnect, MethodKind, MethodSet};
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::{Secret, Username};
use connection::Connection;
use stream::WINDOW;

/// Connections at once. One user needs a few; more come from a fault or from a neighbour on the machine.
const MAX_CONNECTIONS: usize = 64;

/// As OpenSSH's `MaxSessions`: session channels at once on one connection.
const MAX_SESSIONS: usize = 10;

/// The time in which a connection must log in, like OpenSSH's `LoginGraceTime`, but short, because the server is on loopback.
const LOGIN_GRACE: Duration = Duration::from_secs(10);

/// The time for a peer to take the last messages when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one byte stream as an SSH subsystem (RFC 4254, 6.5). It ends when the stream does.
pub type Subsystem = Arc<dyn Fn(DuplexStream) -> BoxFuture<'static, io::Result<()>> + Send + Sync>;

/// The account that the commands run in.
#[derive(Clone, Debug)]
pub struct Account {
    /// The name to log in with, and `USER` and `LOGNAME` of every command.
    pub name: Username,
    /// `HOME` and the working directory of every command.
    pub home: PathBuf,
    /// The shell that runs commands, as `shell -c command`.
    pub shell: PathBuf,
    /// `PATH` of every command.
    pub search_path: OsString,
}

/// The options of a server.
pub struct Options {
    /// The port on 127.0.0.1; 0 for any.
    pub port: u16,
    /// The one account.
    pub account: Account,
    /// The subsystems by name, such as `sftp`.
    pub subsystems: HashMap<&'static str, Subsystem>,
    /// Stops the server: commands get SIGTERM and then SIGKILL, connections are closed.
    pub stop: CancellationToken,
}

/// A server that is up.
pub struct RunningServer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its host key in the one-line form of `*.pub` files.
    pub host_public_key: String,
    /// The only key that may log in, in OpenSSH's format.
    pub client_private_key: Secret,
    tasks: TaskTracker,
}

impl RunningServer {
    /// Waits until the server was stopped and everything that it started has ended.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// The server.
pub struct Server;

impl Server {
    /// Generates the keys, binds the port and accepts connections until it is stopped.
    ///
    /// # Errors
    /// If the port cannot be bound or a key cannot be made.
    pub async fn start(options: Options) -> io::Result<RunningServer> {
        let host_key = generate_key()?;
        let client_key = generate_key()?;
        let host_public_key = host_key.public_key().to_openssh().map_err(io::Error::other)?;
        let client_private_key = client_key.to_openssh(LineEnding::LF).map_err(io::Error::other)?.to_string().into();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let addr = listener.local_addr()?;

        let tasks = TaskTracker::new();
        let shared = Arc::new(ServerState {
            protocol: Arc::new(protocol(host_key)),
            client_key: client_key.public_key().clone(),
            account: options.account,
            subsystems: options.subsystems,
            stop: options.stop,
        });
        tasks.spawn(accept(listener, shared, tasks.clone()));
        tasks.close();
        Ok(RunningServer { addr, host_public_key, client_private_key, tasks })
    }
}

/// The state that all connections share.
struct ServerState {
    protocol: Arc<russh::server::Config>,
    client_key: PublicKey,
    account: Account,
    subsystems: HashMap<&'static str, Subsystem>,
    stop: CancellationToken,
}

fn generate_key() -> io::Result<PrivateKey> {
    PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(io::Error::other)
}

fn protocol(host_key: PrivateKey) -> russh::server::Config {
    russh::server::Config {
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        // The client learns the methods by asking for `none`: that question is answered at once.
        auth_rejection_time_initial: Some(Duration::ZERO),
        max_auth_attempts: 6,
        keys: vec![host_key],
        window_size: WINDOW,
        maximum_packet_size: 65535,
        // Messages, not bytes: with the packet size above at most 2 MiB a channel in either direction.
        channel_buffer_size: 32,
        event_buffer_size: 32,
        keepalive_interval: Some(Duration::from_secs(60)),
        nodelay: true,
        ..russh::server::Config::default()
    }
}

async fn accept(listener: TcpListener, shared: Arc<ServerState>, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                let Ok(place) = places.clone().try_acquire_owned() else {
                    tracing::warn!("a connection was refused: all {MAX_CONNECTIONS} places are taken");
                    continue;
                };
                let shared = shared.clone();
                tasks.spawn(async move {
                    if let Err(error) = serve(socket, shared).await {
                        tracing::debug!(error = %error, "an SSH connection ended with an error");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Such as no free file descriptor: it passes, and trying again at once would only spin.
                tracing::warn!(error = %error, "could not accept an SSH connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, to its end and that of everything that runs on it.
async fn serve(socket: TcpStream, shared: Arc<ServerState>) -> Result<(), russh::Error> {
    socket.set_nodelay(true)?;
    let socket = socket.into_std()?;
    // The protocol's own task cannot be stopped while its peer is silent; ending the socket under it always works.
    let line = socket.try_clone()?;
    let socket = TcpStream::from_std(socket)?;

    let channels = TaskTracker::new();
    let logged_in = Arc::new(Notify::new());
    let connection = Connection::new(shared.clone(), channels.clone(), logged_in.clone());
    let started = tokio::select! {
        started = tokio::time::timeout(LOGIN_GRACE, russh::server::run_stream(shared.protocol.clone(), socket, connection)) => started,
        () = shared.stop.cancelled() => return Ok(()),
    };
    let mut session = started.map_err(|_| russh::Error::ConnectionTimeout)??;
    let handle = session.handle();
    let without_login = async {
        if tokio::time::timeout(LOGIN_GRACE, logged_in.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = &mut session => Some(ended),
        () = without_login => None,
        () = shared.stop.cancelled() => None,
    };
    channels.close();
    channels.wait().await;
    match ended {
        Some(ended) => ended,
        None => {
            // A peer that reads nothing would hold the message up; it then misses it.
            let message = handle.disconnect(Disconnect::ByApplication, "the server stops".to_owned(), String::new());
            tokio::time::timeout(CLOSE_TIMEOUT, message).await.ok();
            let ended = tokio::time::timeout(CLOSE_TIMEOUT, &mut session).await;
            line.shutdown(Shutdown::Both).ok();
            match ended {
                Ok(ended) => ended,
                Err(_) => tokio::time::timeout(CLOSE_TIMEOUT, session).await.unwrap_or(Ok(())),
            }
        }
    }
}
