//! The transfers that wait for their clients, and the ports of the listeners.
//!
//! They are in the memory of this process. Only the digest of a secret is kept; a secret works once, and only in this process.
//! If the process ends, a job whose transfer is lost ends at its own time limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::audit::Requester;
use super::limits::UserLimit;
use crate::domain::{JobId, Principal, RemotePath, SystemName, Username, sha256};
use crate::transfer::streamer::{Direction, Endpoint};

/// Maximum number of waiting transfers of one user.
pub(super) const MAX_WAITING_PER_USER: usize = 64;

/// Maximum number of waiting transfers.
const MAX_WAITING: usize = 4096;

/// How long a job may be in the queue before its transfer is forgotten.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Maximum number of connected clients of one user.
pub(super) const MAX_CONNECTED_PER_USER: u64 = 8;

/// Maximum number of connected clients.
const MAX_CONNECTED: u64 = 256;

/// Maximum number of transfers that move bytes at a time; further connected ones wait. Each holds at most two messages of its client.
const MAX_AT_WORK: usize = 16;

/// Maximum number of attempts with a wrong secret from one address within [`ATTEMPTS_TIME`]. Clients try the ports of a range in turn,
/// also those of other users' transfers, so a few wrong secrets are not an attack.
const MAX_ATTEMPTS: u32 = 100;

/// The time after which attempts are forgotten.
const ATTEMPTS_TIME: Duration = Duration::from_secs(60);

/// Maximum number of addresses whose attempts are counted.
const MAX_ADDRESSES: usize = 4096;

/// The digest of a secret.
type SecretDigest = [u8; 32];

/// A transfer by streamer.
pub(super) struct Transfer {
    pub(super) system: SystemName,
    pub(super) direction: Direction,
    /// The file on the cluster.
    pub(super) path: RemotePath,
    /// The job that represents it.
    pub(super) job: JobId,
    /// The file whose content tells the job of the end.
    pub(super) report: RemotePath,
    /// Maximum size of an upload, in bytes.
    pub(super) limit: u64,
    /// The size that the request for an upload announced, in bytes.
    pub(super) size: Option<u64>,
}

/// A transfer that waits for its client.
pub(super) struct WaitingTransfer {
    transfer: Transfer,
    /// The requester, with the newest token since.
    requester: Mutex<Requester>,
    secret: SecretDigest,
    expires: Instant,
    /// Whether a client with the secret is being admitted.
    is_claimed: AtomicBool,
}

impl Deref for WaitingTransfer {
    type Target = Transfer;

    fn deref(&self) -> &Transfer {
        &self.transfer
    }
}

impl WaitingTransfer {
    pub(super) fn requester(&self) -> Requester {
        self.requester.lock().clone()
    }

    pub(super) fn username(&self) -> Username {
        self.requester.lock().principal.username.clone()
    }
}

/// A transfer whose client is being admitted. When this is dropped, the next client with the secret may try.
pub(super) struct AdmissionClaim(Arc<WaitingTransfer>);

impl Deref for AdmissionClaim {
    type Target = WaitingTransfer;

    fn deref(&self) -> &WaitingTransfer {
        &self.0
    }
}

impl Drop for AdmissionClaim {
    fn drop(&mut self) {
        self.0.is_claimed.store(false, Ordering::Release);
    }
}

/// The transfers by the protocol of firecrest-streamer, under any configuration.
pub struct Streams {
    ports: Mutex<HashMap<Endpoint, u16>>,
    waiting: Mutex<HashMap<SecretDigest, Arc<WaitingTransfer>>>,
    attempts: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    pub(super) connected: UserLimit,
    pub(super) places: Arc<Semaphore>,
    /// Work that ends in order: clients that are connected, and the reports to the jobs.
    pub(super) endings: TaskTracker,
    /// Whether the end of the process has cut clients.
    are_cut: AtomicBool,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            ports: Mutex::default(),
            waiting: Mutex::default(),
            attempts: Mutex::default(),
            connected: UserLimit::new(MAX_CONNECTED_PER_USER, MAX_CONNECTED),
            places: Arc::new(Semaphore::new(MAX_AT_WORK)),
            endings: TaskTracker::new(),
            are_cut: AtomicBool::new(false),
        }
    }
}

impl Streams {
    /// Records that the end of the process has cut clients.
    pub fn cut(&self) {
        self.are_cut.store(true, Ordering::Relaxed);
    }

    /// Whether the end of the process has cut clients.
    pub fn were_cut(&self) -> bool {
        self.are_cut.load(Ordering::Relaxed)
    }

    /// Records the port of the listener of an endpoint; none if it does not listen.
    pub fn listening(&self, endpoint: &Endpoint, port: Option<u16>) {
        let mut ports = self.ports.lock();
        match port {
            Some(port) => drop(ports.insert(endpoint.clone(), port)),
            None => drop(ports.remove(endpoint)),
        }
    }

    /// The port of the listener of an endpoint.
    pub(super) fn port(&self, endpoint: &Endpoint) -> Option<u16> {
        self.ports.lock().get(endpoint).copied()
    }

    /// The waiting transfers of a user that have not expired, the oldest first.
    pub(super) fn of_user(&self, user: &Username) -> Vec<Arc<WaitingTransfer>> {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, transfer| transfer.expires > now);
        let mut found: Vec<_> =
            waiting.values().filter(|transfer| transfer.requester.lock().principal.username == *user).cloned().collect();
        drop(waiting);
        found.sort_by_key(|transfer| transfer.expires);
        found
    }

    /// All waiting transfers.
    pub(super) fn all(&self) -> Vec<Arc<WaitingTransfer>> {
        self.waiting.lock().values().cloned().collect()
    }

    /// Whether no further transfer can be added.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.lock().len() >= MAX_WAITING
    }

    /// Adds a transfer that waits for the client with this secret; its running job waits for `wait_timeout`.
    pub(super) fn add(&self, secret: &str, requester: Requester, transfer: Transfer, wait_timeout: Duration) {
        let secret = digest_of(secret);
        let waiting = WaitingTransfer {
            transfer,
            requester: Mutex::new(requester),
            secret,
            expires: Instant::now() + MAX_QUEUE_TIME + wait_timeout,
            is_claimed: AtomicBool::new(false),
        };
        self.waiting.lock().insert(secret, Arc::new(waiting));
    }

    /// The transfer with this secret, unless another client is being admitted with it.
    pub(super) fn claim(&self, secret: &str) -> Option<AdmissionClaim> {
        let secret = digest_of(secret);
        let found = self.waiting.lock().get(&secret).cloned()?;
        // The time of the lookup depends at most on the digest.
        verify_slices_are_equal(&found.secret, &secret).ok()?;
        (found.expires > Instant::now() && !found.is_claimed.swap(true, Ordering::AcqRel)).then(|| AdmissionClaim(found))
    }

    /// Removes a transfer, and so invalidates its secret.
    pub(super) fn remove(&self, waiting: &WaitingTransfer) {
        self.waiting.lock().remove(&waiting.secret);
    }

    /// Gives this token to the waiting transfers of the user, if it is valid for longer: the job may be in the queue for longer than its own
    /// token is valid.
    pub(in crate::service) fn renew(&self, principal: &Arc<Principal>, system: &SystemName) {
        // Work that goes on without a token has none to give.
        if principal.token.expose().is_empty() {
            return;
        }
        for transfer in self.waiting.lock().values().filter(|transfer| transfer.system == *system) {
            let mut requester = transfer.requester.lock();
            let is_newer = requester.principal.username == principal.username
                && requester.principal.subject == principal.subject
                && requester.principal.expires_at < principal.expires_at;
            if is_newer {
                requester.principal = Arc::clone(principal);
            }
        }
    }

    /// Whether an address has sent too many wrong secrets lately.
    pub(super) fn is_barred(&self, address: IpAddr) -> bool {
        self.attempts.lock().get(&address).is_some_and(|(count, since)| *count >= MAX_ATTEMPTS && since.elapsed() < ATTEMPTS_TIME)
    }

    /// Counts a wrong secret.
    pub(super) fn count_attempt(&self, address: IpAddr) {
        let mut attempts = self.attempts.lock();
        if attempts.len() >= MAX_ADDRESSES {
            attempts.retain(|_, (_, since)| since.elapsed() < ATTEMPTS_TIME);
        }
        if attempts.len() >= MAX_ADDRESSES && !attempts.contains_key(&address) {
            return;
        }
        let (count, since) = attempts.entry(address).or_insert((0, Instant::now()));
        if since.elapsed() >= ATTEMPTS_TIME {
            (*count, *since) = (0, Instant::now());
        }
        *count = count.saturating_add(1);
    }
}

fn digest_of(secret: &str) -> SecretDigest {
    sha256(secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn requester(user: &str, subject: &str, expires_at: i64) -> Requester {
        let principal = Principal {
            username: Username::new(user).unwrap(),
            subject: subject.to_owned(),
            client_id: None,
            email: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            expires_at: jiff::Timestamp::from_second(expires_at).unwrap(),
            token: Secret::from("t".to_owned()),
            is_service_account: false,
            validator: None,
        };
        Requester { principal: Arc::new(principal), request_id: "r".into(), address: None }
    }

    fn add(streams: &Streams, secret: &str, user: &str) {
        let path = |text| RemotePath::from_text(text).unwrap();
        let transfer = Transfer {
            system: SystemName::new("daint").unwrap(),
            direction: Direction::Upload,
            path: path("/home/a"),
            job: JobId::new("1").unwrap(),
            report: path("/home/.report"),
            limit: 10,
            size: None,
        };
        streams.add(secret, requester(user, "1", 1_000), transfer, Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_works_for_one_client_until_the_transfer_is_forgotten() {
        let streams = Streams::default();
        add(&streams, "one", "ada");
        assert!(streams.claim("other").is_none() && streams.claim("").is_none());
        let first = streams.claim("one").unwrap();
        assert!(streams.claim("one").is_none(), "two at the same time");
        drop(first);
        let second = streams.claim("one").expect("the first was rejected");
        streams.remove(&second);
        assert!(streams.claim("one").is_none());
        add(&streams, "late", "ada");
        tokio::time::advance(MAX_QUEUE_TIME + Duration::from_secs(61)).await;
        assert!(streams.claim("late").is_none() && streams.of_user(&Username::new("ada").unwrap()).is_empty());
    }

    #[test]
    fn a_transfer_goes_on_with_the_newest_token_of_its_user() {
        let streams = Streams::default();
        add(&streams, "one", "ada");
        let system = SystemName::new("daint").unwrap();
        let expiry = || streams.all()[0].requester().principal.expires_at.as_second();
        for (user, subject, expires, expected) in
            [("bob", "1", 2_000, 1_000), ("ada", "2", 2_000, 1_000), ("ada", "1", 500, 1_000), ("ada", "1", 2_000, 2_000)]
        {
            streams.renew(&requester(user, subject, expires).principal, &system);
            assert_eq!(expiry(), expected, "{user} {subject} {expires}");
        }
        let Requester { principal, .. } = requester("ada", "1", 3_000);
        streams.renew(&Arc::new(Principal { token: Secret::from(String::new()), ..Principal::clone(&principal) }), &system);
        assert_eq!(expiry(), 2_000, "work without a token has none to give");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_with_many_wrong_secrets_is_not_listened_to_for_a_while() {
        let (streams, address, other) = (Streams::default(), IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for _ in 0..MAX_ATTEMPTS {
            assert!(!streams.is_barred(address));
            streams.count_attempt(address);
        }
        assert!(streams.is_barred(address) && !streams.is_barred(other));
        tokio::time::advance(ATTEMPTS_TIME).await;
        assert!(!streams.is_barred(address));
    }
}
