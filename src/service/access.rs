//! The gate: decides who may access which cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::authn::{Authenticator, AuthnError};
use crate::authz::{Authorizer, AuthzError, Basis, Decision, Relation};
use crate::cluster::Cluster;
use crate::domain::{Maintenance, Principal, RemotePath, Secret, SystemName, excerpt};
use crate::error::{Classify, Kind};
use crate::filesystem::FileSystem;
use crate::mirror::Mirror;

use super::ServiceError;
use super::audit::{self, Permission, Requester};
use super::counts::{SystemCounts, TokenCounts, TokenOutcome};
use super::limits::{LimitedUser, OutgoingTransfer, UserBounds, UserPermit};
use super::state::State;
use super::upload_locks::UploadLock;

/// The maximum number of characters that are shown of the name of a system that does not exist.
const MAX_SHOWN: usize = 64;

/// The one way in: it turns a bearer token into a [`Caller`], and a caller and a system's name into [`Access`].
#[derive(Clone)]
pub struct Gate {
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    members: Arc<BTreeMap<SystemName, Arc<GatedCluster>>>,
    state: Arc<State>,
    maintenance: Arc<(Option<Maintenance>, BTreeMap<SystemName, Maintenance>)>,
}

/// A cluster behind the gate, and its counters.
struct GatedCluster {
    cluster: Arc<Cluster>,
    mirror: Option<Arc<Mirror>>,
    counts: Arc<SystemCounts>,
}

impl Gate {
    /// A gate in front of these clusters. `state` is that of the configuration before, or a new one.
    pub fn new(
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        clusters: impl IntoIterator<Item = Arc<Cluster>>,
        state: State,
    ) -> Self {
        let member = |cluster: Arc<Cluster>| {
            let counts = state.counts(cluster.name());
            (cluster.name().clone(), Arc::new(GatedCluster { cluster, mirror: None, counts }))
        };
        let members = Arc::new(clusters.into_iter().map(member).collect());
        Self { authenticator, authorizer, members, state: Arc::new(state), maintenance: Arc::default() }
    }

    /// The state that outlives this gate's configuration.
    pub fn state(&self) -> State {
        State::clone(&self.state)
    }

    /// The same gate while the whole site, or exactly these systems, are under maintenance.
    #[must_use]
    pub fn under_maintenance(self, site: Option<Maintenance>, systems: BTreeMap<SystemName, Maintenance>) -> Self {
        Self { maintenance: Arc::new((site, systems)), ..self }
    }

    /// The same gate with mirrors of these systems' jobs.
    #[must_use]
    pub fn with_mirrors(self, mirrors: &BTreeMap<SystemName, Arc<Mirror>>) -> Self {
        let with_mirror = |(name, member): (&SystemName, &Arc<GatedCluster>)| {
            let (cluster, counts) = (Arc::clone(&member.cluster), Arc::clone(&member.counts));
            (name.clone(), Arc::new(GatedCluster { cluster, mirror: mirrors.get(name).cloned(), counts }))
        };
        Self { members: Arc::new(self.members.iter().map(with_mirror).collect()), ..self }
    }

    /// Checks that the site is not under maintenance, before the caller is identified.
    ///
    /// # Errors
    /// [`AccessError::Maintenance`].
    pub fn open(&self) -> Result<(), AccessError> {
        self.maintenance.0.clone().map_or(Ok(()), |maintenance| Err(AccessError::Maintenance(maintenance)))
    }

    /// The maintenance that a system is under, its own or the site's.
    pub fn maintenance(&self, system: &SystemName) -> Option<&Maintenance> {
        let (site, systems) = &*self.maintenance;
        site.as_ref().or_else(|| systems.get(system))
    }

    /// The same gate with these bounds for each user. Work under way continues to count.
    #[must_use]
    pub fn with_bounds(self, bounds: UserBounds) -> Self {
        Self { state: Arc::new(self.state.with_bounds(bounds)), ..self }
    }

    /// Identifies the caller of a request with this id from this address. The request is under way until the [`Caller`] and everything
    /// derived from it are dropped.
    ///
    /// # Errors
    /// If there is no token, it is invalid, or it could not be checked; or if the caller has reached the limit of requests under way.
    pub async fn identify(&self, token: Option<&Secret>, request_id: Arc<str>, address: Option<IpAddr>) -> Result<Caller, AccessError> {
        let outcome = match token {
            Some(token) => self.authenticator.authenticate(token).await.map_err(AccessError::from),
            None => Err(AccessError::NoToken),
        };
        let principal = outcome.map_err(|error| self.refuse(error))?;
        self.state.tokens.add(TokenOutcome::Accepted);
        self.state.tasks.iter().for_each(|tasks| tasks.renew(&principal));
        let requests = &self.state.limits.requests;
        let under_way = requests.take(&principal.username, 1).ok_or_else(|| AccessError::TooManyRequests(requests.per_user()))?;
        Ok(Caller { requester: Requester { principal, request_id, address }, _under_way: Arc::new(under_way) })
    }

    /// Whether tokens also come as `Authorization: token <token>`.
    pub fn takes_token_scheme(&self) -> bool {
        self.authenticator.takes_token_scheme()
    }

    /// Counts a caller whose credentials were no token, and returns the reason.
    pub fn refuse(&self, error: AccessError) -> AccessError {
        if let Some(outcome) = error.token_outcome() {
            self.state.tokens.add(outcome);
        }
        error
    }

    /// Admits a caller to a cluster with the relation `relation`.
    ///
    /// # Errors
    /// [`AccessError::SystemNotFound`] if no cluster has that name, [`AccessError::Denied`] if the caller may not use it.
    /// Only an identified caller learns which systems exist, and only a caller who may use a system learns that it is under maintenance
    /// ([`AccessError::Maintenance`]).
    pub async fn admit(&self, caller: Caller, relation: Relation, system: &str) -> Result<Access, AccessError> {
        let not_found = || AccessError::SystemNotFound(excerpt(system, MAX_SHOWN));
        let name = SystemName::new(system).map_err(|_| not_found())?;
        let member = self.members.get(&name).cloned().ok_or_else(not_found)?;
        let begun = Instant::now();
        let ruling = self.authorizer.check(caller.principal(), relation, &name).await;
        let took = begun.elapsed();
        audit::decision(&caller.requester, &name, &ruling, took);
        member.counts.decided(&ruling);
        let ruling = ruling?;
        if ruling.decision == Decision::Allowed {
            self.state.streams.renew(&caller.requester.principal, &name);
        }
        match (ruling.decision, self.maintenance(&name)) {
            (Decision::Allowed, Some(maintenance)) => Err(AccessError::Maintenance(maintenance.clone())),
            (Decision::Allowed, None) => {
                Ok(Access { caller, member, state: Arc::clone(&self.state), basis: ruling.basis, decided_in: took })
            }
            (Decision::Denied, _) => Err(AccessError::Denied { system: name, relation: ruling.basis.relation }),
        }
    }

    /// Admits the requester of an earlier request again, for work that began with it and continues after it. It counts as a request of its user.
    ///
    /// # Errors
    /// As [`Gate::admit`]; and if the user has reached the limit of requests under way.
    pub(super) async fn readmit(&self, requester: Requester, relation: Relation, system: &SystemName) -> Result<Access, AccessError> {
        self.open()?;
        let requests = &self.state.limits.requests;
        let user = &requester.principal.username;
        let under_way = requests.take(user, 1).ok_or_else(|| AccessError::TooManyRequests(requests.per_user()))?;
        self.admit(Caller { requester, _under_way: Arc::new(under_way) }, relation, system.as_str()).await
    }

    /// Admits the requester of a task for the work of the task, which counts as no request.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub(super) async fn admit_task(&self, requester: Requester, relation: Relation, system: &SystemName) -> Result<Access, AccessError> {
        self.open()?;
        let background = &self.state.limits.background;
        let user = &requester.principal.username;
        let under_way = background.take(user, 1).ok_or_else(|| AccessError::TooManyRequests(background.per_user()))?;
        self.admit(Caller { requester, _under_way: Arc::new(under_way) }, relation, system.as_str()).await
    }

    /// The same gate for whoever follows a link to files of a system, with the limits of links.
    #[must_use]
    pub(super) fn for_links(&self, system: &SystemName) -> Self {
        let channels = self.members.get(system).map_or(usize::MAX, |member| member.cluster.config().channels_per_user());
        Self { state: Arc::new(self.state.of_links(channels)), ..self.clone() }
    }

    /// Admits a caller, who was admitted to one system, to a second one that the request names.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub async fn admit_to_second(&self, access: &Access, relation: Relation, system: &str) -> Result<Access, AccessError> {
        self.admit(access.caller.clone(), relation, system).await
    }

    /// Admits a caller with a further relation, once the operation is known.
    ///
    /// # Errors
    /// As [`Gate::admit`].
    pub async fn admit_further(&self, access: Access, relation: Relation) -> Result<Access, AccessError> {
        let system = access.cluster().name().to_string();
        self.admit(access.caller, relation, &system).await
    }

    /// The clusters that a caller may use, in the order of their names.
    ///
    /// # Errors
    /// If a decision about one of them could not be obtained: then none is shown.
    pub async fn visible(&self, caller: &Caller) -> Result<Vec<&Arc<Cluster>>, AccessError> {
        let names: Vec<&SystemName> = self.members.keys().collect();
        let rulings = match self.authorizer.check_all(caller.principal(), Relation::Read, &names).await {
            Ok(rulings) if rulings.len() == names.len() => Ok(rulings),
            Ok(_) => Err(AuthzError::Unavailable("there are fewer rulings than clusters".into())),
            Err(error) => Err(error),
        };
        let rulings = rulings.inspect_err(|_| self.members.values().for_each(|member| member.counts.undecided()))?;
        let ruled = || self.members.values().zip(&rulings);
        ruled().for_each(|(member, ruling)| member.counts.ruled(ruling));
        Ok(ruled().filter(|(_, ruling)| ruling.decision == Decision::Allowed).map(|(member, _)| &member.cluster).collect())
    }

    /// All clusters, in the order of their names. Not for answers to callers: see [`Gate::visible`].
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.members.values().map(|member| &member.cluster)
    }

    /// The counters of the outcomes of callers' tokens.
    pub fn token_counts(&self) -> &TokenCounts {
        &self.state.tokens
    }

    /// All clusters with their counters, in the order of their names. For the metrics.
    pub fn system_counts(&self) -> impl Iterator<Item = (&Cluster, &SystemCounts)> {
        self.members.values().map(|member| (&*member.cluster, &*member.counts))
    }

    /// The mirrors of all clusters that have one. For the metrics.
    pub fn mirrors(&self) -> impl Iterator<Item = &Mirror> {
        self.members.values().filter_map(|member| member.mirror.as_deref())
    }
}

/// An identified caller who was not yet admitted anywhere. It can only come from [`Gate::identify`].
#[derive(Clone)]
pub struct Caller {
    requester: Requester,
    _under_way: Arc<UserPermit>,
}

impl Caller {
    /// The identity of the caller.
    pub fn principal(&self) -> &Principal {
        &self.requester.principal
    }
}

/// The proof that a caller may use a cluster. It can only come from [`Gate::admit`], so that a use case without the check does
/// not compile.
#[derive(Clone)]
pub struct Access {
    caller: Caller,
    member: Arc<GatedCluster>,
    state: Arc<State>,
    basis: Basis,
    decided_in: Duration,
}

impl Access {
    /// The identity of the caller.
    pub fn principal(&self) -> &Principal {
        self.caller.principal()
    }

    /// Who sent the request.
    pub(super) fn requester(&self) -> Requester {
        self.caller.requester.clone()
    }

    /// The state that outlives the request.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.member.cluster
    }

    /// The mirror of its jobs, if there is one.
    pub(super) fn mirror(&self) -> Option<&Arc<Mirror>> {
        self.member.mirror.as_ref()
    }

    /// How the caller's files are accessed.
    ///
    /// # Errors
    /// When SSH is known to be unhealthy, or the kind of access is not known yet and the cluster cannot be reached.
    pub(super) async fn files(&self) -> Result<&dyn FileSystem, ServiceError> {
        Ok(self.cluster().files()?.of(self.principal()).await?)
    }

    /// Waits for `opening`, which opens content for the caller, and returns its result with the permit to send it.
    ///
    /// # Errors
    /// If the caller has reached the limit of transfers or of unread transfers; or the errors of `opening`.
    pub(super) async fn transfer<T, E>(&self, opening: impl Future<Output = Result<T, E>>) -> Result<(T, OutgoingTransfer), ServiceError>
    where
        ServiceError: From<E>,
    {
        LimitedUser::from(self).transfer(self.cluster().config().channels_per_user(), opening).await
    }

    /// The counters of the cluster.
    pub(super) fn counts(&self) -> &Arc<SystemCounts> {
        &self.member.counts
    }

    /// Locks a resumable upload of the caller: see [`UploadLocks::lock`](super::upload_locks::UploadLocks::lock).
    ///
    /// # Errors
    /// [`ServiceError::Busy`].
    pub(super) async fn lock_upload(&self, part: &RemotePath) -> Result<UploadLock<'_>, ServiceError> {
        self.state.uploads.lock(self.cluster().name(), &self.principal().username, part).await
    }
}

impl<'a> From<&'a Access> for LimitedUser<'a> {
    fn from(access: &'a Access) -> Self {
        Self { limits: &access.state.limits, username: &access.principal().username }
    }
}

impl From<&Access> for Permission {
    fn from(access: &Access) -> Self {
        let (requester, basis) = (access.caller.requester.clone(), access.basis.clone());
        let GatedCluster { cluster, counts, .. } = &*access.member;
        Self { requester, cluster: Arc::clone(cluster), counts: Arc::clone(counts), basis, decided_in: access.decided_in }
    }
}

/// Why a caller was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The request carries no token.
    #[error("Not authenticated")]
    NoToken,
    /// The request's credentials are not one bearer token.
    #[error("the access token is not valid: {0}")]
    Malformed(&'static str),
    /// The token does not hold, or could not be checked.
    #[error(transparent)]
    Authentication(#[from] AuthnError),
    /// The caller has reached the limit of requests under way.
    #[error(
        "you have {0} requests under way, the limit of one user (server.max_requests_per_user): wait for some of them to end, or end \
         them, and send fewer at a time"
    )]
    TooManyRequests(u64),
    /// There is no system of this name. The first three words are contract.
    #[error("System not found: {0}")]
    SystemNotFound(String),
    /// The caller does not have the relation to the system that the operation needs.
    #[error("access to system {system} is denied: this operation needs the relation `{relation}` to it")]
    Denied {
        /// The system.
        system: SystemName,
        /// The relation, in the words of the authorizer. Which one an operation needs is no secret.
        relation: String,
    },
    /// The site or the system is under maintenance.
    #[error("{}", .0.message)]
    Maintenance(Maintenance),
    /// No decision could be obtained, so nothing is allowed.
    #[error(transparent)]
    Authorization(#[from] AuthzError),
}

impl AccessError {
    /// The outcome of the token; `None` if it was accepted, and the caller was refused for another reason.
    fn token_outcome(&self) -> Option<TokenOutcome> {
        Some(match self {
            Self::NoToken => TokenOutcome::Missing,
            Self::Malformed(_) | Self::Authentication(AuthnError::TooLong(_)) => TokenOutcome::Malformed,
            Self::Authentication(AuthnError::Signature(_)) => TokenOutcome::Signature,
            Self::Authentication(AuthnError::Expired) => TokenOutcome::Expired,
            Self::Authentication(AuthnError::EndsTooSoon { .. }) => TokenOutcome::EndsTooSoon,
            Self::Authentication(
                AuthnError::Invalid(_)
                | AuthnError::Issuer { .. }
                | AuthnError::Audience { .. }
                | AuthnError::UsernameClaim { .. }
                | AuthnError::Scopes { .. }
                | AuthnError::Username { .. },
            ) => TokenOutcome::Invalid,
            Self::Authentication(
                AuthnError::KeysUnavailable(_)
                | AuthnError::KeyNotYetKnown
                | AuthnError::Unchecked(_)
                | AuthnError::TooManyChecks(_)
                | AuthnError::ServiceAccount(_),
            ) => TokenOutcome::Unchecked,
            Self::TooManyRequests(_) | Self::SystemNotFound(_) | Self::Denied { .. } | Self::Maintenance(_) | Self::Authorization(_) => {
                return None;
            }
        })
    }
}

impl Classify for AccessError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoToken | Self::Malformed(_) => Kind::Unauthenticated,
            Self::Authentication(source) => source.kind(),
            Self::TooManyRequests(_) => Kind::TooManyRequests,
            Self::SystemNotFound(_) => Kind::NotFound,
            Self::Denied { .. } => Kind::Forbidden,
            Self::Maintenance(_) => Kind::Unavailable,
            Self::Authorization(source) => source.kind(),
        }
    }

    fn wrapped(&self) -> Option<&dyn Classify> {
        match self {
            Self::Authentication(source) => Some(source),
            Self::Authorization(source) => Some(source),
            Self::NoToken
            | Self::Malformed(_)
            | Self::TooManyRequests(_)
            | Self::SystemNotFound(_)
            | Self::Denied { .. }
            | Self::Maintenance(_) => None,
        }
    }
}
