//! A scripted SSH server. What a command does is its name; what a connection does is in [`Behaviour`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldcrest::demo::sftp_server::serve as serve_files;
use russh::keys::{Certificate, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect, Sig};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::new_key;

/// What the server is to do.
#[derive(Clone)]
pub struct Behaviour {
    /// Channels that it opens on one connection.
    pub max_sessions: usize,
    /// How many connections it hangs up on before it says anything.
    pub hang_up: usize,
    /// How long it thinks about each login.
    pub login_delay: Duration,
    /// Whether it refuses all logins.
    pub refuse_logins: bool,
    /// After how many logins it refuses all others.
    pub accept_logins: Option<usize>,
    /// Whether it hangs up on everybody who has logged in.
    pub hang_up_after_login: bool,
    /// Whether the login shell of every account is `nologin`.
    pub closed_accounts: bool,
    /// A certificate that it shows for its host key.
    pub certificate: Option<Certificate>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            max_sessions: 10,
            hang_up: 0,
            login_delay: Duration::ZERO,
            refuse_logins: false,
            accept_logins: None,
            hang_up_after_login: false,
            closed_accounts: false,
            certificate: None,
        }
    }
}

/// What has happened so far.
#[derive(Default)]
pub struct Record {
    /// TCP connections that came.
    pub connections: AtomicUsize,
    /// Logins under way now, and the most there were.
    pub logins: AtomicUsize,
    pub max_logins: AtomicUsize,
    /// Channels open now, all connections together, and the most there were on one.
    pub channels: AtomicUsize,
    pub max_channels: AtomicUsize,
    /// Commands that were started.
    pub commands: AtomicUsize,
    /// Signals that came, and channels that the client closed first.
    pub signals: AtomicUsize,
    pub closed_by_client: AtomicUsize,
    /// Who logged in with which key (its fingerprint), in order.
    pub users: Mutex<Vec<(String, String)>>,
}

/// A running server.
pub struct Double {
    pub port: u16,
    pub host_key: PrivateKey,
    pub record: Arc<Record>,
    stopped: CancellationToken,
}

impl Double {
    /// A server on a port of its own, with a key of its own.
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at(0, new_key(), behaviour).await
    }

    /// A server on this port with this host key.
    pub async fn start_at(port: u16, host_key: PrivateKey, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::new(Record::default());
        let stopped = CancellationToken::new();
        let config = Arc::new(server::Config {
            keys: vec![host_key.clone()],
            certificates: behaviour.certificate.clone().into_iter().collect(),
            auth_rejection_time: Duration::ZERO,
            nodelay: true,
            ..server::Config::default()
        });
        let serve = serve(listener, config, behaviour, Arc::clone(&record), stopped.clone());
        tokio::spawn(stopped.clone().run_until_cancelled_owned(serve));
        Self { port, host_key, record, stopped }
    }

    /// Hangs up on everybody and comes no more to the door.
    pub fn stop(&self) {
        self.stopped.cancel();
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: TcpListener, config: Arc<server::Config>, behaviour: Behaviour, record: Arc<Record>, stopped: CancellationToken) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        if record.connections.fetch_add(1, Ordering::SeqCst) < behaviour.hang_up {
            continue;
        }
        let handler = Handler {
            behaviour: behaviour.clone(),
            record: Arc::clone(&record),
            open: Arc::default(),
            fresh: HashMap::new(),
            told: HashMap::new(),
            running: HashMap::new(),
        };
        let (config, stopped) = (Arc::clone(&config), stopped.clone());
        tokio::spawn(async move {
            let Ok(session) = server::run_stream(config, stream, handler).await else { return };
            let handle = session.handle();
            tokio::select! {
                _ = session => {}
                () = stopped.cancelled() => {
                    let _ = handle.disconnect(Disconnect::ByApplication, String::new(), String::new()).await;
                }
            }
        });
    }
}

struct Handler {
    behaviour: Behaviour,
    record: Arc<Record>,
    open: Arc<AtomicUsize>,
    /// Channels on which nothing was started yet.
    fresh: HashMap<ChannelId, Channel<Msg>>,
    /// Shells that have not read the whole of their program yet, with what they have read.
    told: HashMap<ChannelId, (String, Open)>,
    /// What ends the commands that run.
    running: HashMap<ChannelId, (CancellationToken, bool)>,
}

/// Counts a channel for as long as it is open.
struct Open(Arc<AtomicUsize>, Arc<Record>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        self.1.channels.fetch_sub(1, Ordering::SeqCst);
    }
}

impl server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
        let now = self.record.logins.fetch_add(1, Ordering::SeqCst) + 1;
        self.record.max_logins.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.behaviour.login_delay).await;
        self.record.logins.fetch_sub(1, Ordering::SeqCst);
        let enough = self.behaviour.accept_logins.is_some_and(|most| self.record.users.lock().unwrap().len() >= most);
        if self.behaviour.refuse_logins || enough {
            return Ok(Auth::reject());
        }
        let fingerprint = key.public_key.fingerprint(russh::keys::HashAlg::Sha256).to_string();
        self.record.users.lock().unwrap().push((user.to_owned(), fingerprint));
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        if self.behaviour.hang_up_after_login { Err(russh::Error::Disconnect) } else { Ok(()) }
    }

    async fn channel_open_session(&mut self, channel: Channel<Msg>, reply: ChannelOpenHandle, _: &mut Session) -> Result<(), russh::Error> {
        if self.open.load(Ordering::SeqCst) >= self.behaviour.max_sessions {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let now = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.record.max_channels.fetch_max(now, Ordering::SeqCst);
        self.record.channels.fetch_add(1, Ordering::SeqCst);
        self.fresh.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let mut onwards = TcpStream::connect((host, u16::try_from(port).unwrap())).await?;
        reply.accept().await;
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut onwards).await });
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        self.record.commands.fetch_add(1, Ordering::SeqCst);
        // The library hands input to whoever holds the channel, and waits for that one.
        self.fresh.remove(&id);
        if self.behaviour.closed_accounts {
            let open = Open(Arc::clone(&self.open), Arc::clone(&self.record));
            return say_nologin(id, session, open);
        }
        assert_eq!(line, b"exec /bin/sh");
        session.channel_success(id)?;
        let open = Open(Arc::clone(&self.open), Arc::clone(&self.record));
        self.told.insert(id, (String::new(), open));
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), russh::Error> {
        let open = Open(Arc::clone(&self.open), Arc::clone(&self.record));
        let channel = self.fresh.remove(&id);
        if self.behaviour.closed_accounts {
            return say_nologin(id, session, open);
        }
        if let ("sftp", Some(channel)) = (name, channel) {
            session.channel_success(id)?;
            tokio::spawn(async move {
                // It ends with its client, in whatever way that one leaves.
                let _ = serve_files(channel.into_stream()).await;
                drop(open);
            });
            return Ok(());
        }
        if name != "echo" {
            self.running.insert(id, (CancellationToken::new(), true));
            drop(open);
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        let ended = CancellationToken::new();
        self.running.insert(id, (ended.clone(), true));
        tokio::spawn(command("hang".to_owned(), session.handle(), id, ended, open));
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), russh::Error> {
        if let Some((mut told, open)) = self.told.remove(&id) {
            told.push_str(str::from_utf8(data).unwrap());
            match command_in(&told) {
                None => drop(self.told.insert(id, (told, open))),
                Some((_, "cut")) => return Err(russh::Error::Disconnect),
                Some((mark, line)) => {
                    session.data(id, format!("{mark}\n"))?;
                    session.extended_data(id, 1, format!("{mark}\n"))?;
                    let ended = CancellationToken::new();
                    self.running.insert(id, (ended.clone(), line != "deaf"));
                    tokio::spawn(command(line.to_owned(), session.handle(), id, ended, open));
                }
            }
            return Ok(());
        }
        // What goes through a forwarded channel is no command's input.
        if self.running.contains_key(&id) { session.data(id, data.to_vec()) } else { Ok(()) }
    }

    async fn signal(&mut self, id: ChannelId, _: Sig, _: &mut Session) -> Result<(), russh::Error> {
        self.record.signals.fetch_add(1, Ordering::SeqCst);
        if let Some((ended, true)) = self.running.get(&id) {
            ended.cancel();
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.fresh.remove(&id);
        self.told.remove(&id);
        if let Some((ended, _)) = self.running.remove(&id) {
            self.record.closed_by_client.fetch_add(1, Ordering::SeqCst);
            ended.cancel();
        }
        Ok(())
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        for (ended, _) in self.running.values() {
            ended.cancel();
        }
    }
}

/// What a closed account's login shell says to whatever it is asked.
fn say_nologin(id: ChannelId, session: &mut Session, open: Open) -> Result<(), russh::Error> {
    session.channel_success(id)?;
    session.data(id, "This account is currently not available.\n")?;
    session.exit_status_request(id, 1)?;
    session.eof(id)?;
    drop(open);
    session.close(id)
}

/// The mark and the command line in the program that a shell is told, once the whole of it has come.
fn command_in(told: &str) -> Option<(&str, &str)> {
    let (_, last) = told.strip_suffix("\nexit\n}\n")?.rsplit_once("\ngoldcrest_begin ")?;
    let (mark, line) = last.split_once(" && {\ngoldcrest_client\n")?;
    Some((mark, line))
}

/// Does what the command's name says, until it is told to end.
async fn command(line: String, handle: Handle, id: ChannelId, ended: CancellationToken, open: Open) {
    let mut words = line.split(' ');
    let act = async {
        match words.next().unwrap_or_default() {
            "hang" | "deaf" => std::future::pending().await,
            "flood" => while handle.data(id, vec![b'x'; 16 * 1024]).await.is_ok() {},
            "half" => {
                let _ = handle.data(id, "half").await;
                let _ = handle.disconnect(Disconnect::ByApplication, String::new(), String::new()).await;
                std::future::pending().await
            }
            "slow" => tokio::time::sleep(Duration::from_millis(20)).await,
            "nap" => tokio::time::sleep(Duration::from_millis(700)).await,
            // The exit status before the last of the output, as a server may do it.
            "late" => {
                let _ = handle.exit_status_request(id, 3).await;
                let _ = handle.data(id, "late").await;
                let _ = handle.extended_data(id, 1, "stderr").await;
                return;
            }
            "killed" => {
                let _ = handle.exit_signal_request(id, Sig::KILL, false, String::new(), String::new()).await;
                return;
            }
            "echo" => {
                let _ = handle.data(id, words.collect::<Vec<_>>().join(" ")).await;
            }
            // Of a large file, where one is to stand still.
            _ if line.contains("sha256sum") => std::future::pending().await,
            other => panic!("the double knows no command {other}"),
        }
        let _ = handle.exit_status_request(id, 0).await;
    };
    ended.run_until_cancelled(act).await;
    // As in sshd, a session is free before its close is on the way.
    drop(open);
    let _ = handle.eof(id).await;
    let _ = handle.close(id).await;
}
