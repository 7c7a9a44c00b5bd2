//! Systems as callers are shown them, each written out once for each finding of the checker.
//!
//! Web portals ask for all systems again and again, and writing one out takes longer than everything else about the request. Who may
//! see which is not known here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::value::{RawValue, to_raw_value};

use super::dto::system::HPCCluster;
use crate::cluster::Cluster;
use crate::domain::{ClusterHealth, SystemName};

/// What was written of each system.
#[derive(Default)]
pub(super) struct Shown(RwLock<BTreeMap<SystemName, Written>>);

struct Written {
    health: ClusterHealth,
    text: Arc<RawValue>,
}

impl Shown {
    /// The system as it is now.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn get(&self, cluster: &Cluster) -> serde_json::Result<Arc<RawValue>> {
        if let Some(written) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(cluster.name())
            && cluster.is_as_found(&written.health)
        {
            return Ok(Arc::clone(&written.text));
        }
        let health = cluster.health();
        let text: Arc<RawValue> = to_raw_value(&HPCCluster::new(cluster, &health))?.into();
        let written = Written { health, text: Arc::clone(&text) };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(cluster.name().clone(), written);
        Ok(text)
    }
}
