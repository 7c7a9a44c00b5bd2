//! Verification keys read from JSON Web Key Sets (RFC 7517).
//!
//! The key says which algorithms it is for, never the token (RFC 8725, 3.1). Symmetric keys, keys for encryption, weak and
//! unreadable ones are left out one by one, so that a bad key does not void its set.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde_json::Value;

/// The maximum number of keys that are read of a set. No provider publishes more.
const MAX_KEYS: usize = 64;
const MIN_RSA_BITS: usize = 2048;

type Algorithm = jsonwebtoken::Algorithm;

/// A key that tokens may be signed with.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// Why a JSON text is no key set.
#[derive(Debug, thiserror::Error)]
#[error("not a JSON Web Key Set: {0}")]
pub(super) struct NotAKeySet(&'static str);

impl Key {
    /// The key's `kid`.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The algorithm of this key that the token's header names, if it names one.
    pub(super) fn algorithm(&self, named: &str) -> Option<Algorithm> {
        // RFC 9864 names the algorithm of Ed25519 keys by the curve.
        let named = if named == "Ed25519" { "EdDSA" } else { named };
        let named: Algorithm = named.parse().ok()?;
        self.algorithms.contains(&named).then_some(named)
    }

    /// Whether the signature (base64url) is this key's over the message.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    /// True when the other key has the same name and material.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        let same_material = match (self.key.kind(), other.key.kind()) {
            (SecretOrDer(a), SecretOrDer(b)) => a == b,
            (RsaModulusExponent { n, e }, RsaModulusExponent { n: other_n, e: other_e }) => n == other_n && e == other_e,
            _ => false,
        };
        same_material && self.id == other.id && self.algorithms == other.algorithms
    }
}

/// The keys of a set that can verify tokens, and for each other one why it was left out.
///
/// `fallback` is the algorithm of keys that name none.
pub(super) fn read(json: &[u8], fallback: Option<&str>) -> Result<(Vec<Key>, Vec<String>), NotAKeySet> {
    let document: Value = serde_json::from_slice(json).map_err(|_| NotAKeySet("it is no JSON"))?;
    let entries = document.get("keys").and_then(Value::as_array).ok_or(NotAKeySet("it has no list named keys"))?;
    let mut keys = Vec::new();
    let mut left_out = Vec::new();
    for entry in entries.iter().take(MAX_KEYS) {
        match key(entry, fallback) {
            Ok(key) => keys.push(key),
            Err(reason) => left_out.push(format!("key {:?}: {reason}", entry.get("kid").and_then(Value::as_str).unwrap_or_default())),
        }
    }
    if entries.len() > MAX_KEYS {
        left_out.push(format!("all keys after the first {MAX_KEYS}"));
    }
    Ok((keys, left_out))
}

/// True for the names that `jwk_algorithm` may have: signature algorithms with public keys.
pub fn supported_algorithm(name: &str) -> bool {
    name.parse::<Algorithm>().is_ok_and(|algorithm| algorithm.family() != jsonwebtoken::AlgorithmFamily::Hmac)
}

fn key(entry: &Value, fallback: Option<&str>) -> Result<Key, &'static str> {
    // `x5c` and its like are not used; left in, a mistake in them would cost the key.
    let mut entry = entry.clone();
    if let Some(members) = entry.as_object_mut() {
        members.retain(|name, _| !name.starts_with("x5"));
    }
    let jwk: Jwk = serde_json::from_value(entry).map_err(|_| "it cannot be read")?;
    if matches!(&jwk.common.public_key_use, Some(usage) if *usage != PublicKeyUse::Signature) {
        return Err("it is not for signatures");
    }
    if matches!(&jwk.common.key_operations, Some(operations) if !operations.contains(&KeyOperations::Verify)) {
        return Err("it is not for verifying");
    }
    let possible: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => jsonwebtoken::AlgorithmFamily::Rsa.algorithms(),
        AlgorithmParameters::EllipticCurve(parameters) => match parameters.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return Err("its curve is not supported"),
        },
        AlgorithmParameters::OctetKeyPair(parameters) if parameters.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        AlgorithmParameters::OctetKey(_) => return Err("it is symmetric: a public set cannot hold one"),
        _ => return Err("its kind is not supported"),
    };
    let chosen = match (jwk.common.key_algorithm, fallback) {
        (Some(KeyAlgorithm::UNKNOWN_ALGORITHM), _) if possible == [Algorithm::EdDSA] => None,
        (Some(algorithm), _) => Some(Algorithm::try_from(algorithm).map_err(|_| "its algorithm is not one for signatures")?),
        (None, Some(name)) => Some(name.parse().map_err(|_| "jwk_algorithm is not supported")?),
        (None, None) => None,
    };
    let algorithms = match chosen {
        Some(algorithm) if possible.contains(&algorithm) => vec![algorithm],
        Some(_) => return Err("its algorithm does not fit its kind"),
        None => possible.to_vec(),
    };
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "it is malformed")?;
    check_strength(&key, &jwk.algorithm)?;
    Ok(Key { id: jwk.common.key_id, algorithms, key })
}

fn check_strength(key: &DecodingKey, parameters: &AlgorithmParameters) -> Result<(), &'static str> {
    use jsonwebtoken::DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
    match (key.kind(), parameters) {
        (RsaModulusExponent { n, .. }, _) => {
            let leading_zeros = n.iter().take_while(|&&byte| byte == 0).count();
            if (n.len() - leading_zeros) * 8 < MIN_RSA_BITS { Err("its modulus is shorter than 2048 bits") } else { Ok(()) }
        }
        (SecretOrDer(point), AlgorithmParameters::EllipticCurve(parameters)) => {
            let expected = if parameters.curve == EllipticCurve::P256 { 65 } else { 97 };
            if point.len() == expected { Ok(()) } else { Err("its point has the wrong length") }
        }
        (SecretOrDer(point), _) => {
            if point.len() == 32 {
                Ok(())
            } else {
                Err("its point has the wrong length")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // RFC 7515, A.3.1.
    fn p256(extra: &Value) -> Value {
        let mut key = json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        for (name, value) in extra.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn read_one(key: &Value, fallback: Option<&str>) -> (usize, Vec<String>) {
        let (keys, left_out) = read(json!({"keys": [key]}).to_string().as_bytes(), fallback).unwrap();
        (keys.len(), left_out)
    }

    #[test]
    fn one_bad_key_does_not_void_the_set() {
        let set = json!({"keys": [{"kty": "RSA", "n": 7}, "nonsense", p256(&json!({"kid": "good"})), {"kty": "AKP", "pub": "x"}]});
        let (keys, left_out) = read(set.to_string().as_bytes(), None).unwrap();
        assert_eq!(keys.iter().map(Key::id).collect::<Vec<_>>(), [Some("good")]);
        assert_eq!(left_out.len(), 3);
    }

    #[test]
    fn symmetric_encryption_and_weak_keys_are_left_out() {
        assert_eq!(read_one(&json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}), None).0, 0);
        assert_eq!(read_one(&p256(&json!({"use": "enc"})), None).0, 0);
        assert_eq!(read_one(&p256(&json!({"key_ops": ["sign"]})), None).0, 0);
        assert_eq!(read_one(&json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), None).1, ["key \"\": its modulus is shorter than 2048 bits"]);
        assert_eq!(read_one(&p256(&json!({"x": "AQAB"})), None).1, ["key \"\": its point has the wrong length"]);
    }

    #[test]
    fn the_algorithm_must_fit_the_kind_of_key() {
        assert_eq!(read_one(&p256(&json!({"alg": "RS256"})), None).0, 0);
        assert_eq!(read_one(&p256(&json!({"alg": "HS256"})), None).0, 0);
        assert_eq!(read_one(&p256(&json!({})), Some("RS256")).0, 0);
        assert_eq!(read_one(&p256(&json!({"alg": "ES256"})), Some("RS256")).0, 1);
        assert_eq!(read_one(&p256(&json!({})), Some("ES256")).0, 1);
    }

    #[test]
    fn a_key_answers_only_to_its_own_algorithms() {
        let (keys, _) = read(json!({"keys": [p256(&json!({}))]}).to_string().as_bytes(), None).unwrap();
        assert_eq!(keys[0].algorithm("ES256"), Some(Algorithm::ES256));
        for name in ["HS256", "none", "NONE", "RS256", "ES384", "EdDSA", ""] {
            assert_eq!(keys[0].algorithm(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_set_is_told_so() {
        assert!(read(b"<html>", None).is_err());
        assert!(read(b"{}", None).is_err());
        assert!(read(br#"{"keys": {}}"#, None).is_err());
    }

    #[test]
    fn only_public_key_algorithms_may_be_configured() {
        assert!(supported_algorithm("RS256") && supported_algorithm("EdDSA"));
        assert!(!supported_algorithm("HS256") && !supported_algorithm("none"));
    }
}
