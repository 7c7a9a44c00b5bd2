//! slurmrestd's answers, as all its versions write them.
//!
//! Written by hand, every member optional, because the document changes with the version: a number is plain, or an object with
//! `set`, `infinite` and `number`; a state is a text, or a list; a member is renamed, or moves a level down. What a version leaves
//! out is `None` here, and what is not used is not read. A record of a further kind is a file with its meaning in the domain's
//! words; recorded answers of real versions lie in `testdata/`.

mod accounted;
mod answer;
mod inventory;
mod lenient;
mod queued;
mod status;

pub(super) use accounted::AccountedJob;
pub(super) use answer::{Answer, Fault};
pub(super) use inventory::{Association, NodeRecord, PartitionRecord, Ping, ReservationRecord};
pub(super) use queued::{JobTrace, QueuedJob};

#[cfg(test)]
mod release_26_05;
#[cfg(test)]
mod tests;
