//! Rules that a schema cannot express: between keys, and for values that must parse.

mod compat;
mod server;
mod ssh;
mod transfers;
mod validators;

use std::collections::HashMap;

use super::interpret::{Interpreter, shown};
use crate::domain::{RemotePath, ServiceType, SystemName, excerpt, nearest_name};
use crate::error::ErrorChain;
use crate::rest::{InvalidUrl, Url};
use crate::scheduler::slurm::{self, ApiVersion};
use crate::scheduler::{self, ConnectionMode, MAX_FRESHNESS};
use crate::{authn, authz, cluster, credentials, service};

pub(super) use compat::kbatch;
pub(super) use server::{logger, metrics, server};

/// The maximum number of characters that are shown of a name.
const MAX_SHOWN: usize = 64;

/// `apis_root_path`.
pub(super) fn root_path(walk: &mut Interpreter, path: &str) {
    if !path.is_empty() && !path.starts_with('/') {
        walk.report_allowing("apis_root_path", "does not start with a slash", "nothing, or a path such as /hpc");
    }
}

/// Rejects switches as values: `maintenance: false` would begin a maintenance.
fn maintenance(walk: &mut Interpreter, path: &str, text: &str) {
    if ["true", "false", "yes", "no", "on", "off"].contains(&text.trim().to_ascii_lowercase().as_str()) {
        walk.report_allowing(path, format!("is no text to show: `{text}`"), "what callers are told, or an empty text for no maintenance");
    }
}

/// `clusters[].job_templates`.
fn templates(walk: &mut Interpreter, path: &str, templates: &[cluster::JobTemplate]) {
    for (index, template) in templates.iter().enumerate() {
        for (place, message) in service::templates::mistakes(template) {
            walk.report(&format!("{path}[{index}].{place}"), message);
        }
        if templates[..index].iter().any(|other| other.name == template.name) {
            walk.report(&format!("{path}[{index}].name"), "is the name of another template already");
        }
    }
}

/// `auth`, with all clusters.
pub(super) fn auth(
    walk: &mut Interpreter,
    authentication: Option<&authn::Config>,
    authorization: Option<&authz::Config>,
    clusters: &[(usize, cluster::Config)],
    site: Option<&credentials::Config>,
) {
    if let Some(config) = authentication {
        self::authentication(walk, config);
        if let Some(site) = site {
            refused_users(walk, "ssh_credentials", site, config);
        }
        for (index, cluster) in clusters {
            if let Some(own) = cluster.ssh.as_ref().and_then(|ssh| ssh.credentials.as_ref()) {
                refused_users(walk, &format!("clusters[{index}].ssh.credentials"), own, config);
            }
        }
    }
    if let Some(config) = authorization {
        let systems: Vec<_> = clusters.iter().map(|(_, cluster)| &cluster.name).collect();
        self::authorization(walk, config, &systems);
    }
}

/// `auth.authentication`.
fn authentication(walk: &mut Interpreter, config: &authn::Config) {
    let key = |name: &str| format!("auth.authentication.{name}");
    validators::check(walk, config);
    match &config.token_url {
        Some(token_url) => url(walk, &key("token_url"), token_url),
        None if config.accepts_jwts() => walk.report_allowing(&key("token_url"), "is missing", "a text"),
        None => {}
    }
    if config.public_certs.is_empty() && config.accepts_jwts() {
        walk.report_allowing(
            &key("public_certs"),
            "names no key set: no token could be verified",
            "a list of https://, http:// or file:/// URLs",
        );
    }
    for (index, certs) in config.public_certs.iter().enumerate() {
        let path = format!("{}[{index}]", key("public_certs"));
        match authn::Source::parse(certs) {
            Err(error) => not_a_url(walk, &path, certs, &error, "an https://, http:// or file:/// URL"),
            Ok(authn::Source::File(file)) if !file.is_file() => {
                walk.warning(&path, format!("{} is no file: no token is accepted before it is one", file.display()));
            }
            Ok(_) => {}
        }
    }
    if let Some(algorithm) = &config.jwk_algorithm
        && !authn::supported_algorithm(algorithm)
    {
        let allowed = "RS256 | RS384 | RS512 | PS256 | PS384 | PS512 | ES256 | ES384 | EdDSA";
        walk.report_allowing(&key("jwk_algorithm"), "is no supported algorithm with public keys", allowed);
    }
    if config.username_claim.is_empty() {
        walk.report(&key("username_claim"), "is empty");
    }
    at_least_one(walk, &key("public_certs_refresh"), config.public_certs_refresh);
    if config.refused_usernames.is_empty() {
        walk.warning(&key("refused_usernames"), "is empty: a token that names root acts as root");
    }
    if !config.accepts_jwts() {
        return;
    }
    if config.audience.is_empty() && !walk.is_wrong(&key("audience")) {
        walk.warning(&key("audience"), "is not set: tokens that were issued for other applications are accepted");
    }
    if config.issuer.is_none() {
        walk.warning(&key("issuer"), "is not set: the issuer of tokens is not compared");
    }
}

/// `auth.authorization`, with the names of the clusters.
fn authorization(walk: &mut Interpreter, config: &authz::Config, systems: &[&SystemName]) {
    let are_complete = !walk.has_problem_below("clusters");
    match config {
        authz::Config::OpenFga(config) => {
            url(walk, "auth.authorization.url", &config.url);
            at_least_one(walk, "auth.authorization.timeout", config.timeout);
            if let Some(account) = &config.client_credentials {
                url(walk, "auth.authorization.client_credentials.token_url", &account.token_url);
                if config.api_token.is_some() {
                    walk.report("auth.authorization.client_credentials", "cannot be combined with api_token: choose one of them");
                }
            }
            if config.by_effect && config.relation != "access" {
                walk.warning("auth.authorization.relation", "has no effect with by_effect: true");
            }
            for (key, word) in
                [("relation", &config.relation), ("object_type", &config.object_type), ("group_relation", &config.group_relation)]
                    .into_iter()
                    .chain(config.group_type.as_ref().map(|word| ("group_type", word)))
            {
                if !authz::is_word(word) {
                    walk.report(&format!("auth.authorization.{key}"), "is no name that an OpenFGA model can have");
                }
            }
        }
        authz::Config::Policy(config) => {
            for (index, rule) in config.rules.iter().enumerate() {
                if let Some((key, reason)) = rule.validate() {
                    walk.report(&format!("auth.authorization.rules[{index}].{key}"), reason);
                }
            }
            for (index, rule) in config.rules.iter().enumerate() {
                for (place, system) in rule.systems.iter().enumerate() {
                    // The name of a cluster with a mistake is not known here.
                    if are_complete && system != "*" && !systems.iter().any(|known| known.as_str().eq_ignore_ascii_case(system)) {
                        let nearest = nearest_name(&system.to_lowercase(), systems.iter().map(|known| known.as_str()));
                        let hint = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
                        let path = format!("auth.authorization.rules[{index}].systems[{place}]");
                        walk.warning(&path, format!("is the name of no cluster: `{}`{hint}", excerpt(system, MAX_SHOWN)));
                    }
                }
            }
            if config.rules.is_empty() {
                walk.warning("auth.authorization.rules", "is empty: no user may use any cluster");
            }
        }
    }
}

/// `ssh_credentials`, or a cluster's own.
pub(super) fn credentials(walk: &mut Interpreter, path: &str, config: &credentials::Config) {
    match config {
        credentials::Config::KeyService(credentials::KeyServiceConfig { url: text, .. })
        | credentials::Config::SshCa(credentials::SshCaConfig { url: text, .. }) => url(walk, &format!("{path}.url"), text),
        credentials::Config::StaticKeys(_) | credentials::Config::Authority(_) => {}
    }
    if let Some((key, reason)) = config.validate() {
        let path = format!("{path}.{key}");
        // A secret file that could not be read was reported already.
        if !walk.is_wrong(&path) {
            let reason = walk.in_its_file(&path, &reason);
            walk.report(&path, reason);
        }
    }
    for (key, reason) in config.unusable_keys() {
        let path = format!("{path}.{key}");
        if !walk.is_wrong(&path) {
            let reason = walk.in_its_file(&path, reason);
            walk.warning(&path, reason);
        }
    }
    for key in if walk.is_thorough { config.wrong_passphrases() } else { Vec::new() } {
        let path = format!("{path}.{key}");
        let reason = walk.in_its_file(&path, "does not open the private key beside it");
        walk.warning(&path, reason);
    }
}

/// The keys of users whom no token may name.
fn refused_users(walk: &mut Interpreter, path: &str, config: &credentials::Config, authentication: &authn::Config) {
    for user in config.users() {
        if let Some(reason) = authentication.refusal_of(user) {
            walk.warning(&format!("{path}.keys.{user}"), format!("is never used, because no token may name this user: {reason}"));
        }
    }
}

/// `clusters`, each with its place in the list; and where their credentials come from, for those that say nothing of it.
pub(super) fn clusters(walk: &mut Interpreter, clusters: &[(usize, cluster::Config)], site: Option<&credentials::Config>) {
    let mut seen = HashMap::new();
    for (index, config) in clusters {
        let path = format!("clusters[{index}]");
        if let Some(first) = seen.insert(&config.name, index) {
            walk.report(&format!("{path}.name"), format!("is the name of clusters[{first}] already; names are compared without case"));
        }
        maintenance(walk, &format!("{path}.maintenance"), &config.maintenance);
        if let Some(config) = &config.ssh {
            ssh::ssh(walk, &format!("{path}.ssh"), config, site);
        }
        if let Some(config) = &config.scheduler {
            scheduler(walk, &format!("{path}.scheduler"), config);
        }
        capabilities(walk, &path, config);
        file_systems(walk, &path, config);
        templates(walk, &format!("{path}.job_templates"), &config.job_templates);
        for (place, message) in config.commands.iter().flat_map(service::commands::mistakes) {
            walk.report(&format!("{path}.commands.{place}"), message);
        }
        if config.service_account.client_id.is_empty() {
            walk.report(&format!("{path}.service_account.client_id"), "is empty");
        }
        let secret = format!("{path}.service_account.secret");
        if config.service_account.secret.expose().is_empty() && !walk.is_wrong(&secret) {
            walk.warning(&secret, "is empty: the health checker will get no token");
        }
        at_least_one(walk, &format!("{path}.probing.interval_check"), config.probing.interval_check);
        for (service, probe) in config.probing.services.iter().flatten() {
            let key = format!("{path}.probing.services.{}", service.name());
            at_least_one(walk, &format!("{key}.timeout"), probe.timeout);
            if *service != ServiceType::S3 && !config.services().any(|has| has == *service) {
                walk.warning(&key, "has no effect: the system has no such service");
            }
        }
        transfer_jobs(walk, &format!("{path}.data_operation"), config);
    }
}

/// The capabilities of a system, and the sections that they need.
fn capabilities(walk: &mut Interpreter, path: &str, config: &cluster::Config) {
    let needs_ssh = config.scheduler.as_ref().is_some_and(|scheduler| scheduler.connection_mode() != ConnectionMode::Rest);
    match (&config.ssh, &config.scheduler) {
        (Some(_), _) if config.file_systems.is_empty() => {
            walk.warning(&format!("{path}.file_systems"), "is empty: every file operation will be refused");
        }
        (Some(_), _) => {}
        (None, None) => {
            walk.report_allowing(path, "has neither ssh nor scheduler: there is nothing that it could do", "one of them, or both")
        }
        (None, Some(_)) if needs_ssh => {
            let allowed = "a section with the key `host`; or connection_mode: rest, where the scheduler is Slurm";
            walk.report_allowing(&format!("{path}.ssh"), "is missing: the scheduler's commands are run over SSH", allowed);
        }
        (None, Some(scheduler)) => {
            let has_volumes = matches!(scheduler, scheduler::Config::Kubernetes { kubernetes, .. } if kubernetes.files.is_some());
            if has_volumes && config.file_systems.is_empty() {
                walk.warning(&format!("{path}.file_systems"), "is empty: every file operation will be refused");
            }
            let listed = [
                ("file_systems", !config.file_systems.is_empty() && !has_volumes),
                ("data_operation.data_transfer", config.data_operation.data_transfer.is_some()),
                ("commands", config.commands.is_some()),
            ];
            for (key, _) in listed.into_iter().filter(|(_, is_given)| *is_given) {
                walk.warning(&format!("{path}.{key}"), "has no effect without ssh");
            }
        }
    }
}

/// The file systems of a system, none of which is named twice.
fn file_systems(walk: &mut Interpreter, path: &str, config: &cluster::Config) {
    for (index, file_system) in config.file_systems.iter().enumerate() {
        if let Some(first) = config.file_systems[..index].iter().position(|other| other.path == file_system.path) {
            walk.warning(&format!("{path}.file_systems[{index}].path"), format!("is the path of file_systems[{first}] already"));
        }
    }
}

/// No `ssh_credentials`: a mistake unless no cluster needs any.
pub(super) fn no_credentials(walk: &mut Interpreter, clusters: &[(usize, cluster::Config)]) {
    let needs = |config: &cluster::Config| config.ssh.as_ref().is_some_and(|ssh| ssh.credentials.is_none());
    if clusters.is_empty() || clusters.iter().any(|(_, config)| needs(config)) {
        walk.report_allowing("ssh_credentials", "is missing", "a section with the key `type`");
    }
}

fn scheduler(walk: &mut Interpreter, path: &str, config: &scheduler::Config) {
    let common = config.common();
    at_least_one(walk, &format!("{path}.timeout"), common.timeout);
    freshness(walk, &format!("{path}.read_freshness"), common.read_freshness);
    if !(1..=365).contains(&common.submission_record_days) {
        walk.report_allowing(&format!("{path}.submission_record_days"), "is out of range", "from 1 to 365 days");
    }
    for (key, reason, allowed) in common.job_mirror.mistakes() {
        walk.report_allowing(&format!("{path}.job_mirror.{key}"), reason, allowed);
    }
    if let scheduler::Config::Slurm { slurm, .. } = config {
        freshness(walk, &format!("{path}.accounting_freshness"), slurm.accounting_freshness);
        slurm_rest(walk, path, slurm);
    } else if common.job_mirror.push.is_some() {
        walk.warning(&format!("{path}.job_mirror.push"), "has no effect: only Slurm sends what it takes");
    }
    if let scheduler::Config::Kubernetes { kubernetes, .. } = config {
        for (key, message, allowed) in kubernetes.mistakes() {
            walk.report_allowing(&format!("{path}.kubernetes.{key}"), message, allowed);
        }
    }
}

fn slurm_rest(walk: &mut Interpreter, path: &str, config: &slurm::Config) {
    let needs_url = config.connection_mode != ConnectionMode::Ssh;
    if needs_url && config.api_url.is_none() {
        walk.report_allowing(&format!("{path}.api_url"), "is missing: connection_mode is rest or hybrid", "the URL of slurmrestd");
    }
    if let Some(text) = &config.api_url {
        url(walk, &format!("{path}.api_url"), text);
    }
    if let Some(text) = config.api_version.as_ref().filter(|_| needs_url) {
        let key = format!("{path}.api_version");
        match ApiVersion::parse(text) {
            None => walk.report_allowing(&key, "is no version of slurmrestd's API", "a version such as 0.0.42"),
            Some(version) if !version.is_known() => {
                let (oldest, newest) = (ApiVersion::OLDEST, ApiVersion::NEWEST);
                walk.warning(&key, format!("is not one of those that were tried, {oldest} to {newest}"));
            }
            Some(_) => {}
        }
    }
    if config.jwt_key_file.is_some() && !needs_url {
        walk.warning(&format!("{path}.jwt_key_file"), "has no effect with connection_mode: ssh");
    } else if let Some(Err(error)) = config.jwt_key_file.as_deref().map(credentials::SlurmTokens::from_file) {
        walk.warning(&format!("{path}.jwt_key_file"), format!("cannot be used: {}", ErrorChain(&error)));
    }
}

fn freshness(walk: &mut Interpreter, path: &str, seconds: f64) {
    if !(0.0..=MAX_FRESHNESS).contains(&seconds) {
        walk.report_allowing(path, "is out of range", format!("seconds from 0 to {MAX_FRESHNESS}"));
    }
}

fn transfer_jobs(walk: &mut Interpreter, path: &str, cluster: &cluster::Config) {
    let config = &cluster.data_operation;
    if let Some(directory) = &config.datatransfer_jobs_directory {
        let inside = RemotePath::from_text(&directory.replace("{username}", "user"))
            .is_ok_and(|directory| cluster.file_systems.iter().any(|file_system| directory.is_within(&file_system.path)));
        if !inside {
            let allowed = "an absolute path such as /scratch/{username}";
            walk.report_allowing(&format!("{path}.datatransfer_jobs_directory"), "lies in none of the file_systems", allowed);
        }
    }
    transfers::services(walk, &format!("{path}.data_transfer"), config.transfers());
    for (index, directive) in config.datatransfer_jobs_directives.iter().enumerate() {
        if directive.lines().any(|line| !line.is_empty() && !line.starts_with('#')) {
            let key = format!("{path}.datatransfer_jobs_directives[{index}]");
            walk.warning(&key, "does not start with #: it runs as a command, and directives after it are not read");
        }
    }
}

fn url(walk: &mut Interpreter, path: &str, text: &str) {
    if let Err(error) = Url::parse(text) {
        not_a_url(walk, path, text, &error, "an http:// or https:// URL");
    }
}

/// A text is not the URL that it should be. It is shown unless it may hold a password.
fn not_a_url(walk: &mut Interpreter, path: &str, text: &str, error: &InvalidUrl, allowed: &str) {
    let written = if text.contains(['@', '?']) { String::new() } else { format!(": {}", shown(path, text)) };
    walk.report_allowing(path, format!("{error}{written}"), allowed);
}

pub(super) fn at_least_one(walk: &mut Interpreter, path: &str, value: u64) {
    if value == 0 {
        walk.report_allowing(path, "is zero", "a whole number from 1");
    }
}
