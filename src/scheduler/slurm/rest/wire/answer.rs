//! The document around every answer: the records, and what went wrong.

use serde::Deserialize;

use super::lenient::{Number, Records, Text};
use crate::scheduler::slurm::messages::bounded;

/// An answer with records of one kind. It is read whatever the status: Slurm writes errors with 200 too, and records with 502.
#[derive(Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de>"))]
pub(in super::super) struct Answer<T> {
    /// The requested list; `None` if the answer has none.
    #[serde(alias = "jobs", alias = "nodes", alias = "partitions", alias = "reservations", alias = "associations", alias = "pings")]
    records: Option<Records<T>>,
    /// The errors.
    errors: Option<Records<Fault>>,
    meta: Option<Meta>,
    job_id: Number,
    result: Option<Submitted>,
    status: Option<Records<Signalled>>,
}

/// One thing that went wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Fault {
    error: Text,
    description: Text,
    source: Text,
    #[serde(alias = "error_code", alias = "errno")]
    error_number: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    slurm: Option<Release>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Release {
    cluster: Text,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Submitted {
    job_id: Number,
    error: Text,
    error_code: Number,
}

/// The outcome of the cancellation of one job (from v0.0.42).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Signalled {
    error: Option<SignalFault>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SignalFault {
    string: Text,
    message: Text,
    code: Number,
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Self { records: None, errors: None, meta: None, job_id: Number(None), result: None, status: None }
    }
}

impl<T> Answer<T> {
    /// The records and the errors. "Nothing was found" is no fault but an empty list.
    pub(in super::super) fn into_records(self) -> (Option<Vec<T>>, Vec<Fault>) {
        let faults: Vec<Fault> = self.errors.unwrap_or_default().0.into_iter().filter(|fault| !fault.is_nothing_found()).collect();
        (self.records.map(|records| records.0), faults)
    }

    /// The cluster's name as Slurm has it, where the version says.
    pub(in super::super) fn cluster(&self) -> Option<&str> {
        let cluster = self.meta.as_ref()?.slurm.as_ref()?.cluster.0.as_deref()?;
        (!cluster.is_empty()).then_some(cluster)
    }

    /// The id of the job that was submitted.
    pub(in super::super) fn submitted(&self) -> Option<i64> {
        let result = self.result.as_ref().and_then(|result| result.job_id.positive());
        self.job_id.positive().or(result)
    }

    /// The errors of a change, in any place where this version reports them.
    pub(in super::super) fn faults(self) -> Vec<Fault> {
        let mut faults = self.errors.unwrap_or_default().0;
        if let Some(Submitted { error, error_code, .. }) = self.result.filter(|result| result.error_code.positive().is_some()) {
            faults.push(Fault { error, error_number: error_code, ..Fault::default() });
        }
        for SignalFault { string, message, code } in self.status.into_iter().flat_map(|status| status.0).filter_map(|job| job.error) {
            if code.positive().is_some() {
                let error = if string.0.as_deref().unwrap_or_default().is_empty() { message } else { string };
                faults.push(Fault { error, error_number: code, ..Fault::default() });
            }
        }
        faults
    }

    /// Whether this is a document of slurmrestd's at all. A gateway before it answers in JSON too.
    pub(in super::super) fn is_slurms(&self) -> bool {
        self.errors.is_some()
            || self.meta.is_some()
            || self.records.is_some()
            || self.job_id.0.is_some()
            || self.result.is_some()
            || self.status.is_some()
    }

    /// Whether this version reports the result of a cancellation for each job.
    pub(in super::super) fn tells_of_each_job(&self) -> bool {
        self.status.as_ref().is_some_and(|status| !status.0.is_empty())
    }
}

impl Fault {
    /// The error in one line: the operation and its result.
    pub(in super::super) fn words(&self) -> String {
        let of = |text: &Text| text.0.as_deref().unwrap_or_default().trim().to_owned();
        let (what, why) = (of(&self.description), of(&self.error));
        bounded(&match (what.is_empty() || why.contains(&what), why.is_empty() || what.contains(&why)) {
            (true, _) => why,
            (false, true) => what,
            (false, false) => format!("{what}: {why}"),
        })
    }

    /// Slurm's number for it (`slurm_errno.h`).
    pub(in super::super) fn number(&self) -> Option<i64> {
        self.error_number.positive()
    }

    /// Whether it happened on the way to accounting.
    pub(in super::super) fn is_of_accounting(&self) -> bool {
        self.source.0.as_deref().is_some_and(|source| source.starts_with("slurmdb"))
    }

    /// `ESLURM_REST_EMPTY_RESULT`: the query was good, and nothing matches it.
    fn is_nothing_found(&self) -> bool {
        self.error_number.0 == Some(9003)
    }
}
