//! Key pairs and OpenSSH certificates: the one place here that knows `russh::keys`.
//!
//! Certificates are those of OpenSSH's PROTOCOL.certkeys.

use jiff::Timestamp;
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::ssh_key::rand_core::Rng;
use russh::keys::{Algorithm, Certificate, PrivateKey, decode_secret_key};

use crate::domain::Secret;

/// The longest certificate that is read, as text. One of RSA keys with 16384 bits stays below; and the decoder recurses into
/// certificates that were signed by certificates, so that the length also bounds its depth.
const MAX_KEY_FILE: usize = 16 * 1024;

/// A fresh ed25519 key pair.
pub(super) struct KeyPair(PrivateKey);

/// A private key that certificates are signed with.
pub(super) struct SigningKey(PrivateKey);

/// The content of a certificate.
pub(super) struct Claims {
    pub(super) serial: u64,
    pub(super) key_id: String,
    pub(super) principal: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// By their names in PROTOCOL.certkeys.
    pub(super) critical_options: Vec<(&'static str, String)>,
    pub(super) extensions: Vec<&'static str>,
}

/// Why a text cannot be used as a private key, and what to do; `None` if it can, as far as is known without its passphrase.
pub(super) fn unusable(key: &Secret, has_passphrase: bool) -> Option<&'static str> {
    match decode_secret_key(key.expose(), None) {
        Ok(_) => None,
        Err(russh::keys::Error::KeyIsEncrypted) if has_passphrase => None,
        Err(russh::keys::Error::KeyIsEncrypted) => Some("is encrypted, and there is no passphrase: set `passphrase` beside it"),
        Err(_) => {
            Some("is no private key in OpenSSH or PEM form: make one with `ssh-keygen -t ed25519`, or compare with `ssh-keygen -y -f FILE`")
        }
    }
}

/// Whether the private key is encrypted, and its passphrase another one. This takes a tenth of a second of computing.
pub(super) fn stays_locked(key: &Secret, passphrase: &Secret) -> bool {
    matches!(decode_secret_key(key.expose(), None), Err(russh::keys::Error::KeyIsEncrypted))
        && decode_secret_key(key.expose(), Some(passphrase.expose())).is_err()
}

impl KeyPair {
    /// Makes a pair.
    ///
    /// # Errors
    /// If the generator fails.
    pub(super) fn generate() -> Result<Self, &'static str> {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map(Self).map_err(|_| "a key could not be generated")
    }

    /// The private key as OpenSSH writes it.
    ///
    /// # Errors
    /// If it has no such form.
    pub(super) fn private_key(&self) -> Result<Secret, &'static str> {
        self.0.to_openssh(LineEnding::LF).map(|text| Secret::from(text.to_string())).map_err(|_| "a key could not be written")
    }

    /// The public key in the one-line form of `*.pub` files.
    ///
    /// # Errors
    /// If it has no such form.
    pub(super) fn public_key(&self) -> Result<String, &'static str> {
        self.0.public_key().to_openssh().map_err(|_| "a key could not be written")
    }
}

impl SigningKey {
    /// Reads the key.
    ///
    /// # Errors
    /// Whether it is the key or the passphrase, and why; nothing of either.
    pub(super) fn read(key: &Secret, passphrase: Option<&Secret>) -> Result<Self, (&'static str, String)> {
        let of_key = |reason: &str| ("private_key", reason.to_owned());
        let text = key.expose();
        if text.trim().is_empty() {
            return Err(of_key("is empty"));
        }
        if text.trim_start().starts_with("ssh-") || text.trim_start().starts_with("ecdsa-") {
            return Err(of_key("is a public key: the private one is needed"));
        }
        let key = match decode_secret_key(text, passphrase.map(Secret::expose)) {
            Ok(key) => key,
            Err(russh::keys::Error::KeyIsEncrypted) if passphrase.is_none() => {
                return Err(("passphrase", "is missing: the private key is encrypted".to_owned()));
            }
            Err(_) if passphrase.is_some() => {
                return Err(("passphrase", "does not open the private key, or the key cannot be read".to_owned()));
            }
            Err(_) => return Err(of_key("is no private key in OpenSSH or PEM form")),
        };
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(Self(key)),
            other => {
                Err(of_key(&format!("is of the type {other}, with which no certificate can be signed here: use ed25519, ecdsa or rsa")))
            }
        }
    }

    /// The public key in the one-line form of `*.pub` files: what `TrustedUserCAKeys` names.
    pub(super) fn public_key(&self) -> String {
        self.0.public_key().to_openssh().unwrap_or_default()
    }

    /// Signs a user certificate for a key pair and returns its text.
    ///
    /// # Errors
    /// When something of it cannot be encoded or signed.
    pub(super) fn certify(&self, pair: &KeyPair, claims: Claims) -> Result<String, &'static str> {
        self.sign(pair, claims).map_err(|_| "it could not be signed")
    }

    fn sign(&self, pair: &KeyPair, claims: Claims) -> Result<String, russh::keys::ssh_key::Error> {
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or(0);
        let (from, until) = (seconds(claims.not_before), seconds(claims.not_after));
        let mut builder = Builder::new_with_random_nonce(&mut safe_rng(), pair.0.public_key(), from, until)?;
        builder.serial(claims.serial)?.key_id(claims.key_id)?.cert_type(CertType::User)?.valid_principal(claims.principal)?;
        for (name, value) in claims.critical_options {
            builder.critical_option(name, value)?;
        }
        for name in claims.extensions {
            builder.extension(name, "")?;
        }
        builder.sign(&self.0)?.to_openssh()
    }
}

/// A certificate serial number: random, unique across processes, never 0, and small enough for a signed integer.
pub(super) fn serial() -> u64 {
    (safe_rng().next_u64() >> 1).max(1)
}

/// Checks that a certificate is one for this key and a user, and has not ended. Returns its end, where it has one.
///
/// Its principals are not compared: a cluster may map other principals to its users (`AuthorizedPrincipalsFile`).
///
/// # Errors
/// The error, without any part of the key.
pub(super) fn check(certificate: &str, private_key: &Secret) -> Result<Option<Timestamp>, &'static str> {
    let text = certificate.trim();
    if text.len() > MAX_KEY_FILE {
        return Err("the certificate is too long");
    }
    let certificate = Certificate::from_openssh(text).map_err(|_| "it holds no SSH certificate")?;
    let key = decode_secret_key(private_key.expose(), None).map_err(|_| "it holds no private key that can be read")?;
    if certificate.public_key() != key.public_key().key_data() {
        return Err("the certificate is for another key");
    }
    if certificate.cert_type() != CertType::User {
        return Err("the certificate is one for hosts");
    }
    // "Forever" is the largest number, which is no point in time.
    let end = i64::try_from(certificate.valid_before()).ok().and_then(|second| Timestamp::from_second(second).ok());
    match end {
        Some(end) if end <= Timestamp::now() => Err("the certificate has expired: compare the clocks of the two hosts"),
        end => Ok(end),
    }
}
