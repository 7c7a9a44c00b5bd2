//! Systems as shown to callers, each serialised once for each result of the health checker.
//!
//! Web portals request all systems again and again, and serialising one takes longer than the rest of the request. This module does
//! not decide who may see which system.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::value::{RawValue, to_raw_value};

use crate::cluster::Cluster;
use crate::domain::{ClusterHealth, Maintenance, SystemName};
use crate::http::status::system_model::HPCCluster;

/// The serialised form of each system.
#[derive(Default)]
pub(crate) struct SystemCache(RwLock<BTreeMap<SystemName, Written>>);

struct Written {
    health: ClusterHealth,
    text: Arc<RawValue>,
}

impl SystemCache {
    /// The current state of the system, and this maintenance, which does not change during the life of the cache.
    ///
    /// # Errors
    /// If it cannot be serialised as JSON.
    pub(crate) fn get(&self, cluster: &Cluster, maintenance: Option<&Maintenance>) -> serde_json::Result<Arc<RawValue>> {
        if let Some(written) = self.0.read().get(cluster.name())
            && cluster.is_as_found(&written.health)
        {
            return Ok(Arc::clone(&written.text));
        }
        let health = cluster.health();
        let text: Arc<RawValue> = to_raw_value(&HPCCluster::new(cluster, &health, maintenance))?.into();
        let written = Written { health, text: Arc::clone(&text) };
        self.0.write().insert(cluster.name().clone(), written);
        Ok(text)
    }
}
