//! The resources used by jobs, summed by user and account.

use std::collections::BTreeMap;

use super::{Access, AccountingRequest, ServiceError};
use crate::domain::{JobUsage, Reported, ResourceUsage};

/// The sum of the resources that some jobs have used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    /// The number of jobs.
    pub jobs: u64,
    /// The resources that they have used.
    pub resources: ResourceUsage,
}

/// Totals of the jobs of a query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Of all.
    pub total: Total,
    /// By user.
    pub users: BTreeMap<String, Total>,
    /// By account.
    pub accounts: BTreeMap<String, Total>,
    /// By job, if the request names jobs.
    pub jobs: BTreeMap<String, Total>,
}

impl Total {
    fn add(&mut self, resources: &ResourceUsage) {
        self.jobs += 1;
        self.resources.add(resources);
    }
}

/// Sums the resources used by the jobs in a time span of the accounting database, or by the given jobs.
///
/// # Errors
/// If the query breaks a rule, the scheduler keeps no accounting, or it does not answer.
pub async fn sum(access: &Access, request: AccountingRequest) -> Result<Reported<Sums>, ServiceError> {
    let query = request.check(jiff::Timestamp::now())?;
    let usage = access.cluster().scheduler()?.usage(access.principal(), &query).await?;
    let by_job = !query.jobs.is_empty();
    Ok(usage.map(|jobs| sums(&jobs, by_job)))
}

fn sums(jobs: &[JobUsage], by_job: bool) -> Sums {
    let mut sums = Sums::default();
    for job in jobs {
        sums.total.add(&job.resources);
        let names = [(&mut sums.users, job.user.as_deref()), (&mut sums.accounts, job.account.as_deref())];
        let names = names.into_iter().chain(by_job.then_some((&mut sums.jobs, Some(job.id.as_str()))));
        for (totals, name) in names {
            if let Some(name) = name {
                totals.entry(name.to_owned()).or_default().add(&job.resources);
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobId;

    fn job(id: &str, user: &str, account: Option<&str>, cpu_seconds: u64, peak_memory: Option<u64>) -> JobUsage {
        JobUsage {
            id: JobId::new(id).unwrap(),
            user: Some(user.to_owned()),
            account: account.map(str::to_owned),
            resources: ResourceUsage { cpu_seconds: Some(cpu_seconds), peak_memory, ..ResourceUsage::default() },
        }
    }

    #[test]
    fn jobs_are_summed_by_user_and_account_and_by_job_where_they_are_named() {
        let jobs = [job("1", "ada", Some("g1"), 10, Some(5)), job("2", "ada", None, 20, None), job("3", "bob", Some("g1"), 40, Some(3))];
        let found = sums(&jobs, true);
        let used = |total: &Total| (total.jobs, total.resources.cpu_seconds, total.resources.peak_memory);
        assert_eq!(used(&found.total), (3, Some(70), Some(5)));
        assert_eq!((used(&found.users["ada"]), used(&found.accounts["g1"])), ((2, Some(30), Some(5)), (2, Some(50), Some(5))));
        assert_eq!(found.jobs.len(), 3);
        assert_eq!(found.total.resources.energy, None);
        assert!(sums(&jobs, false).jobs.is_empty());
    }
}
