//! Limits and set-up on the wire.
//!
//! Parameters are listed one by one: a new key of the configuration is not shown until it is added here.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::cluster::{self, Cluster};
use crate::http::Config;

/// Limits and settings, by subject.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct GetParametersResponse {
    /// Parameters of every request.
    general: Vec<Parameter>,
    /// Parameters of jobs.
    compute: Vec<Parameter>,
    /// Parameters of file systems.
    storage: Vec<Parameter>,
    /// Parameters of file operations.
    utilities: Vec<Parameter>,
}

/// A limit or a setting.
#[derive(Serialize, ToSchema)]
struct Parameter {
    #[schema(example = "UTILITIES_TIMEOUT")]
    name: &'static str,
    /// A number, a string, or a list of them.
    #[schema(value_type = Value)]
    value: Value,
    /// The unit of a number; empty for other values.
    #[schema(example = "seconds")]
    unit: &'static str,
    description: &'static str,
    /// The system that it applies to; null if it applies to all.
    system: Option<String>,
}

impl GetParametersResponse {
    /// The parameters of the service and of these clusters.
    pub(in crate::http) fn new<'a>(config: &Config, clusters: impl Iterator<Item = &'a Cluster>) -> Self {
        let general = vec![
            parameter("VERSION", json!(env!("CARGO_PKG_VERSION")), "", "Version of the service"),
            parameter("REQUEST_TIMEOUT", json!(config.request_timeout), "seconds", "The longest time that a request takes"),
            parameter("MAX_BODY_SIZE", json!(config.max_body_size), "bytes", "The largest JSON document of a request"),
        ];
        let mut all = Self { general, compute: Vec::new(), storage: Vec::new(), utilities: Vec::new() };
        for cluster in clusters {
            all.add(cluster.config());
        }
        all
    }

    fn add(&mut self, cluster: &cluster::Config) {
        let of = |parameter: Parameter| Parameter { system: Some(cluster.name.as_str().to_owned()), ..parameter };
        let data = &cluster.data_operation;
        if let Some(scheduler) = &cluster.scheduler {
            let common = scheduler.common();
            self.compute.extend([
                of(parameter("WORKLOAD_MANAGER", json!(scheduler.kind()), "", "The batch scheduler")),
                of(parameter("WORKLOAD_MANAGER_VERSION", json!(common.version), "", "Its version, as the site states it")),
                of(parameter("READ_FRESHNESS", json!(common.read_freshness), "seconds", "How long an answer about jobs is given again")),
            ]);
        }
        let paths: Vec<_> = cluster.file_systems.iter().map(|mounted| mounted.path.to_text()).collect();
        self.storage.push(of(parameter("FILESYSTEMS", json!(paths), "", "Where file systems are mounted")));
        if let Some(ssh) = &cluster.ssh {
            self.utilities.extend([
                of(parameter("UTILITIES_MAX_FILE_SIZE", json!(data.max_ops_file_size), "bytes", "The largest file of direct operations")),
                of(parameter("UTILITIES_TIMEOUT", json!(ssh.timeout.command_execution), "seconds", "The longest time of a command")),
            ]);
        }
    }
}

fn parameter(name: &'static str, value: Value, unit: &'static str, description: &'static str) -> Parameter {
    Parameter { name, value, unit, description, system: None }
}
