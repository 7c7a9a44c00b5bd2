//! TLS in front of the API: certificate and key from files, read again when they change.
//!
//! TLS 1.2 and 1.3, HTTP/2 and 1.1 by ALPN (RFC 7301). Connections that are open keep the certificate they began with.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::error::ErrorChain;

/// The interval between checks of the files for changes.
const FILES_INTERVAL: Duration = Duration::from_secs(5);

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The answer to a request without TLS.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 39\r\nConnection: close\r\n\r\n\
    this port speaks TLS: use an https URL\n";

/// The largest part of such a request that is read, in bytes.
const MAX_PLAIN_REQUEST: u64 = 64 * 1024;

/// The paths of certificate and key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct TlsConfig {
    /// File with the certificate and those of its intermediate authorities, in PEM form, the server's own first.
    pub certificate: PathBuf,
    /// File with the certificate's private key, in PEM form and without a passphrase.
    pub private_key: PathBuf,
}

/// The certificate that is served now.
pub struct Tls {
    current: watch::Sender<TlsAcceptor>,
    files: Mutex<(TlsConfig, Stamp)>,
}

/// When the files were changed.
type Stamp = [Option<SystemTime>; 2];

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file holds no certificate in PEM form.
    #[error("{} holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The file holds no private key that can be used.
    #[error("{} holds no private key in PEM form without a passphrase", .0.display())]
    NoKey(PathBuf),
    /// Key and certificate are not of one pair, or of a kind that TLS does not use.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// Each can be used, and the key is another certificate's.
    #[error("the private key is not that of the certificate")]
    Mismatch,
}

impl TlsError {
    /// The configuration key that is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Read { key, .. } => key,
            Self::NoCertificate(_) => "server.tls.certificate",
            Self::NoKey(_) | Self::Mismatch => "server.tls.private_key",
            Self::Pair(_) => "server.tls",
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Self::Mismatch,
            error => Self::Pair(error),
        }
    }
}

impl TlsConfig {
    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let read = |key: &'static str, path: &PathBuf| {
            let text = std::fs::File::open(path).and_then(|file| {
                let mut text = Vec::new();
                io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut text).map(|_| text)
            });
            text.map_err(|source| TlsError::Read { key, path: path.clone(), source })
        };
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&read("server.tls.certificate", &self.certificate)?).filter_map(Result::ok).collect();
        if chain.is_empty() {
            return Err(TlsError::NoCertificate(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&read("server.tls.private_key", &self.private_key)?)
            .map_err(|_| TlsError::NoKey(self.private_key.clone()))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let mut config = builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.private_key].map(|path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
    }

    /// Checks that certificate and key can be used.
    ///
    /// # Errors
    /// The reason why they cannot.
    pub fn check(&self) -> Result<(), TlsError> {
        self.acceptor().map(drop)
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// If they cannot be used.
    pub fn load(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let stamp = config.stamp();
        let current = watch::Sender::new(config.acceptor()?);
        Ok(Arc::new(Self { current, files: Mutex::new((config.clone(), stamp)) }))
    }

    /// Reads certificate and key anew, perhaps from other files. Where they cannot be used, the present ones stay.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), TlsError> {
        let stamp = config.stamp();
        let acceptor = config.acceptor()?;
        *self.files.lock() = (config.clone(), stamp);
        self.current.send_replace(acceptor);
        Ok(())
    }

    /// Reads the files anew whenever they have changed, until `stop` is cancelled.
    pub async fn follow_files(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(FILES_INTERVAL)).await.is_some() {
            let (config, read) = self.files.lock().clone();
            let present = config.stamp();
            if present == read {
                continue;
            }
            match self.reload(&config) {
                Ok(()) => tracing::info!(certificate = %config.certificate.display(), "the TLS certificate was read anew"),
                Err(error) => {
                    tracing::error!(error = %ErrorChain(&error), "the changed TLS certificate cannot be used; the one before is served on");
                    // Not again before the next change.
                    self.files.lock().1 = present;
                }
            }
        }
    }

    /// Shakes hands on a connection. A client that begins with HTTP gets an answer that it can read.
    ///
    /// # Errors
    /// If the handshake fails.
    pub(crate) async fn accept(&self, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let mut first = [0];
        // Methods have capital letters; a record of TLS begins with the number of its type (RFC 8446, 5.1).
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            stream.write_all(PLAIN_ANSWER).await?;
            stream.shutdown().await?;
            // What was not read would reset the connection, and the client would lose the answer.
            tokio::io::copy(&mut (&mut stream).take(MAX_PLAIN_REQUEST), &mut tokio::io::sink()).await?;
            return Err(io::Error::other("the client speaks HTTP without TLS"));
        }
        let acceptor = self.current.borrow().clone();
        acceptor.accept(stream).await
    }
}
