//! The terms of the domain as plain types: principal, system, job, node, file, path, secret.
//!
//! Nothing here does IO, and nothing here imports another module of ours. A value that was constructed is valid: the
//! constructors check, so that the rest of the crate does not.

mod alternative;
pub mod amount;
mod backend;
mod digest;
mod file;
mod health;
mod interest;
mod job;
mod job_change;
mod job_event;
mod job_options;
mod job_state;
mod limits;
mod maintenance;
mod names;
mod network;
mod node;
mod path;
mod pattern;
mod principal;
mod reading;
mod schedule;
mod secret;
mod storage;
mod text;

pub use alternative::Alternative;
pub use backend::{Backend, Carrier, Reported};
pub use digest::sha256;
pub use file::{
    ByteRange, Checksum, CompressOptions, Compression, Content, ContentUnit, DirectoryEntry, FileMode, FileStat, FileType, FileVersion,
};
pub use health::{ClusterHealth, ServiceHealth, ServiceType};
pub use interest::Interest;
pub use job::{
    AccountingQuery, ImageProgram, Job, JobDescription, JobEstimate, JobMetadata, JobQuery, JobScript, JobStatus, JobStep, JobTimes,
    LogStream, TimeWindow,
};
pub use job_change::{InvalidSignal, JobChange, Signal};
pub use job_event::JobEvent;
pub use job_options::{ArrayIndices, Dependency, DependencyType, InvalidArray, InvalidMemory, JobOptions, MailEvent, Memory, clock};
pub use job_state::{check_state_name, is_ending_state, is_final_state};
pub use limits::{AssociationLimits, FairShare, JobLimits, JobUsage, PartitionLimits, QosLimits, ResourceUsage};
pub use maintenance::Maintenance;
pub use names::{InvalidName, JobId, SystemName, Username, is_variable_name, nearest_name};
pub use network::Network;
pub use node::{Account, Identity, Node, NodeState, Partition, PosixId, Reservation};
pub use path::{Climb, InvalidPath, RemotePath, WrittenPath, is_file_name};
pub use pattern::matches_pattern;
pub use principal::{Principal, TokenValidator};
pub use reading::{Reading, Rendering};
pub use schedule::{JobProfile, Overlap, Schedule, ScheduleDescription, ScheduleId};
pub use secret::Secret;
pub use storage::{AclEntry, AclTag, Quota, QuotaHolder, QuotaUse, Space};
pub use text::{bytes_to_text, excerpt, hex, text_to_bytes};
