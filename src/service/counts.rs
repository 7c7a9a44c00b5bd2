//! Counters of the gate's decisions and of the changes behind it.
//!
//! Plain numbers: telemetry exports them. They contain no name of a user, path or job.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt;

use crate::authz::{AuthzError, Decision, Ruling};
use crate::filesystem::ContentStream;

/// The outcomes of the tokens that callers sent.
#[derive(Default)]
pub struct TokenCounts([AtomicU64; TokenOutcome::ALL.len()]);

/// The outcome of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenOutcome {
    Accepted,
    Missing,
    Malformed,
    Signature,
    Expired,
    EndsTooSoon,
    Invalid,
    Unchecked,
}

impl TokenOutcome {
    const ALL: [Self; 8] =
        [Self::Accepted, Self::Missing, Self::Malformed, Self::Signature, Self::Expired, Self::EndsTooSoon, Self::Invalid, Self::Unchecked];

    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::EndsTooSoon => "ends_too_soon",
            Self::Invalid => "invalid",
            Self::Unchecked => "unchecked",
        }
    }
}

impl TokenCounts {
    /// Each outcome with its number.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        TokenOutcome::ALL.iter().map(|outcome| (outcome.name(), self.0[*outcome as usize].load(Ordering::Relaxed)))
    }

    pub(super) fn add(&self, outcome: TokenOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

macro_rules! actions {
    ($($variant:ident => $name:literal),* $(,)?) => {
        /// A use case that changes something, by the name that it has in the audit trail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Action { $($variant),* }

        impl Action {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name.
            pub(super) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

actions! {
    JobsSubmit => "jobs.submit",
    JobsCancel => "jobs.cancel",
    JobsRemove => "jobs.remove",
    JobsAlter => "jobs.alter",
    JobsAttach => "jobs.attach",
    SchedulesCreate => "schedules.create",
    SchedulesRemove => "schedules.remove",
    CommandsRun => "commands.run",
    WebhooksRegister => "webhooks.register",
    WebhooksRemove => "webhooks.remove",
    WebhooksRedeliver => "webhooks.redeliver",
    FilesUpload => "files.upload",
    FilesUploadBegin => "files.upload.begin",
    FilesUploadRemove => "files.upload.remove",
    FilesUnpack => "files.unpack",
    FilesChmod => "files.chmod",
    FilesChown => "files.chown",
    FilesMkdir => "files.mkdir",
    FilesSymlink => "files.symlink",
    FilesRemove => "files.remove",
    FilesCompress => "files.compress",
    FilesExtract => "files.extract",
    FilesCopy => "files.copy",
    FilesMove => "files.move",
    FilesTouch => "files.touch",
    TransfersMv => "transfers.mv",
    TransfersCp => "transfers.cp",
    TransfersRm => "transfers.rm",
    TransfersCompress => "transfers.compress",
    TransfersExtract => "transfers.extract",
    TransfersUpload => "transfers.upload",
    TransfersDownload => "transfers.download",
    TransfersCopyToBegin => "transfers.copy_to.begin",
    TransfersCopyTo => "transfers.copy_to",
    SharesCreate => "shares.create",
    SharesRevoke => "shares.revoke",
    SharesUse => "shares.use",
}

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeOutcome {
    /// It was done.
    Done,
    /// An earlier request with the same key had done it.
    Repeated,
    /// It was not done, as far as is known.
    Failed,
    /// It is unknown: the connection broke after it was sent.
    Unknown,
    /// The caller disconnected first.
    Cancelled,
}

impl ChangeOutcome {
    const ALL: [Self; 5] = [Self::Done, Self::Repeated, Self::Failed, Self::Unknown, Self::Cancelled];

    /// Its name in the audit trail.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Repeated => "repeated",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The decisions about one system, and the changes on it.
#[derive(Default)]
pub struct SystemCounts {
    allowed: ByCache,
    denied: ByCache,
    undecided: AtomicU64,
    changes: ChangeCounts,
    downloaded: AtomicU64,
    uploaded: AtomicU64,
}

/// The number of changes, by use case and outcome.
struct ChangeCounts([[AtomicU64; ChangeOutcome::ALL.len()]; Action::ALL.len()]);

impl Default for ChangeCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

#[derive(Default)]
struct ByCache {
    asked: AtomicU64,
    remembered: AtomicU64,
}

/// The number of decisions about a system, by their outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decisions {
    /// `allowed`, `denied`, or `undecided` if no decision could be obtained.
    pub decision: &'static str,
    /// Whether the decision came from the cache.
    pub cached: bool,
    /// The number of decisions.
    pub count: u64,
}

/// Changes of one kind that ended alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeCount {
    /// The use case, as in the audit trail.
    pub action: &'static str,
    /// Their outcome, as in the audit trail.
    pub outcome: &'static str,
    /// The number of changes.
    pub count: u64,
}

impl SystemCounts {
    /// Every kind of decision.
    pub fn decisions(&self) -> [Decisions; 5] {
        let row = |decision, cached, count: &AtomicU64| Decisions { decision, cached, count: count.load(Ordering::Relaxed) };
        [
            row("allowed", false, &self.allowed.asked),
            row("allowed", true, &self.allowed.remembered),
            row("denied", false, &self.denied.asked),
            row("denied", true, &self.denied.remembered),
            row("undecided", false, &self.undecided),
        ]
    }

    /// The changes of each kind, including those with the number 0.
    pub fn changes(&self) -> impl Iterator<Item = ChangeCount> {
        Action::ALL.iter().zip(&self.changes.0).flat_map(|(action, outcomes)| {
            ChangeOutcome::ALL.iter().zip(outcomes).map(|(outcome, count)| ChangeCount {
                action: action.name(),
                outcome: outcome.name(),
                count: count.load(Ordering::Relaxed),
            })
        })
    }

    /// Bytes of file contents that came from the cluster.
    pub fn downloaded(&self) -> u64 {
        self.downloaded.load(Ordering::Relaxed)
    }

    /// Bytes of file contents that went to the cluster.
    pub fn uploaded(&self) -> u64 {
        self.uploaded.load(Ordering::Relaxed)
    }

    pub(super) fn decided(&self, ruling: &Result<Ruling, AuthzError>) {
        match ruling {
            Ok(ruling) => self.ruled(ruling),
            Err(_) => self.undecided(),
        }
    }

    pub(super) fn ruled(&self, ruling: &Ruling) {
        let counts = match ruling.decision {
            Decision::Allowed => &self.allowed,
            Decision::Denied => &self.denied,
        };
        let count = if ruling.basis.cached { &counts.remembered } else { &counts.asked };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn undecided(&self) {
        self.undecided.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn changed(&self, action: Action, outcome: ChangeOutcome) {
        self.changes.0[action as usize][outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Content from a cluster, which is counted as it comes.
pub(super) fn downloaded(counts: &Arc<SystemCounts>, content: ContentStream) -> ContentStream {
    counted(counts, content, |counts| &counts.downloaded)
}

/// Content for a cluster, which is counted as it comes.
pub(super) fn uploaded(counts: &Arc<SystemCounts>, content: ContentStream) -> ContentStream {
    counted(counts, content, |counts| &counts.uploaded)
}

fn counted(counts: &Arc<SystemCounts>, content: ContentStream, which: fn(&SystemCounts) -> &AtomicU64) -> ContentStream {
    let counts = Arc::clone(counts);
    let count = move |piece: &Result<bytes::Bytes, _>| {
        if let Ok(bytes) = piece {
            which(&counts).fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
    };
    content.inspect(count).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_has_the_name_of_its_place() {
        for (place, outcome) in TokenOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
        for (place, outcome) in ChangeOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
        let counts = SystemCounts::default();
        counts.changed(Action::TransfersExtract, ChangeOutcome::Cancelled);
        let expected = ChangeCount { action: "transfers.extract", outcome: "cancelled", count: 1 };
        assert_eq!(counts.changes().filter(|changes| changes.count > 0).collect::<Vec<_>>(), [expected]);
    }
}
