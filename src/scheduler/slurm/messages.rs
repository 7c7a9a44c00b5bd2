//! The messages of Slurm, in its commands and in its REST API alike: what its words for a failure mean, and how much of a text is passed
//! on. Slurm tells failures apart by English texts; this is the only place that knows them.

/// The message of Slurm's clients if no controller was reached.
pub(super) const NO_CONTROLLER: &str = "Unable to contact slurm controller";

/// The message for the caller in this case.
pub(super) const CONTROLLER_DOWN: &str = "the controller is down (Unable to contact slurm controller)";

/// The controller or the database was not reached: provably nothing happened. These words are all that is passed on: around
/// them Slurm prints addresses and paths of the cluster.
const NOT_REACHED: [&str; 10] = [
    NO_CONTROLLER,
    "Unable to connect to database",
    "Problem talking to the database",
    "Protocol authentication error",
    "Unable to establish controller machine",
    "Could not establish a configuration source",
    "failed to open persistent connection",
    "Munge encode failed",
    "backup controller in standby mode",
    "Connection refused",
];

/// The request was sent, or may have been, and no answer came. As above. They come before the others: of the failures to "contact slurm
/// controller" only that to connect is one without effect (`slurm_errno.c`).
const NOT_ANSWERED: [&str; 10] = [
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Connection timed out",
    "Unable to contact slurm controller (send failure)",
    "Unable to contact slurm controller (receive failure)",
    "Unable to contact slurm controller (shutdown failure)",
    "Message send failure",
    "Message receive failure",
    "Unexpected message received",
    "Insane message length",
];

/// Words for a job that the controller does not know; the second are those of the first versions of the REST API.
const NO_SUCH_JOB: [&str; 5] =
    ["Invalid job id specified", "unknown job ", "error: Invalid job id: ", "Bad job/step specified", "Bad job array element specified"];

/// Messages for operations that Slurm never does.
const REFUSED: [&str; 1] = ["Operation not permitted on individual component of heterogeneous job"];

const FORBIDDEN: [&str; 4] = ["ermission denied", "Access denied", "Invalid user id for job", "not permitted to use this partition"];

const ACCOUNTING_OFF: [&str; 2] = ["accounting storage is disabled", "not running a supported accounting_storage plugin"];

/// Longest text of Slurm's that is passed on, in characters.
const MAX_MESSAGE: usize = 4000;

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The daemon was called and gave no answer, in these words.
    NotAnswered(&'static str),
    /// The daemon was not reached, in these words: provably nothing happened.
    NotReached(&'static str),
    /// There is no such job.
    NoSuchJob,
    /// The caller may not do it.
    Forbidden,
    /// Slurm does not do this for any user.
    Refused,
}

/// The kind of a failure by its text, if it is known.
pub(super) fn meaning(text: &str) -> Option<Meaning> {
    let said = |texts: &[&'static str]| texts.iter().find(|words| text.contains(**words)).copied();
    if let Some(words) = said(&NOT_ANSWERED) {
        Some(Meaning::NotAnswered(words))
    } else if let Some(words) = said(&NOT_REACHED) {
        Some(Meaning::NotReached(if words == NO_CONTROLLER { CONTROLLER_DOWN } else { words }))
    } else if said(&NO_SUCH_JOB).is_some() {
        Some(Meaning::NoSuchJob)
    } else if said(&REFUSED).is_some() {
        Some(Meaning::Refused)
    } else if said(&FORBIDDEN).is_some() {
        Some(Meaning::Forbidden)
    } else {
        None
    }
}

/// Whether the text says that the cluster keeps no accounts at all, which is no failure.
pub(super) fn says_accounting_is_off(text: &str) -> bool {
    ACCOUNTING_OFF.iter().any(|words| text.contains(words))
}

/// As much of a text of Slurm's as is passed on.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(MAX_MESSAGE).collect()
}
