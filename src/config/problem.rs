//! The errors of a configuration, with their places.
//!
//! A wrong value is shown if neither its key nor its type says that it may be a secret.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The place where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, or in the text given; lines count from 1.
    Line(Option<Arc<PathBuf>>, usize),
    /// In an environment variable.
    Environment(Arc<str>),
}

/// A mistake, or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key: `clusters[0].ssh.port`. Empty for the file as a whole.
    pub path: String,
    /// The place where it was written, if known.
    pub origin: Option<Origin>,
    /// The error.
    pub message: String,
    /// The allowed values.
    pub allowed: Option<String>,
}

/// Every mistake of a configuration; at least one.
#[derive(Debug)]
pub struct ConfigError {
    /// The mistakes, in the order of the file.
    pub problems: Vec<Problem>,
    /// The warnings.
    pub warnings: Vec<Problem>,
}

impl Problem {
    /// A problem without a place and without advice.
    pub(super) fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), origin: None, message: message.into(), allowed: None }
    }

    pub(super) fn at(mut self, origin: Option<&Origin>) -> Self {
        self.origin = origin.cloned();
        self
    }

    pub(super) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// The line, if the value was written in a file.
    pub fn line(&self) -> Option<usize> {
        match self.origin {
            Some(Origin::Line(_, line)) => Some(line),
            _ => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(Some(file), line) => write!(f, "{}:{line}", file.display()),
            Self::Line(None, line) => write!(f, "line {line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(allowed) = &self.allowed {
            write!(f, " (allowed: {allowed})")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Error for ConfigError {}

/// Puts problems in the order of the file; those of the environment come last.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|problem| match &problem.origin {
        None => (0, None, 0),
        Some(Origin::Line(file, line)) => (1, file.clone(), *line),
        Some(Origin::Environment(_)) => (2, None, 0),
    });
}
