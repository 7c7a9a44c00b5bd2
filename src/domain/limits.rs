//! The limits of jobs, and the resources that jobs have used.

use std::collections::BTreeMap;

use super::JobId;

/// The limits of a user's jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobLimits {
    /// The limits of each partition or queue.
    pub partitions: Vec<PartitionLimits>,
    /// Of each quality of service; `None` where the scheduler has none.
    pub qos: Option<Vec<QosLimits>>,
    /// Of each account that the user may charge; `None` where the scheduler has none.
    pub associations: Option<Vec<AssociationLimits>>,
}

/// The limits of a partition or queue. Members that are unlimited are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionLimits {
    /// Its name.
    pub name: String,
    /// Whether jobs that name none use it.
    pub is_default: bool,
    /// Its state in the scheduler's words.
    pub state: Option<String>,
    /// Maximum run time in seconds.
    pub max_time: Option<u64>,
    /// Default run time in seconds.
    pub default_time: Option<u64>,
    /// Minimum number of nodes of a job.
    pub min_nodes: Option<u64>,
    /// Maximum number of nodes of a job.
    pub max_nodes: Option<u64>,
    /// Maximum CPUs of a job on each node.
    pub max_cpus_per_node: Option<u64>,
    /// Maximum memory of a job on each node, in MiB.
    pub max_memory_per_node: Option<u64>,
    /// Maximum memory of a job for each CPU, in MiB.
    pub max_memory_per_cpu: Option<u64>,
    /// Default memory on each node, in MiB.
    pub default_memory_per_node: Option<u64>,
    /// Default memory for each CPU, in MiB.
    pub default_memory_per_cpu: Option<u64>,
    /// The qualities of service that may be used there; all if absent.
    pub allowed_qos: Option<Vec<String>>,
    /// The accounts that may be charged there; all if absent.
    pub allowed_accounts: Option<Vec<String>>,
    /// The groups whose members may use it; all if absent.
    pub allowed_groups: Option<Vec<String>>,
    /// Most of further resources of a job, in the scheduler's notation.
    pub max_resources: BTreeMap<String, String>,
    /// Its resources in total, in the scheduler's notation.
    pub total_resources: BTreeMap<String, String>,
}

/// The limits of a quality of service. Members that are unlimited are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QosLimits {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: Option<i64>,
    /// Maximum run time in seconds.
    pub max_time: Option<u64>,
    /// Maximum resources of a job.
    pub max_resources_per_job: BTreeMap<String, String>,
    /// Maximum resources of all running jobs of a user.
    pub max_resources_per_user: BTreeMap<String, String>,
    /// Maximum number of running jobs of a user.
    pub max_jobs_per_user: Option<u64>,
    /// Maximum number of running and pending jobs of a user.
    pub max_submitted_per_user: Option<u64>,
    /// Maximum resources of all running jobs together.
    pub max_resources_in_all: BTreeMap<String, String>,
}

/// The limits of jobs that charge an account. Members that are unlimited are absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssociationLimits {
    /// The account.
    pub account: String,
    /// The partition that the limits apply to; all if absent.
    pub partition: Option<String>,
    /// The default quality of service.
    pub default_qos: Option<String>,
    /// The qualities of service that may be used.
    pub qos: Vec<String>,
    /// Maximum run time in seconds.
    pub max_time: Option<u64>,
    /// Maximum number of running jobs.
    pub max_jobs: Option<u64>,
    /// Maximum number of running and pending jobs.
    pub max_submitted: Option<u64>,
    /// Maximum resources of a job.
    pub max_resources_per_job: BTreeMap<String, String>,
    /// Maximum resources of all running jobs together.
    pub max_resources_in_all: BTreeMap<String, String>,
    /// The user's share of the system.
    pub fair_share: Option<FairShare>,
}

/// The share of the system that a user of an account is due, and what was used of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FairShare {
    /// The shares that the site assigned; `parent` for those of the account.
    pub shares: String,
    /// The same as a fraction of all shares, from 0 to 1.
    pub normalized_shares: Option<f64>,
    /// The usage in CPU seconds, which decays with time.
    pub raw_usage: Option<u64>,
    /// The same as a fraction of all shares, from 0 to 1.
    pub effective_usage: Option<f64>,
    /// The fair-share factor of the priority of jobs, from 0 to 1.
    pub factor: Option<f64>,
}

/// The resources that a job has used, as far as the scheduler knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct JobUsage {
    /// The job.
    pub id: JobId,
    /// Whether it is a user's or a group's.
    pub user: Option<String>,
    /// The account charged.
    pub account: Option<String>,
    /// The resources that it has used.
    pub resources: ResourceUsage,
}

/// An amount of resources. What is not known is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourceUsage {
    /// Run time in seconds.
    pub elapsed: Option<u64>,
    /// Node seconds allocated.
    pub node_seconds: Option<u64>,
    /// CPU seconds allocated.
    pub cpu_seconds: Option<u64>,
    /// CPU seconds used.
    pub cpu_seconds_used: Option<f64>,
    /// GPU seconds allocated.
    pub gpu_seconds: Option<u64>,
    /// The peak memory of one task, in bytes.
    pub peak_memory: Option<u64>,
    /// Energy in joules.
    pub energy: Option<u64>,
}

impl ResourceUsage {
    /// Adds what another job has used. Of the memory, the larger peak counts.
    pub fn add(&mut self, other: &Self) {
        fn sum<T: Copy + std::ops::Add<Output = T>>(own: &mut Option<T>, other: Option<T>) {
            *own = match (*own, other) {
                (Some(own), Some(other)) => Some(own + other),
                (own, other) => own.or(other),
            };
        }
        sum(&mut self.elapsed, other.elapsed);
        sum(&mut self.node_seconds, other.node_seconds);
        sum(&mut self.cpu_seconds, other.cpu_seconds);
        sum(&mut self.cpu_seconds_used, other.cpu_seconds_used);
        sum(&mut self.gpu_seconds, other.gpu_seconds);
        sum(&mut self.energy, other.energy);
        self.peak_memory = self.peak_memory.max(other.peak_memory);
    }
}
