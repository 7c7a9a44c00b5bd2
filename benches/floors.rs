//! What a cluster takes for one thing at a time over an SSH connection that is open: the floor below Goldcrest's own figures.
//!
//! `build/environment/bench/run.sh` starts it and measures the processes around it. By hand, with an empty line to begin:
//!
//! ```text
//! cargo bench --bench floors -- 127.0.0.1:22200 ada KEY KNOWN_HOSTS 5 1000 stat /home/ada/file
//! ```
//!
//! It connects, does the thing once, says `ready` and waits for a line. Then it does it one time after the other, for that many
//! seconds or that many times, whichever ends first, and says how many times that was and the milliseconds of each. It leaves when its
//! input ends. What fails ends it: a floor with failures in it is none.
//!
//! Only the SSH library and our SFTP codec are used, on one thread: no pool, no queue, no bookkeeping.

#![expect(clippy::print_stdout, reason = "its result is what it prints")]

use std::borrow::Cow;
use std::error::Error;
use std::io::stdin;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use goldcrest::filesystem::sftp::protocol::{
    Attributes, OpenFlags, Request, Response, Status, VERSION, decode_response, encode_request, split_packet,
};
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, check_known_hosts_path, load_secret_key};
use russh::{Channel, ChannelMsg, Preferred, cipher};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How much of a file one request carries: what OpenSSH's client and server have agreed on since 8.5.
const CHUNK: u32 = 255 * 1024;
/// What `put` writes.
const MEBIBYTE: &[u8] = &[7; 1 << 20];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    // cargo adds `--bench` to what it was given.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [address, user, key, known_hosts, seconds, times, thing, what] = arguments.as_slice() else {
        // A plain `cargo bench` comes here, and has nothing to connect to.
        println!("ADDRESS USER KEY KNOWN_HOSTS SECONDS TIMES stat|list|read|get|put|exec PATH-OR-COMMAND");
        return Ok(());
    };
    let address: SocketAddr = address.parse()?;
    if !address.ip().is_loopback() {
        return Err(format!("only this machine is put under load, not {address}").into());
    }
    let connection = connect(address, user, key, known_hosts).await?;
    let mut floor = match thing.as_str() {
        "exec" => Floor::Exec(&connection),
        "stat" => Floor::Stat(Sftp::open(&connection).await?),
        "list" => Floor::List(Sftp::open(&connection).await?),
        "read" => Floor::Read(Sftp::open(&connection).await?),
        "get" => Floor::Get(Sftp::open(&connection).await?),
        "put" => Floor::Put(Sftp::open(&connection).await?),
        other => return Err(format!("nothing is called {other}").into()),
    };
    floor.once(what).await?;
    println!("ready");
    stdin().read_line(&mut String::new())?;

    let (limit, most): (Duration, u32) = (Duration::from_secs(seconds.parse()?), times.parse()?);
    let start = Instant::now();
    let mut done = 0;
    while done < most && start.elapsed() < limit {
        floor.once(what).await?;
        done += 1;
    }
    println!("RESULT {done} {:.4}", start.elapsed().as_secs_f64() * 1000.0 / f64::from(done));
    stdin().read_line(&mut String::new())?;
    Ok(())
}

/// One thing, over and over.
enum Floor<'a> {
    /// One LSTAT.
    Stat(Sftp),
    /// OPENDIR, READDIR until there is no more, CLOSE.
    List(Sftp),
    /// OPEN, one READ, CLOSE.
    Read(Sftp),
    /// OPEN, FSTAT, a READ for each part of the file without waiting between them, CLOSE.
    Get(Sftp),
    /// OPEN, a WRITE for each part of a mebibyte without waiting between them, CLOSE.
    Put(Sftp),
    /// A channel with one command, until the server has closed it.
    Exec(&'a Handle<Client>),
}

impl Floor<'_> {
    async fn once(&mut self, what: &str) -> Outcome<()> {
        let path = || Bytes::copy_from_slice(what.as_bytes());
        match self {
            Self::Stat(sftp) => match sftp.ask(Request::Lstat { path: path() }).await? {
                Response::Attrs { .. } => Ok(()),
                other => Err(unexpected(&other)),
            },
            Self::List(sftp) => {
                let handle = sftp.handle(Request::Opendir { path: path() }).await?;
                loop {
                    match sftp.ask(Request::Readdir { handle: handle.clone() }).await? {
                        Response::Name { .. } => {}
                        Response::Status { status: Status::Eof, .. } => break,
                        other => return Err(unexpected(&other)),
                    }
                }
                sftp.close(handle).await
            }
            Self::Read(sftp) => {
                let handle = sftp.open_file(path(), OpenFlags::READ).await?;
                match sftp.ask(Request::Read { handle: handle.clone(), offset: 0, length: CHUNK }).await? {
                    Response::Data { .. } => sftp.close(handle).await,
                    other => Err(unexpected(&other)),
                }
            }
            Self::Get(sftp) => {
                let handle = sftp.open_file(path(), OpenFlags::READ).await?;
                let Response::Attrs { attributes: Attributes { size: Some(size), .. } } =
                    sftp.ask(Request::Fstat { handle: handle.clone() }).await?
                else {
                    return Err("the file has no size".into());
                };
                let parts = size.div_ceil(CHUNK.into());
                for part in 0..parts {
                    sftp.send(&Request::Read { handle: handle.clone(), offset: part * u64::from(CHUNK), length: CHUNK }).await?;
                }
                let mut received = 0;
                for _ in 0..parts {
                    match sftp.receive().await? {
                        Response::Data { data } => received += data.len() as u64,
                        other => return Err(unexpected(&other)),
                    }
                }
                if received != size {
                    return Err(format!("{received} of {size} bytes came").into());
                }
                sftp.close(handle).await
            }
            Self::Put(sftp) => {
                let handle = sftp.open_file(path(), OpenFlags(OpenFlags::WRITE.0 | OpenFlags::CREATE.0 | OpenFlags::TRUNCATE.0)).await?;
                let mut offset = 0;
                for data in MEBIBYTE.chunks(CHUNK as usize) {
                    sftp.send(&Request::Write { handle: handle.clone(), offset, data: Bytes::from_static(data) }).await?;
                    offset += data.len() as u64;
                }
                for _ in MEBIBYTE.chunks(CHUNK as usize) {
                    match sftp.receive().await? {
                        Response::Status { status: Status::Ok, .. } => {}
                        other => return Err(unexpected(&other)),
                    }
                }
                sftp.close(handle).await
            }
            Self::Exec(connection) => exec(connection, what).await,
        }
    }
}

async fn exec(connection: &Handle<Client>, command: &str) -> Outcome<()> {
    let mut channel = connection.channel_open_session().await?;
    channel.exec(true, command).await?;
    let mut exit = None;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::ExitStatus { exit_status } => exit = Some(exit_status),
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    if exit == Some(0) { Ok(()) } else { Err(format!("{command} ended with {exit:?}").into()) }
}

/// An SFTP session, one request at a time.
struct Sftp {
    channel: Channel<Msg>,
    outgoing: BytesMut,
    incoming: BytesMut,
}

impl Sftp {
    async fn open(connection: &Handle<Client>) -> Outcome<Self> {
        let channel = connection.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        let mut sftp = Self { channel, outgoing: BytesMut::new(), incoming: BytesMut::new() };
        match sftp.ask(Request::Init { version: VERSION }).await? {
            Response::Version { .. } => Ok(sftp),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&mut self, request: Request) -> Outcome<Response> {
        self.send(&request).await?;
        self.receive().await
    }

    async fn send(&mut self, request: &Request) -> Outcome<()> {
        encode_request(1, request, &mut self.outgoing);
        Ok(self.channel.data_bytes(self.outgoing.split().freeze()).await?)
    }

    async fn receive(&mut self) -> Outcome<Response> {
        loop {
            if let Some(packet) = split_packet(&mut self.incoming)? {
                return Ok(decode_response(packet)?.1);
            }
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => self.incoming.extend_from_slice(&data),
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Err("the SFTP session ended".into()),
                Some(_) => {}
            }
        }
    }

    async fn open_file(&mut self, path: Bytes, flags: OpenFlags) -> Outcome<Bytes> {
        self.handle(Request::Open { path, flags, attributes: Attributes::default() }).await
    }

    async fn handle(&mut self, request: Request) -> Outcome<Bytes> {
        match self.ask(request).await? {
            Response::Handle { handle } => Ok(handle),
            other => Err(unexpected(&other)),
        }
    }

    async fn close(&mut self, handle: Bytes) -> Outcome<()> {
        match self.ask(Request::Close { handle }).await? {
            Response::Status { status: Status::Ok, .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(response: &Response) -> Box<dyn Error> {
    format!("unexpected: {response:?}").into()
}

async fn connect(address: SocketAddr, user: &str, key: &str, known_hosts: &str) -> Outcome<Handle<Client>> {
    let config = client::Config {
        nodelay: true,
        window_size: 4 << 20,
        // The cipher that Goldcrest takes where the processor has AES.
        preferred: Preferred { cipher: Cow::Borrowed(&[cipher::AES_128_GCM, cipher::CHACHA20_POLY1305]), ..Preferred::DEFAULT },
        ..client::Config::default()
    };
    let mut connection = client::connect(Arc::new(config), address, Client { address, known_hosts: known_hosts.into() }).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(key, None)?), None);
    if connection.authenticate_publickey(user, key).await?.success() { Ok(connection) } else { Err("the login was refused".into()) }
}

struct Client {
    address: SocketAddr,
    known_hosts: PathBuf,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(check_known_hosts_path(&self.address.ip().to_string(), self.address.port(), &shown.public_key(), &self.known_hosts)?)
    }
}
