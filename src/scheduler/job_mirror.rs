//! `scheduler.job_mirror`: how jobs are watched for callers who wait for changes.

use std::net::SocketAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::freshness::{MAX_FRESHNESS, freshness};
use crate::domain::Secret;

/// The shortest secret of pushes, in characters.
const MIN_SECRET: usize = 16;

/// How jobs are watched.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", default)]
pub struct JobMirror {
    /// Seconds between two queries, each of which lists all jobs that are watched; from 0.5 to 3600, fractions are allowed.
    #[schemars(range(min = 0.5, max = 3600.0))]
    pub interval: f64,
    /// In whose name jobs are listed: `caller` (default), as each caller who waits or reads events; `service`, as the cluster's
    /// `service_account`, which must see the jobs of all users.
    pub account: MirrorAccount,
    /// Takes what Slurm sends when a job ends, so that its end is known at once. If absent, ends are known after the interval.
    pub push: Option<PushListener>,
}

/// The account with which watched jobs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MirrorAccount {
    /// The account of each caller who waits or reads events, while they do. One query for each of them.
    #[default]
    Caller,
    /// The cluster's `service_account`, always. One query for all users; the scheduler must show the jobs of all users to it.
    Service,
}

/// The receiver of the records of Slurm's `jobcomp/elasticsearch`. Each record is a hint to query one job; nothing else in it is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct PushListener {
    /// IP address and port to listen on, such as `10.0.0.5:8095`; not that of the API, nor that of another cluster. The controller of the cluster
    /// must reach it: `JobCompLoc=http://10.0.0.5:8095/<secret>` in `slurm.conf`.
    #[serde(deserialize_with = "address")]
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Secret in the path, in place or as `secret_file:/path`: at least 16 letters, digits, `-`, `.`, `_` or `~`.
    pub secret: Secret,
}

impl Default for JobMirror {
    fn default() -> Self {
        Self { interval: 5.0, account: MirrorAccount::Caller, push: None }
    }
}

impl JobMirror {
    /// The time between two queries.
    pub fn pause(&self) -> Duration {
        freshness(self.interval).max(Duration::from_millis(100))
    }

    /// The errors that its types do not exclude: the key, the reason, and the allowed values.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut mistakes = Vec::new();
        if !(0.5..=MAX_FRESHNESS).contains(&self.interval) {
            mistakes.push(("interval", "is out of range", format!("seconds from 0.5 to {MAX_FRESHNESS}")));
        }
        let is_plain = |secret: &str| secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        if self.push.as_ref().is_some_and(|push| push.secret.expose().len() < MIN_SECRET || !is_plain(push.secret.expose())) {
            let allowed = format!("at least {MIN_SECRET} letters, digits, `-`, `.`, `_` or `~`");
            mistakes.push(("push.secret", "is too short, or holds other characters", allowed));
        }
        mistakes
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("is no IP address with a port, such as 10.0.0.5:8095"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_their_keys() {
        let read = |value| serde_json::from_value::<JobMirror>(value).unwrap();
        assert!(read(serde_json::json!({})).mistakes().is_empty());
        let push = |secret: &str| serde_json::json!({"interval": 0.4, "push": {"listen": "127.0.0.1:1", "secret": secret}});
        for secret in ["short", "has/a/slash/and/is/long", ""] {
            let keys: Vec<&str> = read(push(secret)).mistakes().into_iter().map(|(key, ..)| key).collect();
            assert_eq!(keys, ["interval", "push.secret"], "{secret}");
        }
        assert_eq!(read(push("0123456789abcdef")).mistakes().len(), 1);
    }
}
