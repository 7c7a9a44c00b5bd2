//! The configuration: one YAML file, environment variables, secrets from files.
//!
//! [`Config`] combines each module's own `Config` under FirecREST's keys; the keys of a section are documented
//! there. This module must not know the use of any value, except for rules that span sections (`rules`). A new
//! section is a field of [`Config`] and a line in `assemble`; the schema, the reference page and the checks follow from
//! the type.

mod environment;
mod fingerprint;
mod hub_service;
mod interpret;
mod kbatch_variables;
mod problem;
mod reference;
mod rules;
mod shape;
mod state_rules;
mod typed;
mod yaml;

use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::service::links;
use crate::{authn, authz, cluster, credentials, http, notify, store};
use interpret::Interpreter;
use yaml::{Node, Value};

pub use fingerprint::{Fingerprint, Fingerprints};
pub use problem::{ConfigError, Origin, Problem};
pub use reference::{reference, schema};

/// The whole configuration.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(title = "Goldcrest configuration")]
pub struct Config {
    /// Path prefix of all routes, such as `/hpc`. All routes also answer without it, for proxies that remove it.
    #[schemars(default)]
    pub apis_root_path: String,
    /// Servers to list in the API's documentation.
    #[schemars(default)]
    pub doc_servers: Option<Vec<http::DocServer>>,
    /// More detailed logs, unless `GOLDCREST_LOG` is set.
    #[schemars(default)]
    pub app_debug: bool,
    /// The HTTP server. This section is Goldcrest's own.
    #[schemars(default)]
    pub server: http::Config,
    /// Metrics for Prometheus. If absent, they are not exported. This section is Goldcrest's own.
    #[schemars(default)]
    pub metrics: Option<http::MetricsConfig>,
    /// Authentication and authorization of callers.
    pub auth: Auth,
    /// Source of the SSH keys with which Goldcrest logs in as a caller. Required if a cluster has an `ssh` section without `credentials`.
    #[schemars(default)]
    pub ssh_credentials: credentials::Config,
    /// The store for tasks, share links and webhooks, and for records of submissions that cannot be kept on the cluster. If absent, nothing
    /// is stored, and requests that need it are refused. This section is Goldcrest's own.
    #[schemars(default)]
    pub store: Option<store::Config>,
    /// Webhooks: calls to services of the users when the states of their jobs change. If absent, there are none. They need the section `store`.
    /// This section is Goldcrest's own.
    #[schemars(default)]
    pub webhooks: Option<notify::Config>,
    /// Share links: downloads of files of a user by whoever has the link. If absent, there are none. They need the section `store`.
    /// This section is Goldcrest's own.
    #[schemars(default)]
    pub shares: Option<links::Config>,
    /// Routes for clients of other programs. This section is Goldcrest's own.
    #[schemars(default)]
    pub compat: Compat,
    /// The clusters: a list, or `path:/folder` for a folder with one `*.yaml` file per cluster.
    #[schemars(default)]
    pub clusters: Vec<cluster::Config>,
    /// Settings of the log.
    #[schemars(default)]
    pub logger: http::Logger,
    /// The fingerprints that distinguish one configuration from the next.
    #[schemars(skip)]
    pub fingerprints: Fingerprints,
}

/// Routes for clients of other programs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compat {
    /// kbatch. If absent, its routes are not served.
    pub kbatch: Option<http::KbatchConfig>,
}

/// Authentication and authorization.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Auth {
    /// Verification of bearer tokens.
    pub authentication: authn::Config,
    /// Who may use which cluster. If absent, every caller may use every cluster.
    #[schemars(default)]
    pub authorization: Option<authz::Config>,
}

/// A configuration and its warnings.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings about probable mistakes, mostly unknown keys.
    pub warnings: Vec<Problem>,
}

/// Reads a file, applies the environment, and checks everything.
///
/// # Errors
/// Every mistake that was found.
pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let root = read_file(path).map_err(|problem| ConfigError { problems: vec![problem], warnings: Vec::new() })?;
    assemble(root, env, false)
}

/// As [`load`], and tries what takes a moment for each user: the passphrases of their keys.
///
/// # Errors
/// Every mistake that was found.
pub fn examine(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let root = read_file(path).map_err(|problem| ConfigError { problems: vec![problem], warnings: Vec::new() })?;
    assemble(root, env, true)
}

/// As [`load`], from a text.
///
/// # Errors
/// Every mistake that was found.
pub fn from_yaml(text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    let root = yaml::read(text, None).map_err(|problem| ConfigError { problems: vec![problem], warnings: Vec::new() })?;
    assemble(root, env, false)
}

/// Adds the files of the folder and the variables; returns the mistakes in them, and the warnings.
fn add_sources(root: &mut Node, env: impl Iterator<Item = (String, String)>) -> (Vec<Problem>, Vec<Problem>) {
    let mut problems = Vec::new();
    let variables: Vec<(String, String)> = env.collect();
    // Twice, so that a variable can change a cluster of the folder, and can name the folder.
    read_folder(root, &mut problems);
    environment::apply(root, variables.iter().cloned(), &mut problems);
    hub_service::apply(root, &variables, &mut problems);
    read_folder(root, &mut problems);
    kbatch_variables::apply(root, &variables, &mut problems);
    (problems, environment::misspelt(&variables))
}

fn assemble(mut root: Node, env: impl Iterator<Item = (String, String)>, is_thorough: bool) -> Result<Loaded, ConfigError> {
    let (problems, warnings) = add_sources(&mut root, env);
    let mut walk = Interpreter::new(problems, warnings, is_thorough);
    let mut sections = walk.interpret(&root, &schema());
    let mut fingerprints = Fingerprints::of(sections.document());
    let mut auth = sections.take_section("auth");
    let authentication: Option<authn::Config> = walk.typed(auth.take("authentication"), "auth.authentication");
    let authorization: Option<authz::Config> = walk.typed(auth.take("authorization"), "auth.authorization");
    let has_credentials = sections.document().get("ssh_credentials").is_some();
    let ssh_credentials: Option<credentials::Config> = walk.typed(sections.take("ssh_credentials"), "ssh_credentials");
    let server: http::Config = walk.typed(sections.take("server"), "server").unwrap_or_default();
    let metrics: Option<http::MetricsConfig> = walk.typed(sections.take("metrics"), "metrics");
    let store: Option<store::Config> = walk.typed(sections.take("store"), "store");
    let webhooks: Option<notify::Config> = walk.typed(sections.take("webhooks"), "webhooks");
    let shares: Option<links::Config> = walk.typed(sections.take("shares"), "shares");
    let compat: Compat = walk.typed(sections.take("compat"), "compat").unwrap_or_default();
    let apis_root_path: String = walk.typed(sections.take("apis_root_path"), "apis_root_path").unwrap_or_default();
    let doc_servers = walk.typed(sections.take("doc_servers"), "doc_servers");
    let app_debug = walk.typed(sections.take("app_debug"), "app_debug").unwrap_or_default();
    let logger: http::Logger = walk.typed(sections.take("logger"), "logger").unwrap_or_default();
    let list = sections.take_list("clusters");
    fingerprints.clusters = list.iter().map(fingerprint::of_cluster).collect();
    let mut clusters = read_clusters(&mut walk, list);

    rules::root_path(&mut walk, &apis_root_path);
    rules::server(&mut walk, &server);
    rules::metrics(&mut walk, metrics.as_ref(), &server);
    rules::logger(&mut walk, &logger);
    state_rules::store(&mut walk, store.as_ref());
    state_rules::webhooks(&mut walk, webhooks.as_ref(), store.is_some());
    state_rules::shares(&mut walk, shares.as_ref(), store.is_some());
    rules::clusters(&mut walk, &clusters, ssh_credentials.as_ref());
    match &ssh_credentials {
        Some(ssh_credentials) => rules::credentials(&mut walk, "ssh_credentials", ssh_credentials),
        None if has_credentials => {}
        None => rules::no_credentials(&mut walk, &clusters),
    }
    rules::kbatch(&mut walk, compat.kbatch.as_ref(), &clusters);
    rules::auth(&mut walk, authentication.as_ref(), authorization.as_ref(), &clusters, ssh_credentials.as_ref());
    clusters.iter_mut().for_each(|(_, cluster)| cluster.complete_transfers(server.listen.ip()));
    match authentication {
        Some(authentication) => walk.finish(Config {
            apis_root_path: apis_root_path.trim_end_matches('/').to_owned(),
            doc_servers,
            app_debug,
            server,
            metrics,
            auth: Auth { authentication, authorization },
            ssh_credentials: ssh_credentials.unwrap_or_default(),
            store,
            webhooks,
            shares,
            compat,
            clusters: clusters.into_iter().map(|(_, cluster)| cluster).collect(),
            logger,
            fingerprints,
        }),
        None => Err(walk.into_error()),
    }
}

/// The clusters that can be understood, each with its place in the list.
fn read_clusters(walk: &mut Interpreter, list: Vec<serde_json::Value>) -> Vec<(usize, cluster::Config)> {
    if list.is_empty() {
        walk.warning("clusters", "is empty: there is nothing to use");
    }
    let read = |(index, value)| Some((index, walk.typed(Some(value), &format!("clusters[{index}]"))?));
    list.into_iter().enumerate().filter_map(read).collect()
}

fn read_file(path: &Path) -> Result<Node, Problem> {
    let text = read_text(path, yaml::MAX_SIZE).map_err(|reason| Problem::new("", format!("{}: {reason}", path.display())))?;
    yaml::read(&text, Some(path))
}

/// The text of a file, up to a maximum size.
fn read_text(path: &Path, limit: usize) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() > limit { Err(format!("is larger than {limit} bytes")) } else { Ok(text) }
}

/// The path after a prefix such as `path:`; `~/` is the home directory.
fn expand(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// Replaces `clusters: path:/folder` by the clusters in the folder, in the order of the file names.
fn read_folder(root: &mut Node, problems: &mut Vec<Problem>) {
    let Value::Mapping(entries) = &mut root.value else { return };
    let Some((_, node)) = entries.iter_mut().find(|(key, _)| key == "clusters") else { return };
    let Value::Scalar { text, .. } = &node.value else { return };
    let Some(folder) = text.strip_prefix("path:").map(expand) else { return };
    let mut clusters = Vec::new();
    let mut failed = |reason: String| problems.push(Problem::new("clusters", reason).at(Some(&node.origin)));
    match yaml_files(&folder) {
        Ok(files) => {
            if files.is_empty() {
                failed(format!("the folder {} holds no *.yaml file", folder.display()));
            }
            for file in files {
                match read_file(&file) {
                    Ok(cluster) => clusters.push(cluster),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        Err(error) => failed(format!("the folder {} cannot be read: {error}", folder.display())),
    }
    node.value = Value::Sequence(clusters);
}

fn yaml_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}
