//! Tokens for slurmrestd, signed with the site's key of Slurm's `auth/jwt`.
//!
//! The holder of that key can act as any Slurm user. So a token is made for a principal that was verified, holds for minutes, and is
//! never made for the accounts that Slurm gives every right.

use std::path::Path;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::domain::{Principal, Secret, Username};

/// The lifetime of a token in seconds: longer than a call, with room for clock differences.
const LIFETIME_SECONDS: i64 = 300;
/// The minimum length of a key for HS256 (RFC 7518, 3.2).
const MIN_KEY_BYTES: usize = 32;
/// The accounts that administer Slurm, wherever it is installed as usual.
const ADMINISTRATORS: [&str; 2] = ["root", "slurm"];

/// Signs tokens for Slurm's users.
pub struct SlurmTokens {
    key: EncodingKey,
}

/// Why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlurmKeyError {
    /// The file cannot be read.
    #[error("the file of the key cannot be read")]
    Read(#[source] std::io::Error),
    /// The file is too short to be a key.
    #[error("the file holds {0} bytes, and a key for HS256 has at least {MIN_KEY_BYTES}")]
    Short(usize),
}

/// The reason why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlurmTokenError {
    /// The account has every right in Slurm.
    #[error("no token for Slurm is made for {0}")]
    Administrator(Username),
    /// slurmrestd reads the name as a user number, which may belong to another user.
    #[error("no token for Slurm is made for {0}: slurmrestd takes a name of digits alone for the number of a user")]
    Number(Username),
    /// It could not be signed.
    #[error("the token for Slurm could not be signed")]
    Signing,
}

impl SlurmTokens {
    /// Reads the key from its file, byte for byte as Slurm reads it.
    ///
    /// # Errors
    /// If the file cannot be read or is too short.
    pub fn from_file(path: &Path) -> Result<Self, SlurmKeyError> {
        let key = std::fs::read(path).map_err(SlurmKeyError::Read)?;
        if key.len() < MIN_KEY_BYTES {
            return Err(SlurmKeyError::Short(key.len()));
        }
        Ok(Self { key: EncodingKey::from_secret(&key) })
    }

    /// A token in the name of this principal.
    ///
    /// # Errors
    /// If it would be one of an administrator, or cannot be signed.
    pub fn sign(&self, principal: &Principal) -> Result<Secret, SlurmTokenError> {
        let user = principal.username.as_str();
        if ADMINISTRATORS.contains(&user) {
            return Err(SlurmTokenError::Administrator(principal.username.clone()));
        }
        if user.strip_prefix('+').unwrap_or(user).bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SlurmTokenError::Number(principal.username.clone()));
        }
        let now = Timestamp::now().as_second();
        let claims = json!({"sun": user, "iat": now, "exp": now + LIFETIME_SECONDS});
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key);
        token.map(Secret::from).map_err(|_| SlurmTokenError::Signing)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;
    use crate::domain::Username;

    fn principal(name: &str) -> Principal {
        Principal {
            username: Username::new(name).unwrap(),
            subject: String::new(),
            client_id: None,
            email: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            expires_at: Timestamp::now(),
            token: Secret::from(String::new()),
            is_service_account: false,
            validator: None,
        }
    }

    fn tokens(key: &[u8]) -> Result<SlurmTokens, SlurmKeyError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(key).unwrap();
        SlurmTokens::from_file(file.path())
    }

    #[test]
    fn a_token_names_the_user_holds_for_minutes_and_verifies_with_the_bytes_of_the_file() {
        let key = [0, 255, b'\n', 7].repeat(8);
        let token = tokens(&key).unwrap().sign(&principal("jane")).unwrap();
        let claims =
            jsonwebtoken::decode::<serde_json::Value>(token.expose(), &DecodingKey::from_secret(&key), &Validation::new(Algorithm::HS256))
                .unwrap()
                .claims;
        assert_eq!(claims["sun"], "jane");
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), LIFETIME_SECONDS);
    }

    #[test]
    fn nobody_becomes_an_administrator_of_slurm() {
        let tokens = tokens(&[1; 32]).unwrap();
        for name in ["root", "slurm"] {
            assert!(matches!(tokens.sign(&principal(name)), Err(SlurmTokenError::Administrator(_))), "{name}");
        }
    }

    #[test]
    fn a_name_of_digits_is_not_taken_for_the_number_of_another_user() {
        let tokens = tokens(&[1; 32]).unwrap();
        for name in ["1001", "+1001", "0"] {
            if let Ok(username) = Username::new(name) {
                let principal = Principal { username, ..principal("jane") };
                assert!(matches!(tokens.sign(&principal), Err(SlurmTokenError::Number(_))), "{name}");
            }
        }
        assert!(tokens.sign(&principal("u1001")).is_ok());
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        assert!(matches!(tokens(b"short"), Err(SlurmKeyError::Short(5))));
        assert!(matches!(SlurmTokens::from_file(Path::new("/nowhere/key")), Err(SlurmKeyError::Read(_))));
    }
}
