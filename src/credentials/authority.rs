//! Goldcrest's own certificate authority: it signs a certificate of minutes for a fresh key, in this process.
//!
//! A certificate names one user, ends soon, and allows what the configuration says and nothing else. Each one is written to
//! the audit log with its serial number and its key id, by which a cluster's sshd names it in its own log.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use super::keys::{Claims, KeyPair, SigningKey, serial};
use super::{CallerKey, Credential, CredentialError, CredentialProvider, SetupError};
use crate::domain::{Principal, Secret};

/// The maximum number of characters of a name in a key id: the claims of a token have no bound of their own.
const MAX_NAME: usize = 128;

/// Goldcrest's own certificate authority. The clusters trust its public key (`TrustedUserCAKeys`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Config {
    /// Private key of the authority (ed25519, ecdsa or rsa), in place or as `secret_file:/path`.
    pub private_key: Secret,
    /// Passphrase of the private key, in place or as `secret_file:/path`.
    pub passphrase: Option<Secret>,
    /// Lifetime of a certificate in seconds. A new one is made when a third of it is left.
    #[serde(default = "default_validity")]
    #[schemars(range(min = 10, max = 86400))]
    pub validity: u64,
    /// Seconds by which the validity of a certificate begins in the past, for clusters with slow clocks.
    #[serde(default = "default_clock_skew")]
    #[schemars(range(max = 3600))]
    pub clock_skew: u64,
    /// Addresses and networks (`192.0.2.0/24`) from which the certificate is accepted: those of Goldcrest. If empty, any address.
    #[serde(default)]
    pub source_address: Vec<String>,
    /// Command that sshd runs instead of every requested command, which it passes in `SSH_ORIGINAL_COMMAND`.
    pub force_command: Option<String>,
    /// Permissions in addition to commands and SFTP. A jump host needs `permit-port-forwarding`.
    #[serde(default)]
    pub extensions: Vec<Extension>,
}

/// The permissions of a certificate. Agent and X11 forwarding are not among them: nothing here needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// To have a terminal.
    PermitPty,
    /// To connect onwards, as through a jump host.
    PermitPortForwarding,
    /// To have `~/.ssh/rc` run.
    PermitUserRc,
}

/// The provider over [`Config`].
pub struct CertificateAuthority(Arc<Authority>);

struct Authority {
    key: SigningKey,
    validity: SignedDuration,
    clock_skew: SignedDuration,
    critical_options: Vec<(&'static str, String)>,
    extensions: Vec<&'static str>,
}

impl CertificateAuthority {
    /// Reads the key and checks the options. A key with a passphrase costs a moment of computing.
    ///
    /// # Errors
    /// If the key cannot be read or an option would make every login fail.
    pub fn new(config: &Config) -> Result<Self, SetupError> {
        let wrong = |key: &str, reason: &str| SetupError { key: key.to_owned(), reason: reason.to_owned() };
        let key = SigningKey::read(&config.private_key, config.passphrase.as_ref()).map_err(|(key, reason)| wrong(key, &reason))?;
        let mut critical_options = Vec::new();
        if let Some(command) = &config.force_command {
            if command.trim().is_empty() || command.contains(char::is_control) {
                return Err(wrong("force_command", "is empty, or holds a control character"));
            }
            critical_options.push(("force-command", command.clone()));
        }
        if !config.source_address.is_empty() {
            if let Some((index, reason)) =
                config.source_address.iter().enumerate().find_map(|(at, text)| Some((at, invalid_network(text)?)))
            {
                return Err(wrong(&format!("source_address[{index}]"), reason));
            }
            critical_options.push(("source-address", config.source_address.join(",")));
        }
        let mut extensions: Vec<&'static str> = config.extensions.iter().map(|extension| extension.name()).collect();
        extensions.sort_unstable();
        extensions.dedup();
        let seconds = |seconds: u64| SignedDuration::from_secs(seconds.min(86_400).cast_signed());
        let (validity, clock_skew) = (seconds(config.validity), seconds(config.clock_skew));
        Ok(Self(Arc::new(Authority { key, validity, clock_skew, critical_options, extensions })))
    }

    /// The authority's public key, in the form of `TrustedUserCAKeys`.
    pub fn public_key(&self) -> String {
        self.0.key.public_key()
    }
}

#[async_trait]
impl CredentialProvider for CertificateAuthority {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        let (authority, caller) = (Arc::clone(&self.0), CallerKey::of(principal));
        // An RSA key takes milliseconds to sign.
        tokio::task::spawn_blocking(move || authority.issue(caller, Timestamp::now()))
            .await
            .map_err(|_| CredentialError::Interrupted)?
            .map(Arc::new)
            .map_err(CredentialError::Signing)
    }

    fn needs_token(&self) -> bool {
        false
    }
}

impl Authority {
    /// A fresh key with a certificate for it.
    fn issue(&self, caller: CallerKey, now: Timestamp) -> Result<Credential, &'static str> {
        let pair = KeyPair::generate()?;
        // Whole seconds, as the certificate has them.
        let not_after = Timestamp::from_second((now + self.validity).as_second()).map_err(|_| "its end is out of range")?;
        let (serial, key_id) = (serial(), key_id(&caller));
        let claims = Claims {
            serial,
            key_id: key_id.clone(),
            principal: caller.username.as_str().to_owned(),
            not_before: now - self.clock_skew,
            not_after,
            critical_options: self.critical_options.clone(),
            extensions: self.extensions.clone(),
        };
        let certificate = self.key.certify(&pair, claims)?;
        tracing::info!(
            target: "audit",
            user = %caller.username,
            subject = caller.subject.as_str(),
            client = caller.client_id.as_deref(),
            action = "credential.issue",
            // As text: many readers of JSON round a number of 64 bits.
            %serial,
            key_id,
            %not_after,
            outcome = "done",
            "an SSH certificate for {} was made",
            caller.username,
        );
        Ok(Credential {
            private_key: pair.private_key()?,
            passphrase: None,
            certificate: Some(certificate),
            not_after: Some(not_after),
            caller: Some(Arc::new(caller)),
        })
    }
}

impl Extension {
    fn name(self) -> &'static str {
        match self {
            Self::PermitPty => "permit-pty",
            Self::PermitPortForwarding => "permit-port-forwarding",
            Self::PermitUserRc => "permit-user-rc",
        }
    }
}

/// The owner of a certificate, in one word that can be found in sshd's log: `goldcrest,user=ada,sub=1f3e,client=portal`.
fn key_id(caller: &CallerKey) -> String {
    let mut id = format!("goldcrest,user={}", one_word(caller.username.as_str()));
    id.push_str(",sub=");
    id.push_str(&one_word(&caller.subject));
    if let Some(client) = &caller.client_id {
        id.push_str(",client=");
        id.push_str(&one_word(client));
    }
    id
}

/// The beginning of a name, with everything escaped that could end the word, or imitate another.
fn one_word(name: &str) -> String {
    name.bytes().take(MAX_NAME).fold(String::new(), |mut word, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'@' | b'+' | b':' | b'|') {
            word.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(word, "%{byte:02X}");
        }
        word
    })
}

/// Why sshd would not understand a network: it refuses every login with such a certificate.
fn invalid_network(text: &str) -> Option<&'static str> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return Some("is no IP address, and no network such as 192.0.2.0/24") };
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let length_text = length?;
    match length_text.parse::<u32>() {
        Ok(length) if length <= width && !length_text.starts_with('+') => {
            let host = bits & 1_u128.checked_shl(width - length).map_or(u128::MAX, |end| end - 1);
            (host != 0).then_some("has bits set beyond its mask: sshd would not accept it")
        }
        _ => Some("has no such mask"),
    }
}

fn default_validity() -> u64 {
    300
}

fn default_clock_skew() -> u64 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Username;

    fn config() -> Config {
        let private_key = KeyPair::generate().unwrap().private_key().unwrap();
        Config {
            private_key,
            passphrase: None,
            validity: 300,
            clock_skew: 60,
            source_address: Vec::new(),
            force_command: None,
            extensions: Vec::new(),
        }
    }

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config();
        change(&mut config);
        CertificateAuthority::new(&config).err().expect("it is refused").to_string()
    }

    fn caller(subject: &str, client_id: Option<&str>) -> CallerKey {
        CallerKey { username: Username::new("ada").unwrap(), subject: subject.to_owned(), client_id: client_id.map(str::to_owned) }
    }

    #[test]
    fn a_key_id_is_one_word_whatever_the_token_holds() {
        assert_eq!(key_id(&caller("1f3e-77", Some("portal"))), "goldcrest,user=ada,sub=1f3e-77,client=portal");
        assert_eq!(
            key_id(&caller("x,user=root (serial 1)\n\u{e9}", None)),
            "goldcrest,user=ada,sub=x%2Cuser%3Droot%20%28serial%201%29%0A%C3%A9"
        );
        assert!(key_id(&caller(&"\0".repeat(100_000), None)).len() < 512);
    }

    #[test]
    fn networks_that_sshd_would_not_accept_are_refused() {
        for good in ["192.0.2.7", "192.0.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::1", "::/0", "10.1.2.3/32", "::1/128"] {
            assert_eq!(invalid_network(good), None, "{good}");
        }
        for bad in [
            "",
            "localhost",
            "192.0.2.1/24",
            "10.0.0.0/33",
            "10.0.0.0/",
            "2001:db8::1/64",
            "::/129",
            "10.0.0.0/-1",
            "!10.0.0.1",
            "10.0.0.1,::1",
            "1.2.3.4/+8",
        ] {
            assert!(invalid_network(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_option_that_would_make_every_login_fail_is_refused_by_its_key() {
        assert!(refused(|config| config.force_command = Some(" ".to_owned())).starts_with("force_command "));
        assert!(refused(|config| config.force_command = Some("a\nb".to_owned())).starts_with("force_command "));
        let second = refused(|config| config.source_address = vec!["::1".to_owned(), "a host".to_owned()]);
        assert!(second.starts_with("source_address[1] "), "{second}");
    }

    #[test]
    fn a_key_that_cannot_sign_is_refused_and_not_repeated() {
        let told = |text: &str| refused(|config| config.private_key = Secret::from(text.to_owned()));
        assert_eq!(told(""), "private_key is empty");
        assert_eq!(told("hunter2"), "private_key is no private key in OpenSSH or PEM form");
        assert!(told("ssh-ed25519 AAAA ada").contains("is a public key"));
    }

    #[test]
    fn serial_numbers_are_not_repeated_and_fit_a_signed_integer() {
        let mut seen: Vec<u64> = (0..1000).map(|_| serial()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        assert!(seen.iter().all(|serial| *serial > 0 && i64::try_from(*serial).is_ok()));
    }
}
