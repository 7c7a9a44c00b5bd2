//! What one user may hold at a time, beside all others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::domain::Username;

/// A bound for each user, and one for all together, in whatever is counted.
#[derive(Clone)]
pub(super) struct UserLimit {
    per_user: u64,
    total: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    users: HashMap<Username, u64>,
    total: u64,
}

/// So much of a [`UserLimit`]; given back when dropped.
pub(super) struct UserPermit {
    limit: UserLimit,
    user: Username,
    amount: u64,
}

impl UserLimit {
    /// Nothing is held yet.
    pub(super) fn new(per_user: u64, total: u64) -> Self {
        Self { per_user, total, held: Arc::default() }
    }

    /// So much more for `user`, where that is within both bounds. What is larger than a bound can be had alone.
    pub(super) fn take(&self, user: &Username, amount: u64) -> Option<UserPermit> {
        let mut permit = UserPermit { limit: self.clone(), user: user.clone(), amount: 0 };
        permit.resize(amount).then_some(permit)
    }
}

impl UserPermit {
    /// Makes it so much instead; false, and nothing is changed, where that would be over a bound.
    pub(super) fn resize(&mut self, amount: u64) -> bool {
        let mut held = self.limit.held.lock();
        let others_of_user = held.users.get(&self.user).map_or(0, |own| own - self.amount);
        let others = held.total - self.amount;
        let fits = |others: u64, bound: u64| others == 0 || others + amount <= bound;
        if amount > self.amount && !(fits(others_of_user, self.limit.per_user) && fits(others, self.limit.total)) {
            return false;
        }
        held.total = others + amount;
        if others_of_user + amount == 0 {
            held.users.remove(&self.user);
        } else {
            held.users.insert(self.user.clone(), others_of_user + amount);
        }
        drop(held);
        self.amount = amount;
        true
    }
}

impl Drop for UserPermit {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_so_much_and_leaves_it_to_nobody_else() {
        let (limit, ada, bob) = (UserLimit::new(16, u64::MAX), Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let mut permits: Vec<UserPermit> = (0..16).map(|_| limit.take(&ada, 1).unwrap()).collect();
        assert!(limit.take(&ada, 1).is_none());
        assert!(limit.take(&bob, 1).is_some());
        permits.pop();
        assert!(limit.take(&ada, 1).is_some());
        drop(permits);
        assert!(limit.held.lock().users.is_empty() && limit.held.lock().total == 0);
    }

    #[test]
    fn all_users_together_have_a_bound_and_what_is_not_needed_is_given_back() {
        let (limit, ada, bob) = (UserLimit::new(10, 12), Username::new("ada").unwrap(), Username::new("bob").unwrap());
        let mut whole = limit.take(&ada, 11).expect("alone it may be larger than a user's bound");
        assert!(limit.take(&ada, 1).is_none() && limit.take(&bob, 2).is_none());
        assert!(whole.resize(4));
        assert!(limit.take(&ada, 6).is_some() && limit.take(&ada, 7).is_none());
        assert!(limit.take(&bob, 8).is_some());
        let mut other = limit.take(&bob, 1).unwrap();
        assert!(!other.resize(9) && other.resize(8) && other.resize(2));
        drop((whole, other));
        assert!(limit.take(&bob, 12).is_some());
    }
}
