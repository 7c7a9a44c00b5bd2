//! The audit trail, under the tracing target `audit`: one line for every attempted change, with the basis of its permission unless that was
//! withdrawn before the end of the change, and one for every caller who was denied access to a cluster. Granted permissions to read are logged below the level of the trail.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::authz::{AuthzError, Basis, Decision, Ruling};
use crate::cluster::Cluster;
use crate::domain::{Principal, SystemName};
use crate::error::{Classify, ErrorChain};

use super::counts::{Action, ChangeOutcome, SystemCounts};

/// The fields of a line that describe the request.
#[derive(Clone)]
pub(super) struct Requester {
    pub(super) principal: Arc<Principal>,
    pub(super) request_id: Arc<str>,
    /// The address of the client.
    pub(super) address: Option<IpAddr>,
}

/// The fields of a line that describe the permission under which a change was made.
pub(super) struct Permission {
    pub(super) requester: Requester,
    pub(super) cluster: Arc<Cluster>,
    /// The counters of the change.
    pub(super) counts: Arc<SystemCounts>,
    pub(super) basis: Basis,
    /// The duration of the decision.
    pub(super) decided_in: Duration,
}

/// Writes a line of the trail: who asked for it, by which request and from where, and the given fields between them.
macro_rules! trail {
    ($requester:expr, $system:expr, { $($fields:tt)* }, $($message:tt)*) => {{
        let Requester { principal, request_id, address } = $requester;
        tracing::info!(
            target: "audit",
            user = %principal.username,
            subject = principal.subject.as_str(),
            client = principal.client_id.as_deref(),
            validator = principal.validator_name(),
            system = %$system,
            $($fields)*
            request_id = &**request_id,
            client_address = address.map(tracing::field::display),
            $($message)*
        )
    }};
}

/// Records whether a caller was granted access to a cluster, and why.
pub(super) fn decision(requester: &Requester, system: &SystemName, outcome: &Result<Ruling, AuthzError>, took: Duration) {
    let Requester { principal, request_id, address } = requester;
    let (request_id, decision_ms) = (&**request_id, milliseconds(took));
    match outcome {
        Ok(Ruling { decision: Decision::Denied, basis }) => trail!(
            requester,
            system,
            {
                action = "access",
                outcome = "denied",
                authorizer = basis.authorizer,
                relation = basis.relation,
                resource = basis.object,
                decided_by = basis.by.as_deref(),
                cached = basis.cached,
                decision_ms,
            },
            "{} was denied {} to {}",
            principal.username,
            basis.relation,
            basis.object,
        ),
        Err(error) => trail!(
            requester,
            system,
            { action = "access", outcome = "undecided", error = %ErrorChain(error), decision_ms, },
            "{} was denied access to {system}: no decision could be obtained",
            principal.username,
        ),
        Ok(Ruling { decision: Decision::Allowed, basis }) => tracing::debug!(
            user = %principal.username,
            %system,
            authorizer = basis.authorizer,
            relation = basis.relation,
            resource = basis.object,
            decided_by = basis.by.as_deref(),
            cached = basis.cached,
            decision_ms,
            request_id,
            client_address = address.map(tracing::field::display),
            "{} has {} to {}",
            principal.username,
            basis.relation,
            basis.object,
        ),
    }
}

/// Records the end of a change whose requester has no permission on the cluster any more, or whose permission could not be checked.
pub(super) fn ended(
    requester: &Requester,
    system: &SystemName,
    counts: &SystemCounts,
    (action, outcome): (Action, ChangeOutcome),
    object: &str,
) {
    counts.changed(action, outcome);
    let (user, action, outcome) = (&requester.principal.username, action.name(), outcome.name());
    trail!(requester, system, { action, object, outcome, }, "{action} by {user} on {system}: {outcome}");
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// A change under way. It leaves its line when it ends; one that is dropped before that was cancelled.
pub(super) struct Change {
    permission: Permission,
    action: Action,
    target: String,
    ended: bool,
}

impl Change {
    /// Starts the record of a change: `action` is the use case, `target` the object of the change.
    pub(super) fn begin(permission: impl Into<Permission>, action: Action, target: impl Into<String>) -> Self {
        Self { permission: permission.into(), action, target: target.into(), ended: false }
    }

    /// Ends it with its outcome, which is passed through.
    pub(super) fn end<T, E: Classify>(self, outcome: Result<T, E>) -> Result<T, E> {
        self.end_as(outcome, |_| ChangeOutcome::Done)
    }

    /// As [`Change::end`], for changes whose success may have done nothing.
    pub(super) fn end_as<T, E: Classify>(mut self, outcome: Result<T, E>, success: impl FnOnce(&T) -> ChangeOutcome) -> Result<T, E> {
        self.ended = true;
        match &outcome {
            Ok(value) => self.leave(success(value)),
            Err(error) if error.maybe_effected() == Some(true) => self.leave(ChangeOutcome::Unknown),
            Err(_) => self.leave(ChangeOutcome::Failed),
        }
        outcome
    }

    fn leave(&self, outcome: ChangeOutcome) {
        let Permission { requester, cluster, counts, basis, decided_in } = &self.permission;
        counts.changed(self.action, outcome);
        let (user, system, action, outcome) = (&requester.principal.username, cluster.name(), self.action.name(), outcome.name());
        trail!(
            requester,
            system,
            {
                action,
                object = self.target.as_str(),
                outcome,
                authorizer = basis.authorizer,
                relation = basis.relation,
                resource = basis.object,
                decided_by = basis.by.as_deref(),
                cached = basis.cached,
                decision_ms = milliseconds(*decided_in),
            },
            "{action} by {user} on {system}: {outcome}",
        );
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(ChangeOutcome::Cancelled);
        }
    }
}
