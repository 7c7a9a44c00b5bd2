//! Rules for the store, and for the sections that need it.

use super::interpret::Interpreter;
use super::rules::at_least_one;
use crate::error::ErrorChain;
use crate::rest::Url;
use crate::service::links;
use crate::{notify, store};

/// `store`.
pub(super) fn store(walk: &mut Interpreter, config: Option<&store::Config>) {
    match config {
        Some(store::Config::Sqlite(config)) => {
            at_least_one(walk, "store.max_size", u64::from(config.max_size));
            if !config.state_dir.is_absolute() {
                walk.report_allowing("store.state_dir", "is not absolute", "the path of a directory, such as /var/lib/goldcrest");
            }
        }
        Some(store::Config::Postgres(config)) => {
            at_least_one(walk, "store.max_connections", u64::from(config.max_connections));
            at_least_one(walk, "store.timeout", config.timeout);
            if let Err(error) = store::Postgres::new(config)
                && !walk.is_wrong("store.url")
            {
                walk.report("store", ErrorChain(&error).to_string());
            }
        }
        None => {}
    }
}

/// Rules for `webhooks`, which need the section `store`.
pub(super) fn webhooks(walk: &mut Interpreter, config: Option<&notify::Config>, has_store: bool) {
    let Some(config) = config else { return };
    if !has_store && !walk.is_wrong("store") {
        walk.warning("webhooks", "has no effect without the section `store`: webhooks are answered with 501");
    }
    if !(1..=500).contains(&config.max_per_user) {
        walk.report_allowing("webhooks.max_per_user", "is out of range", "from 1 to 500");
    }
    for (index, _) in config.allowed_networks.iter().enumerate().filter(|(_, network)| network.is_everything()) {
        walk.warning(&format!("webhooks.allowed_networks[{index}]"), "has every address: users can call what only this host can reach");
    }
    if let Some(url) = &config.public_url
        && let Err(error) = Url::parse(url)
    {
        walk.report_allowing("webhooks.public_url", error.to_string(), "such as https://api.example.org/hpc");
    }
}

/// Rules for `shares`, which need the section `store`.
pub(super) fn shares(walk: &mut Interpreter, config: Option<&links::Config>, has_store: bool) {
    let Some(config) = config else { return };
    if !has_store && !walk.is_wrong("store") {
        walk.warning("shares", "has no effect without the section `store`: share links are answered with 501");
    }
    if config.key.expose().len() < links::MIN_KEY {
        walk.report_allowing("shares.key", "is too short", "at least 32 bytes, such as those of `openssl rand -hex 32`");
    }
    at_least_one(walk, "shares.max_uses", config.max_uses);
    for (key, value, max) in [("shares.max_time", config.max_time, 31_536_000), ("shares.max_per_user", config.max_per_user as u64, 500)] {
        if !(1..=max).contains(&value) {
            walk.report_allowing(key, "is out of range", format!("from 1 to {max}"));
        }
    }
}
