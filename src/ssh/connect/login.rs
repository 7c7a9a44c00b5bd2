//! Credentials in the form that russh needs: decoded once, then used for every connection of a lane.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use russh::Signer;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};
use tokio::sync::OnceCell;

use crate::credentials::Credential;
use crate::domain::{SystemName, Username};
use crate::ssh::transport::TransportError;

/// The maximum number of characters of a key id that are logged. Key ids of our own authority are not longer.
const MAX_KEY_ID: usize = 512;

/// A user's credential, with its key decoded when it is first needed.
pub(crate) struct Login {
    /// The login: user and credential.
    pub(crate) user: Username,
    credential: Arc<Credential>,
    decoded: OnceCell<Decoded>,
}

#[derive(Clone)]
struct Decoded {
    key: Arc<PrivateKey>,
    certificate: Option<Certificate>,
}

impl Login {
    /// A login of `user` with `credential`.
    pub(crate) fn new(user: Username, credential: Arc<Credential>) -> Self {
        Self { user, credential, decoded: OnceCell::new() }
    }

    /// Whether this is the login for `credential`: the provider gives an unchanged credential by the same address.
    pub(crate) fn is_for(&self, credential: &Arc<Credential>) -> bool {
        Arc::ptr_eq(&self.credential, credential)
    }

    /// Whether the credential expires, so that it may be used together with its successor until then.
    pub(crate) fn ends(&self) -> bool {
        self.credential.not_after.is_some()
    }

    /// Whether the credential, or its certificate, has expired.
    pub(crate) fn expired(&self) -> bool {
        let certificate_ended = self.certificate().is_some_and(|certificate| {
            // A certificate "forever" is written as the largest number, which is no point in time.
            let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(certificate.valid_before()));
            end.is_some_and(|end| end <= SystemTime::now())
        });
        certificate_ended || self.credential.not_after.is_some_and(|end| end <= jiff::Timestamp::now())
    }

    /// The user and the credential, for the message of a refusal. A certificate is named as in sshd's log and by `ssh-keygen`.
    pub(crate) fn who(&self) -> String {
        let user = &self.user;
        let Some(certificate) = self.certificate() else { return user.to_string() };
        format!("{user} with the SSH certificate {} ({})", certificate.serial(), key_id(certificate))
    }

    /// What may be the reason of a refusal, which servers do not tell.
    pub(crate) fn guess(&self) -> String {
        let user = &self.user;
        let Some(certificate) = self.certificate() else {
            return format!("there may be no account {user}, or its authorized_keys may lack the key");
        };
        let principals = certificate.valid_principals();
        if !principals.is_empty() && principals.iter().all(|principal| principal != user.as_str()) {
            return "it is for other names".to_owned();
        }
        format!("there may be no account {user}, it may be revoked there, its authority not trusted, or the clocks differ")
    }

    /// Writes the use of a certificate, successful or not, to the audit log. A login with a plain key is in the system's own log.
    pub(crate) fn record(&self, system: &SystemName, failure: Option<&TransportError>) {
        let Some(certificate) = self.certificate() else { return };
        let outcome = match failure {
            None => "done",
            Some(TransportError::Login(_) | TransportError::AccountClosed(_)) => "refused",
            Some(_) => "failed",
        };
        let caller = self.credential.caller.as_deref();
        tracing::info!(
            target: "audit",
            user = %self.user,
            subject = caller.map(|caller| caller.subject.as_str()),
            client = caller.and_then(|caller| caller.client_id.as_deref()),
            system = %system,
            action = "ssh.login",
            // As text: many readers of JSON round a number of 64 bits.
            serial = %certificate.serial(),
            key_id = key_id(certificate),
            outcome,
            "ssh.login by {} on {system}: {outcome}",
            self.user,
        );
    }

    fn certificate(&self) -> Option<&Certificate> {
        self.decoded.get()?.certificate.as_ref()
    }

    /// Decodes the key on a blocking thread: a passphrase costs a tenth of a second of computing.
    ///
    /// # Errors
    /// If the key or the certificate cannot be read.
    pub(crate) async fn decode(&self) -> Result<(), TransportError> {
        let decoded = self.decoded.get_or_try_init(|| async {
            let credential = Arc::clone(&self.credential);
            tokio::task::spawn_blocking(move || Decoded::read(&credential)).await.map_err(|_| "decoding it failed".to_owned()).flatten()
        });
        decoded.await.map(|_| ()).map_err(|reason| TransportError::Key { user: self.user.clone(), reason })
    }

    /// Logs in on a fresh connection.
    ///
    /// # Errors
    /// If the server does not take the credential, or the connection breaks.
    pub(crate) async fn authenticate<H: Handler>(&self, handle: &mut Handle<H>) -> Result<AuthResult, russh::Error> {
        let Some(Decoded { key, certificate }) = self.decoded.get().cloned() else { return Err(russh::Error::CouldNotReadKey) };
        let user = self.user.as_str();
        let hash = if key.algorithm().is_rsa() {
            // A server that does not say which signatures it takes is tried with SHA-512; SHA-1 is never used.
            match handle.best_supported_rsa_hash().await? {
                Some(Some(hash)) => Some(hash),
                Some(None) | None => Some(HashAlg::Sha512),
            }
        } else {
            None
        };
        match certificate {
            Some(certificate) if hash.is_some() => {
                handle.authenticate_certificate_with(user, certificate, hash, &mut RsaSigner(key)).await.map_err(|SignError(error)| error)
            }
            Some(certificate) => handle.authenticate_openssh_cert(user, key, certificate).await,
            None => handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, hash)).await,
        }
    }
}

/// A certificate's key id, escaped for messages: its authority may have written anything.
fn key_id(certificate: &Certificate) -> String {
    certificate.key_id().chars().take(MAX_KEY_ID).flat_map(char::escape_debug).collect()
}

/// Signs for an RSA certificate: the library's own way names the SHA-1 algorithm, whatever the signature is.
struct RsaSigner(Arc<PrivateKey>);

/// A signature that could not be made, or not be sent.
struct SignError(russh::Error);

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self(russh::Error::SendError)
    }
}

impl Signer for RsaSigner {
    type Error = SignError;

    async fn auth_sign(&mut self, _: &AgentIdentity, hash: Option<HashAlg>, mut to_sign: Vec<u8>) -> Result<Vec<u8>, SignError> {
        let KeypairData::Rsa(key) = self.0.key_data() else { return Err(SignError(russh::Error::UnknownAlgo)) };
        let signature = (key, hash).try_sign(&to_sign).map_err(|_| SignError(russh::Error::CouldNotReadKey))?;
        signature.encode_prefixed(&mut to_sign).map_err(|_| SignError(russh::Error::CouldNotReadKey))?;
        Ok(to_sign)
    }
}

impl Decoded {
    /// Reads the key and the certificate. The reasons given hold nothing of either.
    fn read(credential: &Credential) -> Result<Self, String> {
        let passphrase = credential.passphrase.as_ref().map(crate::domain::Secret::expose);
        let key = decode_secret_key(credential.private_key.expose(), passphrase)
            .map_err(|_| "the private key cannot be read, or the passphrase is wrong".to_owned())?;
        let certificate = match &credential.certificate {
            Some(text) => {
                let certificate = Certificate::from_openssh(text.trim()).map_err(|_| "the certificate cannot be read".to_owned())?;
                if certificate.public_key() != key.public_key().key_data() {
                    return Err("the certificate is for another key".to_owned());
                }
                Some(certificate)
            }
            None => None,
        };
        Ok(Self { key: Arc::new(key), certificate })
    }
}
