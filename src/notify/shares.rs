//! The concurrent deliveries of each user and receiver, so that a slow one does not delay the others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The number of deliveries under way, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<HashMap<String, usize>>>);

/// A part of somebody's share, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Shares,
    name: String,
}

impl Shares {
    /// A part of the share of this name, if fewer than `max` are taken.
    pub(super) fn take(&self, name: &str, max: usize) -> Option<Share> {
        let mut taken = self.0.lock();
        let count = taken.entry(name.to_owned()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Share { shares: self.clone(), name: name.to_owned() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.0.lock();
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
    fn a_share_is_there_again_once_it_was_given_back_and_names_without_any_are_forgotten() {
        let shares = Shares::default();
        let (one, two) = (shares.take("a", 2), shares.take("a", 2));
        assert!(one.is_some() && two.is_some() && shares.take("a", 2).is_none() && shares.take("b", 2).is_some());
        drop(one);
        assert!(shares.take("a", 2).is_some());
        drop(two);
        assert!(shares.0.lock().is_empty());
    }
}
