//! Finding the job of a submission by the tag that it carries, among the caller's own: squeue(1) has the comment, sacct(1) the line by which
//! the job was submitted too.

use super::delimiter::Delimiter;
use super::sacct::STATES;
use super::slurm_command;
use crate::domain::JobId;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The job with the tag, as the controller knows it.
pub(super) struct QueuedTags<'a> {
    pub(super) delimiter: Delimiter,
    pub(super) user: &'a str,
    pub(super) tag: &'a str,
}

/// Where accounting has the tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TagField {
    SubmitLine,
    Comment,
}

/// The job with the tag, as accounting knows it.
pub(super) struct AccountedTags<'a> {
    pub(super) delimiter: Delimiter,
    pub(super) user: &'a str,
    pub(super) tag: &'a str,
    /// When it was submitted at the earliest, in Unix seconds.
    pub(super) began: i64,
    pub(super) field: TagField,
}

impl RemoteCommand for QueuedTags<'_> {
    type Output = Option<JobId>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("squeue").flag("--noheader").flag("--all").flag("--states=all").option("--user", self.user);
        line.option("--Format", self.delimiter.long_format(&["JobArrayID", "Comment"]))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        tagged("squeue", &self.delimiter, self.tag, &raw)
    }
}

impl RemoteCommand for AccountedTags<'_> {
    type Output = Option<JobId>;

    fn command_line(&self) -> CommandLine {
        let field = match self.field {
            TagField::SubmitLine => "JobID,SubmitLine",
            TagField::Comment => "JobID,Comment",
        };
        let line = slurm_command("sacct").flag("--noheader").flag("--parsable").option("--delimiter", self.delimiter.as_str());
        let line = line.option("--format", field).flag("--allocations").option("--user", self.user).option("--state", STATES);
        // The clocks of the login node and of the controller may differ a little.
        line.option("--starttime", format!("uts{}", (self.began - 600).max(1_000_000))).flag("--endtime=now")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        tagged("sacct", &self.delimiter, self.tag, &raw)
    }
}

fn tagged(program: &'static str, delimiter: &Delimiter, tag: &str, raw: &RawOutput) -> Result<Option<JobId>, CommandError> {
    raw.success()?;
    let mut records = delimiter.records::<2>(&raw.stdout).map_err(|reason| CommandError::Output { program, reason })?;
    let found = records.find(|[_, text]| text.contains(tag));
    // Of an array or a heterogeneous job sbatch prints the number that the parts share.
    let id = found.map(|[id, _]| id.trim().split(['_', '+']).next().unwrap_or_default().to_owned());
    id.map(|id| JobId::new(&id).map_err(|error| CommandError::Output { program, reason: error.to_string() })).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_with_the_tag_is_found_by_the_number_that_sbatch_printed() {
        let tag = "goldcrest-submission=ab";
        let queued = QueuedTags { delimiter: Delimiter::fixed("d"), user: "jane", tag };
        let parse = |text: &str| queued.parse(RawOutput { stdout: text.replace('|', "\u{1f}d").into(), ..RawOutput::default() }).unwrap();
        assert_eq!(parse("7|own goldcrest-submission=cd|\n12_[1-4]|own\nlines goldcrest-submission=ab|\n").unwrap().as_str(), "12");
        assert_eq!(parse("13+0|goldcrest-submission=ab|\n13+1||\n").unwrap().as_str(), "13");
        assert_eq!(parse("7||\n"), None);
        assert_eq!(parse(""), None);
        let failed = RawOutput { exit: 1, stderr: b"squeue: error: no".to_vec(), ..RawOutput::default() };
        assert!(queued.parse(failed).is_err());
    }

    #[test]
    fn accounting_is_asked_from_shortly_before_the_attempt() {
        let delimiter = Delimiter::fixed("d");
        let line =
            AccountedTags { delimiter, user: "jane", tag: "t", began: 2_000_600, field: TagField::SubmitLine }.command_line().to_string();
        assert!(line.contains("--format='JobID,SubmitLine'") && line.contains("--starttime='uts2000000'"), "{line}");
    }
}
