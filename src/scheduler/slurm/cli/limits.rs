//! The limits of jobs: partitions by scontrol(1), qualities of service and associations by sacctmgr(1), shares by sshare(1).

use std::collections::BTreeMap;

use super::slurm_command;
use crate::domain::{AssociationLimits, FairShare, PartitionLimits, QosLimits, Username, bytes_to_text};
use crate::scheduler::directives::seconds;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The partitions that the user sees.
pub(super) struct ShowPartitions;

impl RemoteCommand for ShowPartitions {
    type Output = Vec<PartitionLimits>;

    fn command_line(&self) -> CommandLine {
        slurm_command("scontrol").flag("--oneliner").flag("show").flag("partition")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        Ok(bytes_to_text(&raw.stdout).lines().filter(|line| line.starts_with("PartitionName=")).map(partition).collect())
    }
}

fn partition(line: &str) -> PartitionLimits {
    let fields: BTreeMap<&str, &str> = line.split_whitespace().filter_map(|field| field.split_once('=')).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let number = |name: &str| field(name).parse::<u64>().ok();
    let names = |name: &str| (!matches!(field(name), "" | "ALL")).then(|| list(field(name)));
    PartitionLimits {
        name: field("PartitionName").to_owned(),
        is_default: field("Default") == "YES",
        state: Some(field("State").to_owned()),
        max_time: time(field("MaxTime")),
        default_time: time(field("DefaultTime")),
        min_nodes: number("MinNodes").filter(|nodes| *nodes > 0),
        max_nodes: number("MaxNodes"),
        max_cpus_per_node: number("MaxCPUsPerNode"),
        max_memory_per_node: number("MaxMemPerNode"),
        max_memory_per_cpu: number("MaxMemPerCPU"),
        default_memory_per_node: number("DefMemPerNode"),
        default_memory_per_cpu: number("DefMemPerCPU"),
        allowed_qos: names("AllowQos"),
        allowed_accounts: names("AllowAccounts"),
        allowed_groups: names("AllowGroups"),
        max_resources: BTreeMap::new(),
        total_resources: resources(field("TRES")),
    }
}

/// The qualities of service.
pub(super) struct ShowQos;

impl RemoteCommand for ShowQos {
    type Output = Vec<QosLimits>;

    fn command_line(&self) -> CommandLine {
        let format = "format=Name,Priority,MaxWall,MaxTRES,MaxTRESPU,MaxJobsPU,MaxSubmitPU,GrpTRES";
        slurm_command("sacctmgr").flag("--noheader").flag("--parsable2").flag("show").flag("qos").flag(format)
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let qos = |fields: &[&str]| match fields {
            &[name, priority, wall, per_job, per_user, jobs, submitted, in_all] => Some(QosLimits {
                name: name.to_owned(),
                priority: priority.parse().ok(),
                max_time: time(wall),
                max_resources_per_job: resources(per_job),
                max_resources_per_user: resources(per_user),
                max_jobs_per_user: jobs.parse().ok(),
                max_submitted_per_user: submitted.parse().ok(),
                max_resources_in_all: resources(in_all),
            }),
            _ => None,
        };
        records(&raw, qos)
    }
}

/// The associations of a user on one cluster.
pub(super) struct ShowAssociations<'a> {
    pub(super) user: &'a Username,
    pub(super) cluster: &'a str,
}

impl RemoteCommand for ShowAssociations<'_> {
    type Output = Vec<AssociationLimits>;

    fn command_line(&self) -> CommandLine {
        let format = "format=Cluster,Account,Partition,DefaultQOS,QOS,MaxJobs,MaxSubmit,MaxWall,MaxTRES,GrpTRES";
        let line = slurm_command("sacctmgr").flag("--noheader").flag("--parsable2").flag("show").flag("assoc");
        line.arg(format!("user={}", self.user)).flag(format)
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let association = |fields: &[&str]| match fields {
            &[cluster, account, partition, default, qos, jobs, submitted, wall, per_job, in_all] if cluster == self.cluster => {
                Some(AssociationLimits {
                    account: account.to_owned(),
                    partition: given(partition),
                    default_qos: given(default),
                    qos: list(qos),
                    max_time: time(wall),
                    max_jobs: jobs.parse().ok(),
                    max_submitted: submitted.parse().ok(),
                    max_resources_per_job: resources(per_job),
                    max_resources_in_all: resources(in_all),
                    fair_share: None,
                })
            }
            _ => None,
        };
        records(&raw, association)
    }
}

/// The shares of a user, by account.
pub(super) struct Sshare<'a>(pub(super) &'a Username);

impl RemoteCommand for Sshare<'_> {
    type Output = BTreeMap<String, FairShare>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("sshare").flag("--noheader").flag("--parsable2");
        line.option("--users", self.0.as_str()).flag("--format=Account,User,RawShares,NormShares,RawUsage,EffectvUsage,FairShare")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        // Lines of other users are those of the accounts above.
        let share = |fields: &[&str]| match fields {
            &[account, user, shares, normalized, usage, effective, factor] if user == self.0.as_str() => {
                let share = FairShare {
                    shares: shares.to_owned(),
                    normalized_shares: normalized.parse().ok(),
                    raw_usage: usage.parse().ok(),
                    effective_usage: effective.parse().ok(),
                    factor: factor.parse().ok(),
                };
                Some((account.trim().to_owned(), share))
            }
            _ => None,
        };
        records(&raw, share).map(|shares| shares.into_iter().collect())
    }
}

/// The lines that are records, which none of the others is: a greeting of the login shell.
fn records<T>(raw: &RawOutput, read: impl Fn(&[&str]) -> Option<T>) -> Result<Vec<T>, CommandError> {
    raw.success()?;
    let text = bytes_to_text(&raw.stdout);
    Ok(text.lines().filter_map(|line| read(&line.split('|').collect::<Vec<_>>())).collect())
}

/// A time limit in seconds; nothing if there is none.
fn time(text: &str) -> Option<u64> {
    seconds(text).filter(|seconds| *seconds > 0)
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// `cpu=4,mem=2000M` by name.
fn resources(text: &str) -> BTreeMap<String, String> {
    text.split(',').filter_map(|entry| entry.split_once('=')).map(|(name, amount)| (name.to_owned(), amount.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;

    const RELEASES: [&str; 3] = ["22.05", "24.11", "26.05"];

    #[test]
    fn recorded_partitions_are_read_with_what_they_allow() {
        for release in RELEASES {
            let found = ShowPartitions.parse(recorded(release, "all.scontrol-partition")).unwrap();
            let read: Vec<_> =
                found.iter().map(|limits| (limits.name.as_str(), limits.is_default, limits.max_time, limits.default_time)).collect();
            let expected =
                [("normal", true, Some(86_400), Some(600)), ("long", false, None, Some(3600)), ("closed", false, Some(3600), None)];
            assert_eq!(read, expected, "{release}");
            assert_eq!((found[2].state.as_deref(), found[0].max_nodes, &found[0].allowed_qos), (Some("DOWN"), None, &None), "{release}");
            assert_eq!(found[0].total_resources["mem"], "2000M", "{release}");
        }
    }

    #[test]
    fn recorded_qos_associations_and_shares_are_read() {
        let user = Username::new("fireuser").unwrap();
        for (release, cluster) in RELEASES.into_iter().zip(["goldcrest2205", "goldcrest2411", "goldcrest2605"]) {
            let qos = ShowQos.parse(recorded(release, "all.sacctmgr-qos")).unwrap();
            assert_eq!(qos.iter().map(|qos| (qos.name.as_str(), qos.priority)).collect::<Vec<_>>(), [("normal", Some(0))], "{release}");
            let show = ShowAssociations { user: &user, cluster };
            let mut accounts: Vec<String> =
                show.parse(recorded(release, "all.sacctmgr-assoc")).unwrap().into_iter().map(|found| found.account).collect();
            accounts.sort_unstable();
            assert_eq!(accounts, ["fireuser", "shared"], "{release}");
            let shares = Sshare(&user).parse(recorded(release, "all.sshare")).unwrap();
            assert_eq!(shares.keys().map(String::as_str).collect::<Vec<_>>(), ["fireuser", "shared"], "{release}");
            assert_eq!(shares["shared"].shares, "1", "{release}");
        }
    }

    #[test]
    fn limits_that_are_set_are_told() {
        let line = "PartitionName=gpu AllowGroups=hpc AllowAccounts=a,b AllowQos=high Default=NO DefaultTime=NONE MaxNodes=4 MaxTime=02:00:00 MinNodes=1 MaxCPUsPerNode=64 State=UP DefMemPerCPU=2000 MaxMemPerNode=256000 TRES=cpu=4,gres/gpu=8";
        let limits = partition(line);
        assert_eq!((limits.max_nodes, limits.min_nodes, limits.max_cpus_per_node), (Some(4), Some(1), Some(64)));
        assert_eq!((limits.default_memory_per_cpu, limits.max_memory_per_node), (Some(2000), Some(256_000)));
        assert_eq!(limits.allowed_accounts, Some(vec!["a".to_owned(), "b".to_owned()]));
        let raw = RawOutput { stdout: "high|10|1-00:00:00|cpu=8|gres/gpu=4|2|10|node=5\nWelcome!\n".into(), ..RawOutput::default() };
        let qos = ShowQos.parse(raw).unwrap();
        assert_eq!((qos[0].max_time, qos[0].max_jobs_per_user, qos[0].max_submitted_per_user), (Some(86_400), Some(2), Some(10)));
        assert_eq!((&*qos[0].max_resources_per_user["gres/gpu"], &*qos[0].max_resources_in_all["node"]), ("4", "5"));
    }
}
