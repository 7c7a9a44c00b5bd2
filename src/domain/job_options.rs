//! The options of a job in addition to its name, directory and program: resources, limits, conditions and notifications.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JobId;

/// The options of a job; absent ones have the scheduler's default. Strings are unchecked in a description that was not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, default)]
pub struct JobOptions {
    /// Number of nodes.
    #[schemars(range(min = 1))]
    pub nodes: Option<u32>,
    /// Number of tasks, on all nodes together.
    #[schemars(range(min = 1))]
    pub tasks: Option<u32>,
    /// Number of tasks on each node.
    #[schemars(range(min = 1))]
    pub tasks_per_node: Option<u32>,
    /// CPUs for each task.
    #[schemars(range(min = 1))]
    pub cpus_per_task: Option<u32>,
    /// Memory on each node, with its unit: `512M`, `4G`, `1T` (powers of 1024).
    pub memory: Option<Memory>,
    /// Memory for each CPU, with its unit.
    pub memory_per_cpu: Option<Memory>,
    /// GPUs on all nodes together.
    #[schemars(range(min = 1))]
    pub gpus: Option<u32>,
    /// GPUs on each node.
    #[schemars(range(min = 1))]
    pub gpus_per_node: Option<u32>,
    /// Type of the GPUs, as the site names it.
    pub gpu_type: Option<String>,
    /// Maximum run time in seconds.
    #[schemars(range(min = 1))]
    pub time_limit: Option<u32>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Whether the nodes are not shared with other jobs.
    pub exclusive: bool,
    /// Whether the job waits until it is released.
    pub hold: bool,
    /// Indices of a job array, such as `0-9`, `1,3,5` or `0-99:2%4` (every second one, at most 4 at a time).
    pub array: Option<ArrayIndices>,
    /// Conditions for the start; all of them must hold.
    pub dependencies: Vec<Dependency>,
    /// Address for mail notifications.
    pub mail_user: Option<String>,
    /// Events for which mail is sent.
    pub mail_events: Vec<MailEvent>,
    /// Licences, each as `name` or `name:count`.
    pub licenses: Vec<String>,
    /// Absolute path of an OCI bundle that the job runs in.
    pub container: Option<String>,
    /// Container image that the job runs in, if the site has the Pyxis plugin for Slurm.
    pub container_image: Option<String>,
}

/// A condition for the start of a job.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Dependency {
    /// The kind of condition.
    #[serde(rename = "type", default)]
    pub condition: DependencyType,
    /// The jobs that the condition refers to; empty only for `singleton`.
    #[serde(default)]
    pub jobs: Vec<JobId>,
}

/// The kind of a condition for the start of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DependencyType {
    /// The jobs have started.
    After,
    /// The jobs have ended.
    AfterAny,
    /// The jobs have ended well.
    #[default]
    AfterOk,
    /// The jobs have failed.
    AfterNotOk,
    /// For each task of an array, the task of the same index has ended well.
    AfterCorr,
    /// All earlier jobs of the same name and user have ended.
    Singleton,
}

impl DependencyType {
    /// The word that schedulers use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::After => "after",
            Self::AfterAny => "afterany",
            Self::AfterOk => "afterok",
            Self::AfterNotOk => "afternotok",
            Self::AfterCorr => "aftercorr",
            Self::Singleton => "singleton",
        }
    }
}

/// An event for which mail is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailEvent {
    /// The job starts.
    Begin,
    /// The job ends.
    End,
    /// The job fails.
    Fail,
    /// The job is put back into the queue.
    Requeue,
}

impl MailEvent {
    /// The word that Slurm uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::End => "END",
            Self::Fail => "FAIL",
            Self::Requeue => "REQUEUE",
        }
    }
}

/// An amount of memory in whole MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Memory(u64);

/// Why a text is no amount of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a number with its unit, such as 512M, 4G or 1T (K, M, G and T are powers of 1024); at least 1M")]
pub struct InvalidMemory;

impl Memory {
    /// Reads `512M`, `4GB`, `1TiB`; a fraction of a MiB counts as a whole one.
    ///
    /// # Errors
    /// If there is no unit, or another one, or the amount is 0 or more than 2^40 MiB.
    pub fn new(text: &str) -> Result<Self, InvalidMemory> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| InvalidMemory)?;
        let unit = text[digits..].trim_start_matches(' ').to_ascii_uppercase();
        let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
        let mebibytes = match unit {
            "K" => Some(number.div_ceil(1024)),
            "M" => Some(number),
            "G" => number.checked_mul(1 << 10),
            "T" => number.checked_mul(1 << 20),
            _ => None,
        };
        mebibytes.filter(|mebibytes| (1..=1 << 40).contains(mebibytes)).map(Self).ok_or(InvalidMemory)
    }

    /// So many GiB.
    pub const fn gibibytes(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// The amount in MiB.
    pub fn mebibytes(self) -> u64 {
        self.0
    }

    /// The amount, multiplied.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(u64::from(count)))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M", self.0)
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        memory.to_string()
    }
}

impl TryFrom<String> for Memory {
    type Error = InvalidMemory;

    fn try_from(text: String) -> Result<Self, InvalidMemory> {
        Self::new(&text)
    }
}

/// The indices of a job array, as Slurm writes them: `0-9`, `1,3,5`, `0-99:2%4`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct ArrayIndices(String);

/// Why a text does not name the indices of a job array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write indices such as 0-9, 1,3,5 or 0-99:2, and behind them %4 for at most 4 tasks at a time")]
pub struct InvalidArray;

impl ArrayIndices {
    /// Reads indices and ranges, separated by commas, each range with a step if need be, and the limit behind them.
    ///
    /// # Errors
    /// If the text is no such list, or longer than 1024 bytes.
    pub fn new(text: &str) -> Result<Self, InvalidArray> {
        let number = |text: &str| match text.len() {
            1..=9 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse::<u32>().ok(),
            _ => None,
        };
        let (list, limit) = text.split_once('%').map_or((text, None), |(list, limit)| (list, Some(limit)));
        let is_item = |item: &str| {
            let (range, step) = item.split_once(':').map_or((item, None), |(range, step)| (range, Some(step)));
            match range.split_once('-') {
                None => step.is_none() && number(range).is_some(),
                Some((first, last)) => {
                    let is_range = number(first).zip(number(last)).is_some_and(|(first, last)| first <= last);
                    is_range && step.is_none_or(|step| number(step).is_some_and(|step| step > 0))
                }
            }
        };
        let is_valid =
            text.len() <= 1024 && list.split(',').all(is_item) && limit.is_none_or(|limit| number(limit).is_some_and(|limit| limit > 0));
        is_valid.then(|| Self(text.to_owned())).ok_or(InvalidArray)
    }

    /// The indices as they were written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ArrayIndices {
    type Error = InvalidArray;

    fn try_from(text: String) -> Result<Self, InvalidArray> {
        Self::new(&text)
    }
}

/// Seconds as `hours:minutes:seconds`, which every scheduler reads.
pub fn clock(seconds: u32) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_with_its_unit_alone() {
        for (text, mebibytes) in [("512M", 512), ("4G", 4096), ("4 GiB", 4096), ("1t", 1 << 20), ("1K", 1), ("2048KB", 2)] {
            assert_eq!(Memory::new(text).map(Memory::mebibytes), Ok(mebibytes), "{text}");
        }
        for text in ["", "512", "M", "0G", "-1G", "1.5G", "4P", "4G;id", "99999999999999T", "18446744073709551615G"] {
            assert_eq!(Memory::new(text), Err(InvalidMemory), "{text}");
        }
    }

    #[test]
    fn indices_of_arrays_are_read_as_slurm_writes_them() {
        for text in ["0", "0-9", "1,3,5-7", "0-99:2%4", "5%1"] {
            assert_eq!(ArrayIndices::new(text).unwrap().as_str(), text);
        }
        for text in ["", "9-0", "1,", "1-", "a", "1 2", "0-9:0", "0-9%0", "0-9%", "1:2", "99999999999", "$(id)", "1\n"] {
            assert_eq!(ArrayIndices::new(text), Err(InvalidArray), "{text:?}");
        }
    }

    #[test]
    fn seconds_are_written_as_a_clock() {
        for (seconds, expected) in [(1, "0:00:01"), (90, "0:01:30"), (100_000, "27:46:40")] {
            assert_eq!(clock(seconds), expected);
        }
    }
}
