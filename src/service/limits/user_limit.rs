//! A limit for each user, and for all users together.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use tokio::sync::Semaphore;

use crate::domain::Username;

/// A bound for each user, and one for all users together, in any unit.
#[derive(Clone)]
pub(in crate::service) struct UserLimit {
    per_user: u64,
    total: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    users: HashMap<Username, Share>,
    total: u64,
}

/// The amount that one user holds.
struct Share {
    amount: u64,
    turn: Arc<Semaphore>,
}

/// An amount taken from a [`UserLimit`], released when dropped.
pub(in crate::service) struct UserPermit {
    limit: UserLimit,
    user: Username,
    amount: u64,
}

impl UserLimit {
    /// A limit of which nothing is held.
    pub(in crate::service) fn new(per_user: u64, total: u64) -> Self {
        Self { per_user, total, held: Arc::default() }
    }

    /// The same limit and the amounts held, with another bound for each user. Amounts already held are kept.
    pub(in crate::service) fn with_bound(&self, per_user: u64) -> Self {
        Self { per_user, ..self.clone() }
    }

    /// The bound for each user.
    pub(in crate::service) fn per_user(&self) -> u64 {
        self.per_user
    }

    /// Takes `amount` more for `user` within both bounds. An amount larger than a bound is granted alone.
    pub(in crate::service) fn take(&self, user: &Username, amount: u64) -> Option<UserPermit> {
        let mut permit = UserPermit { limit: self.clone(), user: user.clone(), amount: 0 };
        permit.resize(amount).then_some(permit)
    }
}

impl UserPermit {
    /// A semaphore with one permit, which all holders of the same user share; a new one if the user holds nothing.
    pub(in crate::service) fn turn(&self) -> Arc<Semaphore> {
        self.limit.held.lock().users.get(&self.user).map_or_else(|| Arc::new(Semaphore::new(1)), |share| Arc::clone(&share.turn))
    }

    /// Changes the amount; returns false, and changes nothing, if that would exceed a bound.
    pub(in crate::service) fn resize(&mut self, amount: u64) -> bool {
        let mut held = self.limit.held.lock();
        let others_of_user = held.users.get(&self.user).map_or(0, |own| own.amount - self.amount);
        let others = held.total - self.amount;
        let fits = |others: u64, bound: u64| others == 0 || others + amount <= bound;
        if amount > self.amount && !(fits(others_of_user, self.limit.per_user) && fits(others, self.limit.total)) {
            return false;
        }
        held.total = others + amount;
        match held.users.get_mut(&self.user) {
            _ if others_of_user + amount == 0 => drop(held.users.remove(&self.user)),
            Some(share) => share.amount = others_of_user + amount,
            None => drop(held.users.insert(self.user.clone(), Share { amount, turn: Arc::new(Semaphore::new(1)) })),
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
    fn another_bound_counts_what_is_held_already() {
        let (limit, ada) = (UserLimit::new(2, u64::MAX), Username::new("ada").unwrap());
        let held = (limit.take(&ada, 1).unwrap(), limit.take(&ada, 1).unwrap());
        assert!(limit.with_bound(3).take(&ada, 1).is_some_and(|_| limit.with_bound(1).take(&ada, 1).is_none()));
        drop(held);
        assert!(limit.held.lock().users.is_empty());
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
