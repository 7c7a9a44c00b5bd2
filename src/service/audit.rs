//! The audit trail: one line for every change that was tried, under the tracing target `audit`.

use crate::error::Classify;

use super::Access;

/// A change under way. It leaves its line when it ends; one that is dropped before that was cancelled.
pub(super) struct Change<'a> {
    access: &'a Access,
    action: &'static str,
    target: String,
    ended: bool,
}

impl<'a> Change<'a> {
    /// Begins to watch a change: `action` names the use case, `target` what it is done to.
    pub(super) fn begin(access: &'a Access, action: &'static str, target: impl Into<String>) -> Self {
        Self { access, action, target: target.into(), ended: false }
    }

    /// Ends it with its outcome, which is passed through.
    pub(super) fn end<T, E: Classify>(mut self, outcome: Result<T, E>) -> Result<T, E> {
        self.ended = true;
        match &outcome {
            Ok(_) => self.write("done"),
            Err(error) if error.maybe_effected() == Some(true) => self.write("unknown"),
            Err(_) => self.write("failed"),
        }
        outcome
    }

    fn write(&self, outcome: &'static str) {
        let principal = self.access.principal();
        tracing::info!(
            target: "audit",
            user = %principal.username,
            subject = %principal.subject,
            client = principal.client_id.as_deref(),
            system = %self.access.cluster().name(),
            action = self.action,
            object = ?self.target,
            outcome,
            request_id = self.access.request_id(),
            "{} by {} on {}: {outcome}",
            self.action,
            principal.username,
            self.access.cluster().name(),
        );
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.write("cancelled");
        }
    }
}
