//! Systems as callers are shown them, each written out once for each finding of the checker.
//!
//! Web portals ask for all systems again and again, and writing one out takes longer than everything else about the request. Who may
//! see which is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::value::{RawValue, to_raw_value};

use crate::cluster::Cluster;
use crate::domain::{ClusterHealth, Maintenance, SystemName};
use crate::http::status::system_model::HPCCluster;

/// What was written of each system.
#[derive(Default)]
pub(crate) struct SystemCache(RwLock<BTreeMap<SystemName, Written>>);

struct Written {
    health: ClusterHealth,
    text: Arc<RawValue>,
}

impl SystemCache {
    /// The system as it is now, and under this maintenance, which is the same for as long as there is this cache.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
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
