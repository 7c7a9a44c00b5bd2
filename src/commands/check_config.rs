//! Checks a configuration: every mistake, every warning, and what was understood.

use std::fmt::Write;
use std::process::ExitCode;

use super::check_connections;
use crate::authn::{self, ValidatorConfig};
use crate::config::{self, Config, Problem};
use crate::http::ReloadTrigger;
use crate::rest::Url;
use crate::telemetry::LogFormat;
use crate::transfer::DataTransfer;
use crate::transfer::streamer::Endpoint;
use crate::{authz, cluster, credentials, store};

/// The arguments of `goldcrest check-config`.
#[derive(clap::Args)]
#[command(after_help = "\
Exit code: 0 when the configuration is good, 1 when it has mistakes, or warnings with --strict, or when a step of --connect failed.
Environment variables are applied as `goldcrest serve` would apply them.")]
pub(super) struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
    /// Treat warnings as mistakes: unknown keys, secrets that everybody can read, host keys that are missing or trusted at first use,
    /// transfer services that are not supported, and others.
    #[arg(long)]
    strict: bool,
    /// Try each configured service: signing keys, authorization, store, and with the service account of each cluster the token endpoint, SSH
    /// login, scheduler and its version, slurmrestd, file systems and object store.
    #[arg(long)]
    connect: bool,
}

/// Prints mistakes and warnings to standard error, what was understood to standard output.
pub(super) fn run(arguments: &Arguments, log_format: LogFormat) -> ExitCode {
    let name = arguments.file.config.display();
    match config::examine(&arguments.file.config, super::environment()) {
        Ok(loaded) if arguments.strict && !loaded.warnings.is_empty() => {
            for warning in &loaded.warnings {
                // It is not ignored here.
                super::eprint(&format!("error: {warning}").replacen("unknown key, ignored", "unknown key", 1));
            }
            super::eprint(&format!("{name}: {}, no warnings (--strict treats them as mistakes)", count(loaded.warnings.len(), "mistake")));
            say_that_nothing_was_tried(arguments);
            ExitCode::FAILURE
        }
        Ok(loaded) => {
            eprint_all("warning", &loaded.warnings);
            let warnings = loaded.warnings.len();
            super::print(&format!("{name}: good, {}\n\n{}", count(warnings, "warning"), summary(&loaded.config)));
            if arguments.connect {
                // The log would say the same in other words.
                return super::with_runtime(log_format, "off", check_connections::run(loaded.config));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprint_all("warning", &error.warnings);
            eprint_all("error", &error.problems);
            let (mistakes, warnings) = (error.problems.len(), error.warnings.len());
            super::eprint(&format!("{name}: {}, {}", count(mistakes, "mistake"), count(warnings, "warning")));
            say_that_nothing_was_tried(arguments);
            ExitCode::FAILURE
        }
    }
}

/// Where a configuration is refused, no service in it is connected to.
fn say_that_nothing_was_tried(arguments: &Arguments) {
    if arguments.connect {
        super::eprint("--connect: nothing was tried, because the configuration has mistakes");
    }
}

fn eprint_all(word: &str, problems: &[Problem]) {
    for problem in problems {
        super::eprint(&format!("{word}: {problem}"));
    }
}

fn count(number: usize, word: &str) -> String {
    match number {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{number} {word}s"),
    }
}

/// A summary of the configuration, one line for each part, without secrets.
fn summary(config: &Config) -> String {
    let authentication = &config.auth.authentication;
    let root = if config.apis_root_path.is_empty() { "/" } else { &config.apis_root_path };
    let authorization = match &config.auth.authorization {
        None => "none: every caller may use every cluster".to_owned(),
        Some(authz::Config::OpenFga(fga)) => format!("OpenFGA at {}", shown(&fga.url)),
        Some(authz::Config::Policy(policy)) => count(policy.rules.len(), "rule"),
    };
    let mut lines = vec![
        (
            "listens on".to_owned(),
            format!("{} ({}), under {root}", config.server.listen, if config.server.tls.is_some() { "https" } else { "http" }),
        ),
        ("streamer".to_owned(), streamer_summary(&config.clusters)),
        ("metrics".to_owned(), config.metrics.as_ref().map_or_else(|| "off".to_owned(), |metrics| format!("on {}", metrics.listen))),
    ];
    lines.extend(authentication.validators.iter().flat_map(|validator| validator_summary(authentication, validator)));
    lines.push(("authorization".to_owned(), authorization));
    lines.extend(state_summary(config).into_iter().map(|(label, value)| (label.to_owned(), value)));
    lines.push(("SSH keys".to_owned(), keys_summary(&config.ssh_credentials)));
    lines.extend(config.clusters.iter().map(|cluster| (format!("cluster {}", cluster.name), cluster_summary(cluster))));
    let width = lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    lines.into_iter().fold(String::new(), |mut text, (label, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {label:width$}  {value}");
        text
    })
}

/// What the site has beyond the least, where it is configured.
fn state_summary(config: &Config) -> Vec<(&'static str, String)> {
    let server = &config.server;
    let shares = config.shares.as_ref().map(|shares| {
        format!(
            "up to {} of a user, for up to {} s and {}",
            shares.max_per_user,
            shares.max_time,
            count(usize::try_from(shares.max_uses).unwrap_or(usize::MAX), "download")
        )
    });
    let webhooks = config.webhooks.as_ref().map(|webhooks| {
        let inside = match webhooks.allowed_networks.len() {
            0 => String::new(),
            number => format!(" and those of {}", count(number, "network")),
        };
        let plain = if webhooks.allow_http { ", also over http" } else { "" };
        format!("up to {} of a user on a system, to public addresses{inside}{plain}", webhooks.max_per_user)
    });
    [
        ("store", config.store.as_ref().map(store_summary)),
        ("share links", shares),
        ("webhooks", webhooks),
        ("reload", (server.reload == ReloadTrigger::Watch).then(|| "at SIGHUP, and when the files change".to_owned())),
        ("maintenance", server.maintenance().map(|maintenance| maintenance.message)),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some((label, value?)))
    .collect()
}

fn store_summary(config: &store::Config) -> String {
    match config {
        store::Config::Sqlite(config) => format!("SQLite, in {}", config.state_dir.display()),
        store::Config::Postgres(config) => format!("PostgreSQL, at {}", store::Postgres::place(config)),
    }
}

/// A kind of tokens that is accepted.
fn validator_summary(config: &authn::Config, validator: &ValidatorConfig) -> Vec<(String, String)> {
    let any_or = |wanted: &[String], word: &str| if wanted.is_empty() { format!("any {word}") } else { wanted.join(" or ") };
    let tokens = match validator {
        ValidatorConfig::Jwt => {
            let keys: Vec<String> = config.public_certs.iter().map(|url| shown(url)).collect();
            let tokens = format!("for {}, user name in {}", any_or(&config.audience, "audience"), config.username_claim);
            return vec![("tokens".to_owned(), tokens), ("token keys".to_owned(), keys.join(", "))];
        }
        ValidatorConfig::Jupyterhub(hub) => {
            format!("of the JupyterHub at {}, with the scope {}", shown(&hub.api_url), any_or(&hub.scopes, "scope"))
        }
        ValidatorConfig::Introspection(section) => {
            let audience = any_or(&section.audience, "audience");
            format!("that {} vouches for, for {audience}, user name in {}", shown(&section.url), section.username_claim)
        }
    };
    vec![("tokens".to_owned(), tokens)]
}

/// The ports for clients of firecrest-streamer.
fn streamer_summary(clusters: &[cluster::Config]) -> String {
    let mut endpoints = Vec::new();
    for service in clusters.iter().flat_map(|cluster| cluster.data_operation.transfers()) {
        if let DataTransfer::Streamer(streamer) = service {
            let Endpoint { host, ports: [first, last] } = Endpoint::of(streamer);
            endpoints.push(format!("on {host}, the first free port of {first} to {last}"));
        }
    }
    endpoints.sort();
    endpoints.dedup();
    if endpoints.is_empty() { "off".to_owned() } else { endpoints.join("; ") }
}

fn keys_summary(config: &credentials::Config) -> String {
    match config {
        credentials::Config::StaticKeys(keys) => format!("of {}, from the configuration", count(keys.keys.len(), "user")),
        credentials::Config::KeyService(service) => format!("from the key service at {}", shown(&service.url)),
        credentials::Config::SshCa(service) => format!("signed by the authority at {}", shown(&service.url)),
        credentials::Config::Authority(authority) => format!("signed here, valid for {} s", authority.validity),
    }
}

fn cluster_summary(cluster: &cluster::Config) -> String {
    let scheduler = match &cluster.scheduler {
        Some(scheduler) => format!("{:?} over {:?}", scheduler.kind(), scheduler.connection_mode()).to_lowercase(),
        None => "no scheduler".to_owned(),
    };
    let reached = match &cluster.ssh {
        Some(ssh) => {
            let jump = ssh.proxy_host.as_ref().map(|host| format!(" through {host}")).unwrap_or_default();
            format!("{}:{}{jump}", ssh.host, ssh.port)
        }
        None => "no SSH".to_owned(),
    };
    let folders: Vec<String> = cluster.file_systems.iter().map(|fs| fs.path.to_text()).collect();
    let folders = if folders.is_empty() { "no file systems".to_owned() } else { folders.join(" ") };
    let probes = match &cluster.probing.services {
        Some(services) if !services.is_empty() => format!("{} every {} s", count(services.len(), "probe"), cluster.probing.interval_check),
        _ => "no probes".to_owned(),
    };
    let own = cluster.ssh.as_ref().and_then(|ssh| ssh.credentials.as_ref());
    let keys = own.map(|own| format!(", SSH keys {}", keys_summary(own))).unwrap_or_default();
    let commands = cluster.commands.as_ref().map(|commands| format!(", commands by {}", count(commands.allow.len(), "pattern")));
    let templates = match cluster.job_templates.len() {
        0 => String::new(),
        number => format!(", {}", count(number, "job template")),
    };
    let maintenance = if cluster.maintenance().is_some() { ", under maintenance" } else { "" };
    format!("{scheduler}, {reached}, {folders}, {probes}{keys}{}{templates}{maintenance}", commands.unwrap_or_default())
}

/// A URL as it may be shown: without a query.
fn shown(url: &str) -> String {
    Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string())
}
