//! The providers of SSH credentials against scripted services, and the cache in front of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at its first surprise")]

mod cached;
mod services;

use goldcrest::domain::{Principal, Secret};
use jiff::{SignedDuration, Timestamp};
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::certificate::{Builder, CertType};
use russh::keys::{Algorithm, Certificate, PrivateKey, PublicKey};

use crate::support::principal;

/// What must not be seen anywhere but in the call itself.
const TOKEN: &str = "eyJ0.the-token-of-ada.c2ln";

fn ada() -> Principal {
    Principal { token: Secret::from(TOKEN.to_owned()), ..principal("ada") }
}

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap()
}

fn text(key: &PrivateKey) -> String {
    key.to_openssh(LineEnding::LF).unwrap().to_string()
}

/// A certificate for a key, by an authority made for it, that ends so many seconds from now.
fn certificate(key: &PublicKey, kind: CertType, seconds: i64) -> Certificate {
    let now = Timestamp::now();
    let time = |time: Timestamp| u64::try_from(time.as_second()).unwrap();
    let end = now + SignedDuration::from_secs(seconds);
    let mut builder =
        Builder::new_with_random_nonce(&mut russh::keys::key::safe_rng(), key, time(now - SignedDuration::from_hours(1)), time(end))
            .unwrap();
    builder.serial(7).unwrap().key_id("by-the-test").unwrap().cert_type(kind).unwrap().valid_principal("ada").unwrap();
    builder.sign(&new_key()).unwrap()
}

/// The text of a user certificate of a minute.
fn minute(key: &PublicKey) -> String {
    certificate(key, CertType::User, 60).to_openssh().unwrap()
}
