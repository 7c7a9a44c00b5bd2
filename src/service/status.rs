//! The state of clusters: all of them, and one of them in detail.

use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::Cluster;
use crate::domain::{Account, Identity, JobLimits, Node, Partition, Reading, Reported, Reservation, SystemName};

use super::{Access, AccessError, Caller, Gate, ServiceError};

/// The clusters that the caller may use, with their health.
///
/// # Errors
/// If no decision could be obtained.
pub async fn systems<'a>(gate: &'a Gate, caller: &Caller) -> Result<Vec<&'a Arc<Cluster>>, AccessError> {
    gate.visible(caller).await
}

/// When each cluster was last checked. It takes no caller: it says that this process lives, and nothing of the clusters but
/// their names.
pub fn last_checks(gate: &Gate) -> Vec<(SystemName, Timestamp)> {
    gate.clusters().filter_map(|cluster| Some((cluster.name().clone(), cluster.health().last_check?))).collect()
}

/// The nodes.
///
/// # Errors
/// If there is no scheduler, or it does not answer.
pub async fn nodes(access: &Access) -> Result<Reading<Vec<Node>>, ServiceError> {
    Ok(access.cluster().scheduler_without_health_check()?.nodes(access.principal()).await?)
}

/// The partitions or queues; `hidden` adds those not shown to everyone.
///
/// # Errors
/// If there is no scheduler, or it does not answer.
pub async fn partitions(access: &Access, hidden: bool) -> Result<Reading<Vec<Partition>>, ServiceError> {
    Ok(access.cluster().scheduler_without_health_check()?.partitions(access.principal(), hidden).await?)
}

/// The reservations.
///
/// # Errors
/// If there is no scheduler, or it does not answer.
pub async fn reservations(access: &Access) -> Result<Reading<Vec<Reservation>>, ServiceError> {
    Ok(access.cluster().scheduler_without_health_check()?.reservations(access.principal()).await?)
}

/// The limits of the caller's jobs.
///
/// # Errors
/// If there is no scheduler, it cannot tell, or it does not answer.
pub async fn limits(access: &Access) -> Result<Reported<JobLimits>, ServiceError> {
    Ok(access.cluster().scheduler_without_health_check()?.limits(access.principal()).await?)
}

/// The caller's account on the cluster, and the accounts that the caller may charge.
///
/// # Errors
/// If the cluster or its scheduler does not answer.
pub async fn user(access: &Access) -> Result<(Identity, Reading<Option<Vec<Account>>>), ServiceError> {
    let files = access.files().await?;
    let scheduler = access.cluster().scheduler_without_health_check()?;
    let identity = async { files.identity(access.principal()).await.map_err(ServiceError::from) };
    let accounts = async { scheduler.accounts(access.principal()).await.map_err(ServiceError::from) };
    futures::future::try_join(identity, accounts).await
}
