//! The quotas of namespaces, which are read again where they refuse a job.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use moka::future::Cache;

use super::connection::{Actor, Connection, Selection};
use super::failure::ApiFailure;
use super::quantity;
use crate::scheduler::SchedulerError;

/// For how long the quotas of a namespace that allow a job are believed, and of how many namespaces. A job that is submitted although they allow
/// it no more waits for its pod.
const REMEMBERED: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: u64 = 10_000;

/// The quotas of all namespaces. Clones share them.
#[derive(Clone)]
pub(super) struct Quotas(Cache<Arc<str>, Arc<[ResourceQuota]>>);

impl Quotas {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_REMEMBERED).time_to_live(REMEMBERED).build())
    }

    /// Refuses a pod that no quota of its namespace could ever hold.
    ///
    /// # Errors
    /// As [`quantity::check`], by quotas that were read a moment ago.
    pub(super) async fn check(
        &self,
        connection: &Connection,
        namespace: &Arc<str>,
        resources: &BTreeMap<String, Quantity>,
    ) -> Result<(), SchedulerError> {
        if let Some(known) = self.0.get(namespace).await
            && quantity::check(&known, resources).is_ok()
        {
            return Ok(());
        }
        let quotas: Arc<[ResourceQuota]> = list(connection, namespace).await?.into();
        self.0.insert(Arc::clone(namespace), Arc::clone(&quotas)).await;
        quantity::check(&quotas, resources)
    }
}

/// The quotas of a namespace as they are now.
pub(super) async fn list(connection: &Connection, namespace: &str) -> Result<Vec<ResourceQuota>, SchedulerError> {
    connection.list(Actor::Own, Some(namespace), Selection::default()).await.map_err(ApiFailure::without_effect)
}
