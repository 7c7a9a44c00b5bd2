//! Rules for `clusters[].ssh`: the addresses and the host keys.

use super::{at_least_one, credentials};
use crate::config::interpret::Interpreter;
use crate::ssh;

/// `clusters[].ssh`.
pub(super) fn ssh(walk: &mut Interpreter, path: &str, config: &ssh::Config, site: Option<&credentials::Config>) {
    let key = |name: &str| format!("{path}.{name}");
    if let Some(own) = &config.credentials {
        credentials(walk, &key("credentials"), own);
    }
    hosts(walk, path, config, site);
    host_keys(walk, path, config);
    for (name, value) in [
        ("max_clients", config.max_clients),
        ("max_channels", config.max_channels),
        ("max_connections_per_user", config.max_connections_per_user),
        ("max_startups", config.max_startups),
        ("max_output", config.max_output),
    ] {
        at_least_one(walk, &key(name), value as u64);
    }
    for (name, value) in [
        ("connection", config.timeout.connection),
        ("login", config.timeout.login),
        ("command_execution", config.timeout.command_execution),
        ("idle_timeout", config.timeout.idle_timeout),
        ("keep_alive", config.timeout.keep_alive),
    ] {
        at_least_one(walk, &key(&format!("timeout.{name}")), value);
    }
}

/// The address of a cluster, and of the jump host.
fn hosts(walk: &mut Interpreter, path: &str, config: &ssh::Config, site: Option<&credentials::Config>) {
    let key = |name: &str| format!("{path}.{name}");
    if let Some(credentials::Config::Authority(authority)) = config.credentials.as_ref().or(site)
        && config.proxy_host.is_some()
        && !authority.extensions.contains(&credentials::Extension::PermitPortForwarding)
    {
        let reason = "is set, and the certificates for it do not permit to connect onwards: the jump host would refuse";
        walk.report_allowing(&key("proxy_host"), reason, "`permit-port-forwarding` among the extensions of the SSHCertificateAuthority");
    }
    for (name, host) in [("host", Some(&config.host)), ("proxy_host", config.proxy_host.as_ref())] {
        match host {
            Some(host) if host.trim().is_empty() => walk.report(&key(name), "is empty"),
            Some(host) if !is_host(host) => walk.report_allowing(
                &key(name),
                format!("is no host: `{}`", host.chars().take(80).collect::<String>()),
                "a name or an address alone; user and port have keys of their own",
            ),
            _ => {}
        }
    }
    at_least_one(walk, &key("port"), config.port.into());
    if let Some(port) = config.proxy_port {
        at_least_one(walk, &key("proxy_port"), port.into());
        if config.proxy_host.is_none() {
            walk.report(&key("proxy_port"), "is set without proxy_host");
        }
    }
}

/// How the host keys of a cluster are verified.
fn host_keys(walk: &mut Interpreter, path: &str, config: &ssh::Config) {
    let key = |name: &str| format!("{path}.{name}");
    match &config.host_keys {
        Some(ssh::HostKeys::TrustOnFirstUse) => {
            walk.warning(&key("host_keys"), "trust_on_first_use trusts the first key that it sees after a start: for evaluation only");
        }
        Some(ssh::HostKeys::KnownHosts(file)) if file.exists() && !file.is_file() => {
            let reason = format!("{} is no regular file: no connection can be made with it", file.display());
            walk.warning(&key("host_keys.known_hosts"), reason);
        }
        Some(ssh::HostKeys::KnownHosts(file)) if !file.exists() => {
            let reason = format!(
                "the file {} does not exist: no connection can be made before it does; collect the keys with ssh-keyscan and compare their fingerprints",
                file.display()
            );
            walk.warning(&key("host_keys.known_hosts"), reason);
        }
        Some(keys @ ssh::HostKeys::KnownHosts(file)) => {
            for (host, port) in config.hosts().filter(|(host, port)| keys.lacks(host, *port)) {
                let reason = format!("the file {} has no key of {host}:{port}: every connection to it will be refused", file.display());
                let allowed = format!("a line of `ssh-keyscan -p {port} {host}`, its fingerprint compared with that of the host");
                walk.warning_allowing(&key("host_keys.known_hosts"), reason, allowed);
            }
        }
        _ => {}
    }
    if let Some(reason) = config.host_keys.as_ref().and_then(ssh::HostKeys::validate) {
        let allowed = "lines such as those of *.pub files: ssh-ed25519 AAAA...";
        walk.report_allowing(&key("host_keys.pinned"), reason, allowed);
    }
}

/// Whether a text can be the name or address of a host, in contrast to a URL, or a host with a user or a port.
fn is_host(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _zone)| address);
    address.parse::<std::net::IpAddr>().is_ok() || text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}
