//! The memory limit for file contents in transit, for all transfers of the process together.
//!
//! A transfer requests blocks ahead, and the cluster answers whether or not the client has read the blocks before; and content that is
//! written waits in buffers for the cluster. So a block is requested, or written, only if there is memory for it. Each transfer
//! has a small reserve of its own, so that none waits for another; beyond that they share a pool, of which each may have its fair part
//! as long as there is some left. It must not know what is read or written.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The memory of each transfer, in bytes: two of the largest blocks, so that one is in transit while the other is processed.
const TRANSFER_RESERVE: usize = 512 * 1024;

/// The memory of all transfers beyond that, in bytes.
const POOL_BYTES: usize = 16 * 1024 * 1024;

/// The maximum memory of a transfer, in bytes: the bandwidth-delay product of 160 MB/s and 50 ms.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Memory is the process's, and so is this.
static BUDGET: Budget = Budget::new();

struct Budget {
    /// The rest of the pool.
    pool: Semaphore,
    transfers: AtomicUsize,
}

impl Budget {
    const fn new() -> Self {
        Self { pool: Semaphore::const_new(POOL_BYTES), transfers: AtomicUsize::new(0) }
    }
}

/// The share of one transfer.
pub struct Share {
    budget: &'static Budget,
    held: usize,
}

/// The permit to request a block, or to write one. It is released when the block was forwarded, or its writing acknowledged.
pub struct Grant {
    bytes: usize,
    _pool: Option<SemaphorePermit<'static>>,
}

impl Share {
    /// One more transfer.
    pub fn new() -> Self {
        Self::of(&BUDGET)
    }

    fn of(budget: &'static Budget) -> Self {
        budget.transfers.fetch_add(1, Ordering::Relaxed);
        Self { budget, held: 0 }
    }

    /// Takes a permit for this many more bytes if there is memory for them. A transfer without any always gets it.
    pub fn grant(&mut self, bytes: usize) -> Option<Grant> {
        let after = self.held + bytes;
        let pool = if after <= TRANSFER_RESERVE || self.held == 0 {
            None
        } else {
            let fair = POOL_BYTES / self.budget.transfers.load(Ordering::Relaxed).max(1);
            if after > fair.min(MAX_BYTES) {
                return None;
            }
            Some(self.budget.pool.try_acquire_many(u32::try_from(bytes).ok()?).ok()?)
        };
        self.held = after;
        Some(Grant { bytes, _pool: pool })
    }

    /// Releases the bytes of a permit.
    pub fn release(&mut self, grant: Option<Grant>) {
        self.held -= grant.map_or(0, |grant| grant.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 255 * 1024;

    #[test]
    fn transfers_have_their_own_part_and_share_the_pool_without_ever_going_over_it() {
        let take_all = |share: &mut Share| {
            let grants: Vec<Grant> = std::iter::from_fn(|| share.grant(BLOCK)).collect();
            (grants.len() * BLOCK, grants)
        };
        let budget: &Budget = Box::leak(Box::new(Budget::new()));
        let mut first = Share::of(budget);
        let (alone, grants) = take_all(&mut first);
        assert!(alone > MAX_BYTES - BLOCK && alone <= MAX_BYTES, "{alone}");
        let mut others: Vec<Share> = (0..31).map(|_| Share::of(budget)).collect();
        let taken: Vec<_> = others.iter_mut().map(take_all).collect();
        assert!(taken.iter().all(|(bytes, _)| *bytes > TRANSFER_RESERVE - BLOCK), "one has not its own part");
        let all = alone + taken.iter().map(|(bytes, _)| bytes).sum::<usize>();
        assert!(all <= POOL_BYTES + 32 * TRANSFER_RESERVE, "{all}");
        assert!(first.grant(BLOCK).is_none(), "it holds more than its fair part");
        for grant in grants {
            first.release(Some(grant));
        }
        drop((taken, others));
        assert_eq!((first.held, budget.pool.available_permits()), (0, POOL_BYTES));
        let whole = first.grant(2 * MAX_BYTES).expect("a block may be larger than all that is there");
        first.release(Some(whole));
    }
}
