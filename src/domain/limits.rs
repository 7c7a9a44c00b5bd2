//! What jobs may ask for, and what jobs have used.

use std::collections::BTreeMap;

use super::JobId;

/// What jobs of a user may ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Of each partition or queue.
    pub partitions: Vec<PartitionLimits>,
    /// Of each quality of service; `None` where the scheduler has none.
    pub qos: Option<Vec<QosLimits>>,
    /// Of each account that the user may charge; `None` where the scheduler has none.
    pub associations: Option<Vec<AssociationLimits>>,
}

/// What a partition or queue allows. What is not limited is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionLimits {
    /// Its name.
    pub name: String,
    /// Whether jobs go there that name none.
    pub is_default: bool,
    /// Its state in the scheduler's words.
    pub state: Option<String>,
    /// Longest run time in seconds.
    pub max_time: Option<u64>,
    /// Run time in seconds of jobs that ask for none.
    pub default_time: Option<u64>,
    /// Fewest nodes of a job.
    pub min_nodes: Option<u64>,
    /// Most nodes of a job.
    pub max_nodes: Option<u64>,
    /// Most CPUs of a job on each node.
    pub max_cpus_per_node: Option<u64>,
    /// Most memory of a job on each node, in MiB.
    pub max_memory_per_node: Option<u64>,
    /// Most memory of a job for each CPU, in MiB.
    pub max_memory_per_cpu: Option<u64>,
    /// Memory on each node of jobs that ask for none, in MiB.
    pub default_memory_per_node: Option<u64>,
    /// Memory for each CPU of jobs that ask for none, in MiB.
    pub default_memory_per_cpu: Option<u64>,
    /// The qualities of service that may be used there; all where absent.
    pub allowed_qos: Option<Vec<String>>,
    /// The accounts that may be charged there; all where absent.
    pub allowed_accounts: Option<Vec<String>>,
    /// The groups whose members may use it; all where absent.
    pub allowed_groups: Option<Vec<String>>,
    /// Most of further resources of a job, in the scheduler's notation.
    pub max_resources: BTreeMap<String, String>,
    /// What it has in all, in the scheduler's notation.
    pub total_resources: BTreeMap<String, String>,
}

/// What a quality of service allows. What is not limited is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QosLimits {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: Option<i64>,
    /// Longest run time in seconds.
    pub max_time: Option<u64>,
    /// Most resources of a job.
    pub max_resources_per_job: BTreeMap<String, String>,
    /// Most resources of all running jobs of a user.
    pub max_resources_per_user: BTreeMap<String, String>,
    /// Most running jobs of a user.
    pub max_jobs_per_user: Option<u64>,
    /// Most running and waiting jobs of a user.
    pub max_submitted_per_user: Option<u64>,
    /// Most resources of all running jobs together.
    pub max_resources_in_all: BTreeMap<String, String>,
}

/// What jobs that charge an account may ask for. What is not limited is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssociationLimits {
    /// The account.
    pub account: String,
    /// The one partition that is meant; all where absent.
    pub partition: Option<String>,
    /// The quality of service of jobs that name none.
    pub default_qos: Option<String>,
    /// The qualities of service that may be used.
    pub qos: Vec<String>,
    /// Longest run time in seconds.
    pub max_time: Option<u64>,
    /// Most running jobs.
    pub max_jobs: Option<u64>,
    /// Most running and waiting jobs.
    pub max_submitted: Option<u64>,
    /// Most resources of a job.
    pub max_resources_per_job: BTreeMap<String, String>,
    /// Most resources of all running jobs together.
    pub max_resources_in_all: BTreeMap<String, String>,
    /// The share of the system that the user is due.
    pub fair_share: Option<FairShare>,
}

/// The share of the system that a user of an account is due, and what was used of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FairShare {
    /// Shares that the site gave; `parent` for those of the account.
    pub shares: String,
    /// The same as a part of the whole, from 0 to 1.
    pub normalized_shares: Option<f64>,
    /// What was used, in CPU seconds that lose weight with time.
    pub raw_usage: Option<u64>,
    /// The same as a part of the whole, from 0 to 1.
    pub effective_usage: Option<f64>,
    /// The factor that the priority of jobs has of it, from 0 to 1.
    pub factor: Option<f64>,
}

/// What a job has used, as far as the scheduler knows.
#[derive(Clone, Debug, PartialEq)]
pub struct JobUsage {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub user: Option<String>,
    /// The account charged.
    pub account: Option<String>,
    /// What it has used.
    pub resources: ResourceUsage,
}

/// An amount of resources. What is not known is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourceUsage {
    /// Seconds run.
    pub elapsed: Option<u64>,
    /// Seconds of nodes that were allocated.
    pub node_seconds: Option<u64>,
    /// Seconds of CPUs that were allocated.
    pub cpu_seconds: Option<u64>,
    /// Seconds that CPUs worked.
    pub cpu_seconds_used: Option<f64>,
    /// Seconds of GPUs that were allocated.
    pub gpu_seconds: Option<u64>,
    /// The most memory that one task had at a time, in bytes.
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
