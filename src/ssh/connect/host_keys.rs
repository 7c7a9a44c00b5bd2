//! Verifies the identity of a server.
//!
//! The configuration chooses one of three ways: files in OpenSSH's `known_hosts` format, keys pinned in the configuration, or trust on first
//! use. There is no fourth: nothing turns the check off. It must not open connections.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};

use crate::ssh::config::{ConfigError, HostKeys};
use crate::ssh::connect::known_hosts::{self, Marker};

/// The configured way to know servers.
pub(crate) enum Trust {
    Files(Vec<PathBuf>),
    Pinned(KnownKeys),
    FirstUse(Mutex<HashMap<(String, u16), PublicKey>>),
}

/// The known keys of one server.
#[derive(Clone, Default)]
pub(crate) struct KnownKeys {
    /// Keys that the server may show.
    pub(crate) keys: Vec<PublicKey>,
    /// Keys of authorities whose host certificates count.
    pub(crate) authorities: Vec<PublicKey>,
    /// Keys that are always refused.
    pub(crate) revoked: Vec<PublicKey>,
    /// Whether an unknown key is trusted on first use.
    first_use: bool,
}

impl Trust {
    /// Reads the configuration; pinned keys are parsed here, files when they are used.
    ///
    /// # Errors
    /// If a pinned key is no public key, or none is given.
    pub(crate) fn new(config: Option<&HostKeys>) -> Result<Self, ConfigError> {
        Ok(match config {
            None => {
                let user = std::env::home_dir().map(|home| home.join(".ssh/known_hosts"));
                Self::Files(user.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect())
            }
            Some(HostKeys::KnownHosts(path)) => Self::Files(vec![path.clone()]),
            Some(HostKeys::Pinned(lines)) => {
                let mut known = KnownKeys::default();
                for line in lines {
                    let (list, key) = match line.trim().strip_prefix(Marker::Authority.as_str()) {
                        Some(key) => (&mut known.authorities, key),
                        None => (&mut known.keys, line.as_str()),
                    };
                    list.push(PublicKey::from_openssh(key.trim()).map_err(|_| ConfigError::HostKey(line.clone()))?);
                }
                if known.keys.is_empty() && known.authorities.is_empty() {
                    return Err(ConfigError::NoHostKeys);
                }
                Self::Pinned(known)
            }
            Some(HostKeys::TrustOnFirstUse) => Self::FirstUse(Mutex::default()),
        })
    }

    /// The known keys of a server. Files are read each time, so that a changed file needs no restart.
    ///
    /// # Errors
    /// A sentence for the administrator when the configured file cannot be read.
    pub(crate) async fn known(&self, host: &str, port: u16) -> Result<KnownKeys, String> {
        match self {
            Self::Pinned(known) => Ok(known.clone()),
            Self::FirstUse(seen) => {
                let seen = seen.lock();
                let keys: Vec<PublicKey> = seen.get(&(host.to_owned(), port)).cloned().into_iter().collect();
                Ok(KnownKeys { first_use: keys.is_empty(), keys, ..KnownKeys::default() })
            }
            Self::Files(paths) => {
                let mut known = KnownKeys::default();
                for path in paths {
                    known.read(path, host, port, paths.len() == 1).await?;
                }
                Ok(known)
            }
        }
    }

    /// Remembers a key that was taken on first use; of two at the same time the first stays.
    ///
    /// # Errors
    /// A sentence for the administrator when another key has been seen meanwhile.
    pub(crate) fn remember(&self, host: &str, port: u16, key: &PublicKey) -> Result<(), String> {
        let Self::FirstUse(seen) = self else { return Ok(()) };
        let mut seen = seen.lock();
        let first = seen.entry((host.to_owned(), port)).or_insert_with(|| key.clone());
        if first.key_data() == key.key_data() { Ok(()) } else { Err(changed(host, port, key, std::slice::from_ref(first))) }
    }
}

impl HostKeys {
    /// Whether these are a readable file without a key or an authority for a host: each connection to it would be refused.
    pub fn lacks(&self, host: &str, port: u16) -> bool {
        let Self::KnownHosts(path) = self else { return false };
        let has_key = |text: &[u8]| {
            let entries = known_hosts::entries(&String::from_utf8_lossy(text), host, port);
            entries.iter().any(|entry| entry.marker != Some(Marker::Revoked))
        };
        std::fs::read(path).is_ok_and(|text| !has_key(&text))
    }

    /// The error in the pinned keys, if there is one: found when the configuration is read.
    pub fn validate(&self) -> Option<&'static str> {
        match Trust::new(Some(self)).err()? {
            ConfigError::NoHostKeys => Some("is empty"),
            // The line is not repeated: it may be a private key by mistake.
            ConfigError::HostKey(_) | ConfigError::Zero(_) => Some("holds a line that is no public key"),
        }
    }
}

impl KnownKeys {
    /// The host key algorithms to offer, those of the known keys first: a server with several keys then presents a known one.
    pub(crate) fn algorithms(&self) -> Vec<Algorithm> {
        const OFFERED: [Algorithm; 6] = [
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
            Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
            Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
            Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
        ];
        let known = |offered: &Algorithm| {
            self.keys
                .iter()
                .any(|key| key.algorithm() == *offered || (key.algorithm().is_rsa() && matches!(offered, Algorithm::Rsa { .. })))
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = OFFERED.into_iter().partition(known);
        first.extend(rest);
        first
    }

    /// The certificate algorithms to offer: none unless an authority is known, because certificates are useless without one.
    pub(crate) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities.is_empty() { Vec::new() } else { self.algorithms() }
    }

    /// Verifies the key that the server has presented, and proved to own.
    ///
    /// # Errors
    /// A sentence that tells the administrator what is wrong and what to do.
    pub(crate) fn check(&self, host: &str, port: u16, shown: &PublicKeyOrCertificate) -> Result<(), String> {
        let key = shown.public_key();
        if self.revoked.iter().any(|revoked| revoked.key_data() == key.key_data()) {
            return Err(format!("the key {} of {host}:{port} is marked @revoked", fingerprint(&key)));
        }
        if let Some(certificate) = shown.certificate() {
            match self.check_certificate(host, certificate) {
                Ok(()) => return Ok(()),
                // As OpenSSH does it: a certificate that does not hold still shows a key, which may be known as itself.
                Err(reason) if self.keys.is_empty() => {
                    return Err(format!("the host certificate of {host}:{port} does not hold: {reason}"));
                }
                Err(_) => {}
            }
        }
        if self.first_use || self.keys.iter().any(|known| known.key_data() == key.key_data()) {
            Ok(())
        } else if self.keys.is_empty() {
            let fingerprint = fingerprint(&key);
            Err(format!(
                "no key of {host}:{port} is known; it shows {} {fingerprint}. If that is right, add it to the known_hosts file or \
                 pin it as ssh.host_keys",
                key.algorithm()
            ))
        } else {
            Err(changed(host, port, &key, &self.keys))
        }
    }

    fn check_certificate(&self, host: &str, certificate: &Certificate) -> Result<(), String> {
        let authority = certificate.signature_key();
        if self.revoked.iter().any(|revoked| revoked.key_data() == authority) {
            return Err("its authority is marked @revoked".to_owned());
        }
        if certificate.cert_type() != CertType::Host {
            return Err("it is not a host certificate".to_owned());
        }
        if !certificate.critical_options().is_empty() {
            return Err("it has critical options, and none is known for hosts".to_owned());
        }
        // An empty list of names would be good for every host there is (PROTOCOL.certkeys); that is never meant.
        if !certificate.valid_principals().iter().any(|name| known_hosts::wildcard(name, host)) {
            return Err("it does not name the host".to_owned());
        }
        let authorities: Vec<Fingerprint> = self.authorities.iter().map(|key| key.fingerprint(HashAlg::Sha256)).collect();
        certificate.validate(&authorities).map_err(|_| "it has expired, or no known authority has signed it".to_owned())
    }

    async fn read(&mut self, path: &Path, host: &str, port: u16, required: bool) -> Result<(), String> {
        let text = match tokio::fs::read(path).await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if required => return Err(format!("the known_hosts file {} cannot be read: {error}", path.display())),
            Err(_) => return Ok(()),
        };
        for entry in known_hosts::entries(&text, host, port) {
            match entry.marker {
                None => self.keys.push(entry.key),
                Some(Marker::Authority) => self.authorities.push(entry.key),
                Some(Marker::Revoked) => self.revoked.push(entry.key),
            }
        }
        Ok(())
    }
}

fn changed(host: &str, port: u16, key: &PublicKey, expected: &[PublicKey]) -> String {
    let expected: Vec<String> = expected.iter().map(|key| format!("{} {}", key.algorithm(), fingerprint(key))).collect();
    format!(
        "{host}:{port} shows the {} key {}, which is not the one that is known ({}). Another machine may be impersonating the host, or it was \
         reinstalled: compare the fingerprint on the host before replacing the known key",
        key.algorithm(),
        fingerprint(key),
        expected.join(", ")
    )
}

fn fingerprint(key: &PublicKey) -> Fingerprint {
    key.fingerprint(HashAlg::Sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc=";

    #[test]
    fn the_algorithm_of_a_known_key_is_asked_for_first() {
        let known = KnownKeys { keys: vec![PublicKey::from_openssh(ECDSA).unwrap()], ..KnownKeys::default() };
        assert_eq!(known.algorithms()[0], Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 });
        assert_eq!(KnownKeys::default().algorithms()[0], Algorithm::Ed25519);
        assert!(known.certificate_algorithms().is_empty(), "a certificate says nothing without an authority");
    }

    #[test]
    fn sha_1_is_never_asked_for() {
        assert!(!KnownKeys::default().algorithms().contains(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn pinned_keys_must_be_keys() {
        let pinned = |lines: &[&str]| Trust::new(Some(&HostKeys::Pinned(lines.iter().map(|line| (*line).to_owned()).collect())));
        assert!(pinned(&[ECDSA]).is_ok());
        assert!(pinned(&[&format!("@cert-authority {ECDSA}")]).is_ok());
        assert!(matches!(pinned(&["AAAA"]), Err(ConfigError::HostKey(_))));
        assert!(matches!(pinned(&[]), Err(ConfigError::NoHostKeys)));
    }
}
