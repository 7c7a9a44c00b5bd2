//! How a cluster was asked.

use std::fmt;

/// The way that a call to a scheduler took, where there is more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// By what.
    pub by: Carrier,
    /// Whether it was not the first choice: that one did not answer.
    pub fallback: bool,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// What came of it.
    pub value: T,
    /// The way it took, where there is more than one.
    pub way: Option<Backend>,
}

/// What carries a call to a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Its REST API.
    Rest,
    /// Its commands, over SSH.
    Ssh,
}

/// `rest`, `ssh`, or `ssh; fallback`.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            Carrier::Rest => "rest",
            Carrier::Ssh => "ssh",
        })?;
        if self.fallback { f.write_str("; fallback") } else { Ok(()) }
    }
}
