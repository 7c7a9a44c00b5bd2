//! The backend of a scheduler that answered a call.

use std::fmt;
use std::ops::Deref;

/// The backend that answered a call to a scheduler that has more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The backend that gave it.
    pub by: Carrier,
    /// Whether it is the fallback, because the first choice did not answer.
    pub fallback: bool,
}

/// The answer of a scheduler to one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported<T> {
    /// The answer.
    pub value: T,
    /// The backend that gave it, if there is more than one.
    pub via: Option<Backend>,
    /// What is missing in the answer and why, as one printable line in English.
    pub missing: Option<&'static str>,
}

impl<T> Reported<T> {
    /// The same report of a value made of this one.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reported<U> {
        Reported { value: change(self.value), via: self.via, missing: self.missing }
    }
}

impl<T> From<T> for Reported<T> {
    fn from(value: T) -> Self {
        Self { value, via: None, missing: None }
    }
}

impl<T> Deref for Reported<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The kinds of backend.
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
