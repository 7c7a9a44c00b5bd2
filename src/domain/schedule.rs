//! Jobs that are submitted again and again, and the sizes and places that a system offers for jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JobDescription, JobId, Memory, RemotePath};

/// A job that is to be submitted at times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleDescription<P = RemotePath> {
    /// Its name; that of the job if absent.
    pub name: Option<String>,
    /// The times, in the five fields of cron.
    pub cron: String,
    /// The time zone of the times, such as `Europe/Zurich`; that of the cluster if absent.
    pub time_zone: Option<String>,
    /// Whether nothing is submitted until it is changed.
    pub suspended: bool,
    /// What becomes of a job whose time comes while the one before runs.
    pub overlap: Overlap,
    /// The job.
    pub job: JobDescription<P>,
}

/// What becomes of a job of a schedule whose time comes while the one before runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// It is left out.
    Skip,
    /// The one before is cancelled.
    Replace,
}

/// A schedule as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Its name.
    pub name: String,
    /// The times, in the five fields of cron.
    pub cron: String,
    /// The time zone of the times.
    pub time_zone: Option<String>,
    /// Whether nothing is submitted.
    pub suspended: bool,
    /// What becomes of a job whose time comes while the one before runs.
    pub overlap: Overlap,
    /// The partition of its jobs.
    pub partition: Option<String>,
    /// When it was created, in Unix seconds.
    pub created: Option<i64>,
    /// The last time for which a job was submitted, in Unix seconds.
    pub last_time: Option<i64>,
    /// When the last job that succeeded had ended, in Unix seconds.
    pub last_success: Option<i64>,
    /// The jobs that run.
    pub active: Vec<JobId>,
}

/// The id of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleId(String);

impl ScheduleId {
    /// The longest id, in characters.
    const MAX_LENGTH: usize = 63;

    /// An id of lower-case letters, digits and `-`; none where the text is no id.
    pub fn new(text: &str) -> Option<Self> {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_id = (1..=Self::MAX_LENGTH).contains(&text.len()) && text.chars().all(is_allowed) && !text.starts_with('-');
        is_id.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A size and place of jobs that a system offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProfile {
    /// Its name, which jobs give as `partition`.
    pub name: String,
    /// Whether jobs that name none have it.
    pub is_default: bool,
    /// The image of jobs that name none.
    pub image: Option<String>,
    /// CPUs of a job that asks for none.
    pub cpus: u32,
    /// The most CPUs of a job.
    pub max_cpus: Option<u32>,
    /// Memory of a job that asks for none.
    pub memory: Memory,
    /// The most memory of a job.
    pub max_memory: Option<Memory>,
    /// The most GPUs of a job.
    pub max_gpus: u32,
    /// The time limit of a job that asks for none, in seconds.
    pub time_limit: Option<u32>,
    /// The longest time limit, in seconds.
    pub max_time_limit: Option<u32>,
    /// The labels of the nodes that its jobs run on.
    pub node_labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_schedules_are_plain() {
        assert_eq!(ScheduleId::new("nightly-0a1b").unwrap().as_str(), "nightly-0a1b");
        for text in ["", "-a", "A", "a/b", "a.b", "..", "a b", &"a".repeat(64)] {
            assert_eq!(ScheduleId::new(text), None, "{text}");
        }
    }
}
