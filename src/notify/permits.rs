//! The concurrent deliveries of each user and receiver, so that a slow one does not delay the others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The numbers of concurrent deliveries, by the name of the user or receiver.
#[derive(Clone, Debug, Default)]
pub(super) struct DeliveryPermits(Arc<Mutex<HashMap<String, usize>>>);

/// The permit for one delivery, until it is dropped.
#[derive(Debug)]
pub(super) struct DeliveryPermit {
    permits: DeliveryPermits,
    name: String,
}

impl DeliveryPermits {
    /// A permit of this name, if fewer than `max` are taken.
    pub(super) fn take(&self, name: &str, max: usize) -> Option<DeliveryPermit> {
        let mut taken = self.0.lock();
        let count = taken.entry(name.to_owned()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(DeliveryPermit { permits: self.clone(), name: name.to_owned() })
    }
}

impl Drop for DeliveryPermit {
    fn drop(&mut self) {
        let mut taken = self.permits.0.lock();
        if let Some(count) = taken.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_is_available_again_and_names_without_permits_are_removed() {
        let permits = DeliveryPermits::default();
        let (one, two) = (permits.take("a", 2), permits.take("a", 2));
        assert!(one.is_some() && two.is_some() && permits.take("a", 2).is_none() && permits.take("b", 2).is_some());
        drop(one);
        assert!(permits.take("a", 2).is_some());
        drop(two);
        assert!(permits.0.lock().is_empty());
    }
}
