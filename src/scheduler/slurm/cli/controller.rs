//! Runs Slurm's commands: detects a controller that does not answer, and keeps track of whether a submission may have been sent.

use std::sync::Arc;
use std::time::Duration;

use super::delimiter::Delimiter;
use super::failure::{accounting_is_off, explain, explain_refusal, is_not_known_here};
use super::scontrol::{Ping, ShowConfig};
use super::tagged::{AccountedTags, QueuedTags, TagField};
use crate::domain::{JobId, Principal};
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::messages::{CONTROLLER_DOWN, NO_CONTROLLER};
use crate::scheduler::submission_record::Trace;
use crate::ssh::{CommandError, RemoteCommand, Transport, run};

/// The time without an answer after which the controller is pinged.
const PING_AFTER: Duration = Duration::from_secs(2);

const NO_ACCOUNTING: &str = "the site keeps no accounting, and the controller forgets jobs that have ended";
const NO_SUBMIT_LINE: &str = "accounting of this release may lack the comments of jobs";

/// By how much the clocks of this host and of the cluster may differ where the age of a submission counts.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

/// The way to a cluster's Slurm.
#[derive(Clone)]
pub(super) struct Controller {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) delimiter: fn() -> Delimiter,
}

impl Controller {
    /// Runs a command on the controller. If it is down, Slurm's commands retry for longer than a caller waits: a late answer is checked by
    /// a `scontrol ping`, which returns at once. The command is then stopped if the controller is down.
    pub(super) async fn ask<C: RemoteCommand>(&self, principal: &Principal, command: &C) -> Result<C::Output, CommandError> {
        let answer = run(&*self.transport, principal, command);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            down = self.is_found_down(principal) => if down {
                Err(CommandError::Exit { exit: 1, stderr: NO_CONTROLLER.to_owned() })
            } else {
                answer.await
            },
        }
    }

    /// Whether the controller turns out to be down, once an answer is late.
    async fn is_found_down(&self, principal: &Principal) -> bool {
        tokio::time::sleep(PING_AFTER).await;
        let ping = run(&*self.transport, principal, &Ping).await.map_err(explain("ping the scheduler"));
        matches!(ping, Err(SchedulerError::Down(_)))
    }

    /// Submits. The controller may have taken a job whose submission did not end well.
    pub(super) async fn submit<C: RemoteCommand>(&self, principal: &Principal, sbatch: &C) -> Result<C::Output, SchedulerError> {
        let answer = run(&*self.transport, principal, sbatch);
        tokio::pin!(answer);
        let answer = tokio::select! {
            answer = &mut answer => answer,
            down = self.is_found_down(principal) => {
                if down {
                    // sbatch may have reached it before.
                    return Err(SchedulerError::Unanswered(CONTROLLER_DOWN.to_owned()));
                }
                answer.await
            }
        };
        answer.map_err(|error| match (error.signal(), error) {
            (Some(signal), _) => SchedulerError::Unanswered(format!("sbatch was ended by signal {signal}")),
            // sbatch succeeded: the job is there, and only its id was not understood.
            (None, CommandError::Output { reason, .. }) => SchedulerError::Unanswered(reason),
            (None, error) => explain_refusal("submit the job")(error),
        })
    }

    /// Looks for the job with the tag, in the queue and in accounting since `began` (Unix seconds).
    pub(super) async fn find_tagged(&self, principal: &Principal, tag: &str, began: i64) -> Result<Trace, SchedulerError> {
        let user = principal.username.as_str();
        let queued = QueuedTags { delimiter: (self.delimiter)(), user, tag };
        if let Some(id) = self.ask(principal, &queued).await.map_err(explain("look for the job"))? {
            return Ok(Trace::Job(id));
        }
        let by_line = self.accounted(principal, tag, began, TagField::SubmitLine).await;
        // Releases before 21.08 keep the comment alone, where the site has them do so.
        let (found, reason) = match by_line {
            Err(error) if is_not_known_here(&error) => {
                (self.accounted(principal, tag, began, TagField::Comment).await, Some(NO_SUBMIT_LINE))
            }
            by_line => (by_line, None),
        };
        let reason = match found {
            Ok(Some(id)) => return Ok(Trace::Job(id)),
            Ok(None) => reason,
            Err(error) if accounting_is_off(&error) => Some(NO_ACCOUNTING),
            Err(error) => return Err(explain("look for the job in accounting")(error)),
        };
        match reason {
            Some(reason) if !self.remembers_since(principal, began).await? => Ok(Trace::Unsure(reason.to_owned())),
            _ => Ok(Trace::Nowhere),
        }
    }

    /// Whether the controller, which was asked a moment ago, still knew each job that was submitted after `began`, had it ended at once.
    async fn remembers_since(&self, principal: &Principal, began: i64) -> Result<bool, SchedulerError> {
        let memory = self.ask(principal, &ShowConfig).await.map_err(explain("read the configuration"))?.min_job_age;
        let age = u64::try_from(jiff::Timestamp::now().as_second().saturating_sub(began));
        // What began later than now began by another clock, which says nothing.
        Ok(age.is_ok_and(|age| Duration::from_secs(age).saturating_add(CLOCK_MARGIN) < memory))
    }

    /// The job that was submitted by a line that holds `mark`, as accounting knows it.
    pub(super) async fn find_marked(&self, principal: &Principal, mark: &str, began: i64) -> Result<Option<JobId>, CommandError> {
        self.accounted(principal, mark, began, TagField::SubmitLine).await
    }

    async fn accounted(&self, principal: &Principal, tag: &str, began: i64, field: TagField) -> Result<Option<JobId>, CommandError> {
        let user = principal.username.as_str();
        run(&*self.transport, principal, &AccountedTags { delimiter: (self.delimiter)(), user, tag, began, field }).await
    }
}
