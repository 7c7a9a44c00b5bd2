//! The transfers that wait for their clients, and the ports that are listened on.
//!
//! They live in the memory of this process: the secret of a transfer is kept as its digest alone, works once, and is of no use to
//! another process. A job whose transfer is lost with the process ends when its own time is over.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::audit::Requester;
use super::limits::UserLimit;
use crate::domain::{JobId, Principal, RemotePath, SystemName, Username};
use crate::transfer::streamer::{Direction, Endpoint};

/// The most transfers of one user that wait for their clients.
pub(super) const MAX_WAITING_PER_USER: usize = 64;

/// The most transfers that wait for their clients.
const MAX_WAITING: usize = 4096;

/// How long a job may be in the queue before its transfer is forgotten.
const MAX_QUEUE_TIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most clients of one user that are connected at a time.
pub(super) const MAX_CONNECTED_PER_USER: u64 = 8;

/// The most clients that are connected at a time.
const MAX_CONNECTED: u64 = 256;

/// The most transfers that move bytes at a time; further ones wait, connected. Each holds two messages of its client at most.
const MAX_AT_WORK: usize = 16;

/// The most attempts from one address with a wrong secret within [`ATTEMPTS_TIME`]. Clients try the ports of a range one after the
/// other, those of other users' transfers among them, so that some are no attack.
const MAX_ATTEMPTS: u32 = 100;

/// After how long attempts are forgotten.
const ATTEMPTS_TIME: Duration = Duration::from_secs(60);

/// The most addresses whose attempts are counted.
const MAX_ADDRESSES: usize = 4096;

/// The digest of a secret.
type SecretDigest = [u8; 32];

/// A transfer that waits for its client.
pub(super) struct Waiting {
    /// Who asked for it, with the newest token that was seen since.
    requester: Mutex<Requester>,
    pub(super) system: SystemName,
    pub(super) direction: Direction,
    /// The file on the cluster.
    pub(super) path: RemotePath,
    /// The job that stands for it, and the report that the job waits for.
    pub(super) job: JobId,
    pub(super) report: RemotePath,
    /// The most that an upload may hold, in bytes.
    pub(super) limit: u64,
    secret: SecretDigest,
    expires: Instant,
    /// Whether a client with the secret is being let in.
    is_claimed: AtomicBool,
}

/// What a [`Waiting`] is made of.
pub(super) struct NewTransfer {
    pub(super) requester: Requester,
    pub(super) system: SystemName,
    pub(super) direction: Direction,
    pub(super) path: RemotePath,
    pub(super) job: JobId,
    pub(super) report: RemotePath,
    pub(super) limit: u64,
    /// How long its running job waits.
    pub(super) wait_timeout: Duration,
}

impl Waiting {
    pub(super) fn requester(&self) -> Requester {
        self.requester.lock().clone()
    }

    pub(super) fn username(&self) -> Username {
        self.requester.lock().principal.username.clone()
    }
}

/// A transfer whose client is being let in. When this is dropped, the next one with the secret may try.
pub(super) struct Claim(Arc<Waiting>);

impl Deref for Claim {
    type Target = Waiting;

    fn deref(&self) -> &Waiting {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.is_claimed.store(false, Ordering::Release);
    }
}

/// The transfers by the protocol of firecrest-streamer, under any configuration.
pub struct Streams {
    ports: Mutex<HashMap<Endpoint, u16>>,
    waiting: Mutex<HashMap<SecretDigest, Arc<Waiting>>>,
    attempts: Mutex<HashMap<IpAddr, (u32, Instant)>>,
    pub(super) connected: UserLimit,
    pub(super) places: Arc<Semaphore>,
    /// Work that ends in order: clients that are connected, and the reports to the jobs.
    pub(super) endings: TaskTracker,
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
        }
    }
}

impl Streams {
    /// Notes the port that is listened on for an endpoint, or that none is.
    pub fn listening(&self, endpoint: &Endpoint, port: Option<u16>) {
        let mut ports = self.ports.lock();
        match port {
            Some(port) => drop(ports.insert(endpoint.clone(), port)),
            None => drop(ports.remove(endpoint)),
        }
    }

    /// The port that is listened on for an endpoint.
    pub(super) fn port(&self, endpoint: &Endpoint) -> Option<u16> {
        self.ports.lock().get(endpoint).copied()
    }

    /// The transfers of a user that wait, the oldest first; the forgotten ones not among them.
    pub(super) fn of_user(&self, user: &Username) -> Vec<Arc<Waiting>> {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        waiting.retain(|_, transfer| transfer.expires > now);
        let mut found: Vec<_> =
            waiting.values().filter(|transfer| transfer.requester.lock().principal.username == *user).cloned().collect();
        drop(waiting);
        found.sort_by_key(|transfer| transfer.expires);
        found
    }

    /// Every transfer that waits.
    pub(super) fn all(&self) -> Vec<Arc<Waiting>> {
        self.waiting.lock().values().cloned().collect()
    }

    /// Whether no further transfer can be remembered.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.lock().len() >= MAX_WAITING
    }

    /// Waits for the client that has this secret.
    pub(super) fn add(&self, secret: &str, new: NewTransfer) {
        let secret = digest_of(secret);
        let NewTransfer { requester, system, direction, path, job, report, limit, wait_timeout } = new;
        let waiting = Waiting {
            requester: Mutex::new(requester),
            system,
            direction,
            path,
            job,
            report,
            limit,
            secret,
            expires: Instant::now() + MAX_QUEUE_TIME + wait_timeout,
            is_claimed: AtomicBool::new(false),
        };
        self.waiting.lock().insert(secret, Arc::new(waiting));
    }

    /// The transfer of a secret, unless another client is being let in with it.
    pub(super) fn claim(&self, secret: &str) -> Option<Claim> {
        let secret = digest_of(secret);
        let found = self.waiting.lock().get(&secret).cloned()?;
        // Finding it took a time that depends on the digest at most.
        verify_slices_are_equal(&found.secret, &secret).ok()?;
        (found.expires > Instant::now() && !found.is_claimed.swap(true, Ordering::AcqRel)).then(|| Claim(found))
    }

    /// Forgets a transfer; its secret works no more.
    pub(super) fn remove(&self, waiting: &Waiting) {
        self.waiting.lock().remove(&waiting.secret);
    }

    /// Lets the waiting transfers of a user go on with this token, if it is valid for longer: the job may have been in the queue for
    /// longer than the token with which it was submitted.
    pub(in crate::service) fn renew(&self, principal: &Arc<Principal>, system: &SystemName) {
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

    /// Whether too many wrong secrets came from an address to listen to it now.
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
    let mut found = SecretDigest::default();
    found.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    found
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
        let new = NewTransfer {
            requester: requester(user, "1", 1_000),
            system: SystemName::new("daint").unwrap(),
            direction: Direction::Upload,
            path: path("/home/a"),
            job: JobId::new("1").unwrap(),
            report: path("/home/.report"),
            limit: 10,
            wait_timeout: Duration::from_secs(60),
        };
        streams.add(secret, new);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_works_for_one_client_until_the_transfer_is_forgotten() {
        let streams = Streams::default();
        add(&streams, "one", "ada");
        assert!(streams.claim("other").is_none() && streams.claim("").is_none());
        let first = streams.claim("one").unwrap();
        assert!(streams.claim("one").is_none(), "two at the same time");
        drop(first);
        let second = streams.claim("one").expect("the first was not let in");
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
