//! The audit trail, under the tracing target `audit`: one line for every change that was tried, with what the permission for it
//! rests on, and one for every caller who was not let to a cluster. Permissions to read are below the level of the trail.

use std::time::Duration;

use crate::authz::{AuthzError, Decision, Ruling};
use crate::domain::SystemName;
use crate::error::{Classify, ErrorChain};

use super::counts::{Action, Outcome};
use super::{Access, Caller};

/// Writes down whether a caller was let to a cluster, and why.
pub(super) fn decision(caller: &Caller, system: &SystemName, outcome: &Result<Ruling, AuthzError>, took: Duration) {
    let principal = caller.principal();
    let decision_ms = milliseconds(took);
    match outcome {
        Ok(Ruling { decision: Decision::Denied, basis }) => tracing::info!(
            target: "audit",
            user = %principal.username,
            subject = principal.subject.as_str(),
            client = principal.client_id.as_deref(),
            %system,
            action = "access",
            outcome = "denied",
            authorizer = basis.authorizer,
            relation = basis.relation,
            resource = basis.object,
            decided_by = basis.by.as_deref(),
            cached = basis.cached,
            decision_ms,
            request_id = caller.request_id(),
            client_address = caller.address().map(tracing::field::display),
            "{} was denied {} to {}",
            principal.username,
            basis.relation,
            basis.object,
        ),
        Err(error) => tracing::info!(
            target: "audit",
            user = %principal.username,
            subject = principal.subject.as_str(),
            client = principal.client_id.as_deref(),
            %system,
            action = "access",
            outcome = "undecided",
            error = %ErrorChain(error),
            decision_ms,
            request_id = caller.request_id(),
            client_address = caller.address().map(tracing::field::display),
            "{} was not let to {system}: no decision could be had",
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
            request_id = caller.request_id(),
            client_address = caller.address().map(tracing::field::display),
            "{} has {} to {}",
            principal.username,
            basis.relation,
            basis.object,
        ),
    }
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// A change under way. It leaves its line when it ends; one that is dropped before that was cancelled.
pub(super) struct Change {
    access: Access,
    action: Action,
    target: String,
    ended: bool,
}

impl Change {
    /// Begins to watch a change: `action` names the use case, `target` what it is done to.
    pub(super) fn begin(access: &Access, action: Action, target: impl Into<String>) -> Self {
        Self { access: access.clone(), action, target: target.into(), ended: false }
    }

    /// Ends it with its outcome, which is passed through.
    pub(super) fn end<T, E: Classify>(self, outcome: Result<T, E>) -> Result<T, E> {
        self.end_as(outcome, |_| Outcome::Done)
    }

    /// As [`Change::end`], where not every success did something.
    pub(super) fn end_as<T, E: Classify>(mut self, outcome: Result<T, E>, success: impl FnOnce(&T) -> Outcome) -> Result<T, E> {
        self.ended = true;
        match &outcome {
            Ok(value) => self.leave(success(value)),
            Err(error) if error.maybe_effected() == Some(true) => self.leave(Outcome::Unknown),
            Err(_) => self.leave(Outcome::Failed),
        }
        outcome
    }

    fn leave(&self, outcome: Outcome) {
        self.access.counts().changed(self.action, outcome);
        let (action, outcome) = (self.action.name(), outcome.name());
        let principal = self.access.principal();
        let (basis, took) = self.access.basis();
        tracing::info!(
            target: "audit",
            user = %principal.username,
            subject = principal.subject.as_str(),
            client = principal.client_id.as_deref(),
            system = %self.access.cluster().name(),
            action,
            object = self.target.as_str(),
            outcome,
            authorizer = basis.authorizer,
            relation = basis.relation,
            resource = basis.object,
            decided_by = basis.by.as_deref(),
            cached = basis.cached,
            decision_ms = milliseconds(took),
            request_id = self.access.request_id(),
            client_address = self.access.address().map(tracing::field::display),
            "{action} by {} on {}: {outcome}",
            principal.username,
            self.access.cluster().name(),
        );
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if !self.ended {
            self.leave(Outcome::Cancelled);
        }
    }
}
