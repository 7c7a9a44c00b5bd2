//! The changes of a submitted job.

use std::fmt;

use super::job_options::clock;

/// A change of a job, or of those of its tasks that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobChange {
    /// Keeps a waiting job from starting.
    Hold,
    /// Lets a held job start.
    Release,
    /// Stops a job and puts it back into the queue.
    Requeue,
    /// Sends a signal to every process of a running job.
    Signal(Signal),
    /// Sets the longest run time, in seconds.
    TimeLimit(u32),
}

impl fmt::Display for JobChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold => f.write_str("hold"),
            Self::Release => f.write_str("release"),
            Self::Requeue => f.write_str("requeue"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TimeLimit(seconds) => write!(f, "time limit {}", clock(*seconds)),
        }
    }
}

/// A signal by its POSIX name, without `SIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(&'static str);

/// Why a text names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it names no signal that can be sent: write one of HUP, INT, QUIT, ABRT, KILL, ALRM, TERM, USR1, USR2, STOP, CONT, TSTP, TTIN, TTOU, URG"
)]
pub struct InvalidSignal;

impl Signal {
    /// The signals that every scheduler sends.
    const ALL: [&'static str; 15] =
        ["HUP", "INT", "QUIT", "ABRT", "KILL", "ALRM", "TERM", "USR1", "USR2", "STOP", "CONT", "TSTP", "TTIN", "TTOU", "URG"];

    /// Reads `USR1` or `SIGUSR1`, in any case.
    ///
    /// # Errors
    /// If it is no signal that every scheduler sends.
    pub fn new(name: &str) -> Result<Self, InvalidSignal> {
        let name = name.get(..3).filter(|start| start.eq_ignore_ascii_case("sig")).map_or(name, |_| &name[3..]);
        Self::ALL.into_iter().find(|known| known.eq_ignore_ascii_case(name)).map(Self).ok_or(InvalidSignal)
    }

    /// The name without `SIG`.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_their_names_alone() {
        for text in ["USR1", "SIGUSR1", "sigusr1", "usr1"] {
            assert_eq!(Signal::new(text).map(Signal::as_str), Ok("USR1"), "{text}");
        }
        for text in ["", "SIG", "10", "USR3", "USR1;id", "ä", "-9"] {
            assert_eq!(Signal::new(text), Err(InvalidSignal), "{text}");
        }
    }
}
