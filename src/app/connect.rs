//! Tries the services in a configuration, step by step, with the service accounts: for `check-config --connect`.

use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::build::{BuildError, slurm_rest};
use super::site::{Site, SiteMember};
use crate::authn::PrincipalSource;
use crate::authz::{Decision, Relation};
use crate::cluster::{FileCapability, WithoutHealthCheck};
use crate::config::Config;
use crate::domain::{Principal, RemotePath, bytes_to_text};
use crate::error::ErrorChain;
use crate::lifecycle::Lifecycle;
use crate::rest;
use crate::scheduler::{self, ConnectionMode, Scheduler as _, SchedulerType};
use crate::ssh::{CommandLimits, CommandLine, Environment, Exec};
use crate::store::Inspection;

/// The time limit for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum output of the command of a step, in bytes.
const STEP_OUTPUT: usize = 64 * 1024;

/// One step that was tried.
#[derive(Debug)]
pub struct Step {
    /// Of which part: `site`, or a cluster's name.
    pub subject: String,
    /// The step.
    pub name: String,
    /// The result, or the reason of a failure; none if it was not tried because a step that it needs failed.
    pub outcome: Option<Result<String, String>>,
    /// The advice if it failed.
    pub advice: &'static str,
}

/// Tries everything, and shows each step when it is done. A step that needs a failed one is shown as not tried.
///
/// # Errors
/// If the configuration cannot be used at all.
pub async fn try_connections(config: Config, mut show: impl FnMut(Step)) -> Result<(), BuildError> {
    let client = rest::Client::new()?;
    let site = Site::build(config, client.clone(), None)?;
    let (background, done) = (Lifecycle::new(), CancellationToken::new());
    site.members.iter().for_each(|member| member.keep_connections(&background, &done));
    let tokens_checked = validators(&mut show, &site).await;
    let advice = "auth.authorization: url, store or store_id, token, relation and object_type must be those of the OpenFGA server";
    let relations = site.relations();
    let probe = async { site.authorizer.probe(&relations).await.map(|()| String::new()) };
    let decides = step(&mut show, ("site", "authorization"), advice, probe).await.is_some();
    if let Some(store) = &site.store {
        let advice = "store: state_dir must be a directory that this account may write in; url must be the database's, and its role must be allowed \
            to create the schema goldcrest, or own it";
        step_with(&mut show, ("site", "store"), advice, store.inspect(), stored).await;
    }
    for member in &site.members {
        let name = member.cluster.name().to_string();
        let reached = reach(&mut show, &name, member).await;
        if !tokens_checked {
            not_tried(&mut show, &name, "everything that needs a token");
            continue;
        }
        let advice = "service_account must be a client that may use the client credentials grant at token_url, and auth.authentication.issuer, \
            audience and username_claim must fit its tokens";
        let token = async { member.account.principal().await };
        let Some(principal) = step_with(&mut show, (&name, "token of the service account"), advice, token, |principal| {
            format!("user {}", principal.username)
        })
        .await
        else {
            not_tried(&mut show, &name, "everything that needs a token");
            continue;
        };
        if decides {
            allowed(&mut show, &name, &site, member, &principal).await;
        }
        if reached {
            work(&mut show, &name, (member, &client), &principal).await;
        } else {
            not_tried(&mut show, &name, "SSH login, scheduler and files");
        }
    }
    done.cancel();
    site.close().await;
    Ok(())
}

/// Tries what checks the callers' tokens. Returns whether all of it works.
async fn validators(show: &mut impl FnMut(Step), site: &Site) -> bool {
    let mut all_work = true;
    if let Some(read) = site.authenticator.read_keys().await {
        let keys = async { read.map(|count| format!("{count} usable")) };
        let advice = "auth.authentication.public_certs must be the provider's JWKS endpoint, and reachable from here";
        all_work &= step(show, ("site", "signing keys"), advice, keys).await.is_some();
    }
    for service in site.authenticator.services() {
        let advice = "auth.authentication.validators: the address must be that of the service and reachable from here, and the credentials \
            those that the service knows Goldcrest by";
        all_work &= step(show, ("site", service.name()), advice, service.probe()).await.is_some();
    }
    all_work
}

/// What there is of the store, which is only looked at.
fn stored(inspection: &Inspection) -> String {
    match inspection {
        Inspection::Ready => String::new(),
        Inspection::Outdated => "its tables are those of an earlier release: the service brings them up to date".to_owned(),
        Inspection::Absent(what) => format!("not there yet: the service creates {what}, and this account may"),
    }
}

async fn reach(show: &mut impl FnMut(Step), name: &str, member: &SiteMember) -> bool {
    let Some(ssh) = &member.cluster.config().ssh else { return true };
    let (host, port) = match &ssh.proxy_host {
        Some(host) => (host.as_str(), ssh.proxy_port.unwrap_or(22)),
        None => (ssh.host.as_str(), ssh.port),
    };
    let limit = Duration::from_secs(ssh.timeout.connection);
    let connecting = async {
        match timeout(limit, TcpStream::connect((host, port))).await {
            Ok(connected) => connected.and_then(|stream| stream.peer_addr()).map(|address| address.to_string()),
            Err(_) => Err(std::io::Error::other(format!("no answer within {} s", limit.as_secs()))),
        }
    };
    let advice = "ssh.host and ssh.port must be right, and a firewall must let this host through";
    step(show, (name, &format!("TCP to {host}:{port}")), advice, connecting).await.is_some()
}

async fn allowed(show: &mut impl FnMut(Step), name: &str, site: &Site, member: &SiteMember, principal: &Principal) {
    let asking = site.authorizer.check(principal, Relation::Read, member.cluster.name());
    let advice = "this is not an error if the service account needs no access: decisions are only requested for callers";
    step_with(show, (name, "authorization of the service account"), advice, asking, |ruling| match ruling.decision {
        Decision::Allowed => "allowed".to_owned(),
        Decision::Denied => "denied, which does no harm: decisions are only requested for callers".to_owned(),
    })
    .await;
}

/// Tries each capability of the system with the service account.
async fn work(show: &mut impl FnMut(Step), name: &str, (member, client): (&SiteMember, &rest::Client), principal: &Principal) {
    let WithoutHealthCheck { compute, files, objects } = member.cluster.without_health_check();
    let config = member.cluster.config();
    if let Some(files) = files
        && !log_in(show, name, files, config.ssh.is_some(), principal).await
    {
        not_tried(show, name, "scheduler and files");
        return;
    }
    if let (Some(scheduler), Some(config)) = (compute, &config.scheduler) {
        let advice = "scheduler.type and connection_mode must be right, and its commands on the account's PATH (or api_url, or the API server of Kubernetes, reachable)";
        let ping = async { scheduler.ping(principal).await.map(|()| String::new()) };
        let answers = step(show, (name, "scheduler"), advice, ping).await.is_some();
        behind_commands(show, name, config, client, principal).await;
        if answers && let Some(files) = files {
            version(show, name, files, config, principal).await;
        }
    }
    if let Some(files) = files {
        for root in config.file_systems.iter().map(|file_system| &file_system.path) {
            let advice =
                "the path must exist there and be searchable by the account; sshd needs its sftp subsystem, or set file_access: exec";
            let looking = async { files.operations.of(principal).await?.stat(principal, root, true).await };
            step_with(show, (name, &format!("file system {}", RemotePath::to_text(root))), advice, looking, |_| String::new()).await;
        }
    }
    if let Some(store) = objects {
        let advice = "data_transfer: private_url, access_key_id, secret_access_key and region must be those of the store";
        let ping = async { store.ping().await.map(|()| String::new()) };
        step(show, (name, "object store"), advice, ping).await;
    }
}

async fn log_in(show: &mut impl FnMut(Step), name: &str, files: &FileCapability, over_ssh: bool, principal: &Principal) -> bool {
    let (what, advice) = match over_ssh {
        true => (
            "SSH login as",
            "if the host key was refused, ssh.host_keys must have it; otherwise ssh_credentials must have a key for this account that the \
             cluster accepts",
        ),
        false => {
            ("pod for the files of", "scheduler.kubernetes.files must be right, and Goldcrest must have the rights in docs/kubernetes.md")
        }
    };
    let login = files.transport.exec(principal, brief(CommandLine::new("true")));
    let what = format!("{what} {}", principal.username);
    let logged_in = step_with(show, (name, &what), advice, login, |output| match output.exit {
        0 => String::new(),
        exit => format!("`true` ended with {exit}: {}", bytes_to_text(&output.stderr).trim()),
    });
    logged_in.await.is_some()
}

/// Tries slurmrestd if Slurm's commands are its fallback: nothing else shows that it is unavailable.
async fn behind_commands(
    show: &mut impl FnMut(Step),
    name: &str,
    config: &scheduler::Config,
    client: &rest::Client,
    principal: &Principal,
) {
    let scheduler::Config::Slurm { common, slurm } = config else { return };
    if config.connection_mode() == ConnectionMode::Hybrid
        && let Ok(rest) = slurm_rest(slurm, Duration::from_secs(common.timeout), client)
    {
        let advice = "scheduler.api_url must be the address of slurmrestd, and jwt_key_file the key that Slurm has";
        let ping = async { rest.ping(principal).await.map(|()| String::new()) };
        step(show, (name, "slurmrestd"), advice, ping).await;
    }
}

/// The version that the scheduler's commands report, if it has commands.
async fn version(show: &mut impl FnMut(Step), name: &str, files: &FileCapability, config: &scheduler::Config, principal: &Principal) {
    let line = match (config.kind(), config.connection_mode()) {
        (SchedulerType::Slurm, ConnectionMode::Ssh | ConnectionMode::Hybrid) => CommandLine::new("sinfo").flag("--version"),
        (SchedulerType::Pbs, _) => CommandLine::new("qstat").flag("--version"),
        (SchedulerType::Slurm, ConnectionMode::Rest) | (SchedulerType::Local | SchedulerType::Kubernetes, _) => return,
    };
    let configured = &config.common().version;
    let asking = files.transport.exec(principal, brief(line));
    let advice = "scheduler.version, which clients are shown, must be the version that runs; if no version was read, the scheduler's commands \
        must be on the account's PATH";
    let compared = async {
        let output = asking.await.map_err(std::io::Error::other)?;
        let said = bytes_to_text(if output.stdout.is_empty() { &output.stderr } else { &output.stdout });
        let said = said.lines().next().unwrap_or_default().trim().to_owned();
        let found = format!("it says \"{said}\", configured is {configured}");
        let is_another = release(&said).zip(release(configured)).is_some_and(|(runs, configured)| runs != configured);
        if is_another { Err(std::io::Error::other(found)) } else { Ok(found) }
    };
    step(show, (name, "scheduler version"), advice, compared).await;
}

/// The first two numbers of the first version in a text, such as 24 and 11 of `slurm 24.11.5`.
fn release(text: &str) -> Option<[u32; 2]> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split('.').map_while(|number| number.parse().ok());
        Some([numbers.next()?, numbers.next()?])
    })
}

/// A command that takes no input and prints little.
fn brief(line: CommandLine) -> Exec {
    let limits = Some(CommandLimits { execution: STEP_TIMEOUT, output: STEP_OUTPUT });
    Exec { line, stdin: Bytes::new(), idempotent: true, environment: Environment::Client, limits }
}

/// Shows what cannot be tried.
fn not_tried(show: &mut impl FnMut(Step), subject: &str, what: &str) {
    show(Step { subject: subject.to_owned(), name: what.to_owned(), outcome: None, advice: "" });
}

async fn step<E: std::error::Error + 'static>(
    show: &mut impl FnMut(Step),
    what: (&str, &str),
    advice: &'static str,
    work: impl Future<Output = Result<String, E>>,
) -> Option<String> {
    step_with(show, what, advice, work, Clone::clone).await
}

/// Tries one step within its time, and shows it.
async fn step_with<T, E: std::error::Error + 'static>(
    show: &mut impl FnMut(Step),
    (subject, name): (&str, &str),
    advice: &'static str,
    work: impl Future<Output = Result<T, E>>,
    found: impl FnOnce(&T) -> String,
) -> Option<T> {
    let outcome = match timeout(STEP_TIMEOUT, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(ErrorChain(&error).to_string()),
        Err(_) => Err(format!("not done within {} s", STEP_TIMEOUT.as_secs())),
    };
    let shown = outcome.as_ref().map(found).map_err(Clone::clone);
    show(Step { subject: subject.to_owned(), name: name.to_owned(), outcome: Some(shown), advice });
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::release;

    #[test]
    fn the_release_is_read_out_of_what_schedulers_say_and_people_configure() {
        for (text, expected) in [
            ("slurm 22.05.8", Some([22, 5])),
            ("slurm-wlm 24.11.5", Some([24, 11])),
            ("pbs_version = 23.06.06", Some([23, 6])),
            ("24.11", Some([24, 11])),
            ("24.11.0", Some([24, 11])),
            ("newest", None),
            ("24", None),
        ] {
            assert_eq!(release(text), expected, "{text}");
        }
    }
}
