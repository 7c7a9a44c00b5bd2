//! qstat(1): jobs.

use bytes::Bytes;

use super::dialect::Dialect;
use super::failure::succeeded;
use super::job_ref::JobRef;
use super::pbs_command;
use super::records::{Layout, PbsRecord, records};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

const LAYOUT: Layout = Layout { head: "Job Id: ", indented: true };

/// Describes jobs.
pub(super) struct Qstat<'a> {
    /// The member of the PBS family.
    pub(super) dialect: Dialect,
    /// The jobs.
    pub(super) jobs: Jobs<'a>,
    /// Whether jobs that ended are found too, where the server keeps them.
    pub(super) history: bool,
}

/// The jobs to describe.
#[derive(Clone, Copy, Debug)]
pub(super) enum Jobs<'a> {
    /// All that the caller may see.
    All,
    /// The jobs of one user, where lines are not wrapped.
    Of(&'a str),
    /// The jobs with these ids, where lines are not wrapped. Jobs that ended meanwhile are left out.
    Listed(&'a [String]),
    /// One, and the subjobs of an array if requested.
    One(JobRef<'a>, Subjobs),
}

/// Whether the subjobs of an array are described too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subjobs {
    /// Each separately.
    Described,
    /// Only their number in each state.
    Counted,
}

impl RemoteCommand for Qstat<'_> {
    type Output = Vec<PbsRecord>;

    fn command_line(&self) -> CommandLine {
        let mut line = match self.jobs {
            // The ids would not all fit into a command line.
            Jobs::Listed(_) => CommandLine::new("env LC_ALL=C TZ=UTC xargs qstat"),
            // The user goes before `-f`: the later of both determines the output of each job.
            Jobs::Of(user) => pbs_command("qstat").flag("-u").arg(user),
            Jobs::All | Jobs::One(..) => pbs_command("qstat"),
        };
        line = line.flag("-f");
        if let Dialect::Pbs { unwrapped } = self.dialect {
            if unwrapped {
                line = line.flag("-w");
            }
            if self.history {
                line = line.flag("-x");
            }
            if matches!(self.jobs, Jobs::Listed(_)) {
                // One connection for all ids, instead of one for each: 300 jobs take a fifth of a second instead of a minute.
                line = line.flag("-E");
            }
        }
        match self.jobs {
            Jobs::One(job, Subjobs::Described) => line.flag("-t").flag("--").arg(job.as_str()),
            Jobs::One(job, Subjobs::Counted) => line.flag("--").arg(job.as_str()),
            Jobs::All | Jobs::Of(_) | Jobs::Listed(_) => line,
        }
    }

    fn stdin(&self) -> Bytes {
        match self.jobs {
            Jobs::Listed(ids) => Bytes::from(ids.join("\n") + "\n"),
            Jobs::All | Jobs::Of(_) | Jobs::One(..) => Bytes::new(),
        }
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        let jobs = records(&raw.stdout, LAYOUT);
        // Of several jobs some may be gone meanwhile. The others stand in the output.
        let rest_is_missing = matches!(self.jobs, Jobs::Listed(_)) && only_missing(&raw);
        if !rest_is_missing && (jobs.is_empty() || raw.exit != 0) {
            succeeded(&raw)?;
        }
        Ok(jobs)
    }
}

/// Whether every error is that a job does not exist, or no longer exists.
fn only_missing(raw: &RawOutput) -> bool {
    let stderr = crate::domain::bytes_to_text(&raw.stderr);
    let mut complaints = stderr.lines().filter(|line| line.starts_with("qstat: ")).peekable();
    complaints.peek().is_some() && complaints.all(|line| line.contains("Unknown Job Id") || line.contains("Job has finished"))
}

#[cfg(test)]
mod tests {
    use super::super::failure::{explain, history_is_off};
    use super::super::golden::recorded;
    use super::*;
    use crate::domain::JobId;
    use crate::scheduler::SchedulerError;

    const PBS: Dialect = Dialect::Pbs { unwrapped: true };

    fn line(dialect: Dialect, jobs: Jobs<'_>, history: bool) -> String {
        Qstat { dialect, jobs, history }.command_line().to_string()
    }

    #[test]
    fn each_member_of_the_family_is_asked_in_its_own_way() {
        let id = JobId::new("12[].srv").unwrap();
        let one = Jobs::One(JobRef::new(&id).unwrap(), Subjobs::Described);
        let ids = ["1.s".to_owned(), "2.s".to_owned()];
        assert_eq!(line(PBS, one, true), "env LC_ALL=C TZ=UTC qstat -f -w -x -t -- '12[].srv'");
        assert_eq!(line(PBS, Jobs::Of("jane"), true), "env LC_ALL=C TZ=UTC qstat -u 'jane' -f -w -x");
        assert_eq!(line(PBS, Jobs::Listed(&ids), true), "env LC_ALL=C TZ=UTC xargs qstat -f -w -x -E");
        assert_eq!(Qstat { dialect: PBS, jobs: Jobs::Listed(&ids), history: true }.stdin(), "1.s\n2.s\n");
        let old = Dialect::Pbs { unwrapped: false };
        assert_eq!(line(old, Jobs::All, true), "env LC_ALL=C TZ=UTC qstat -f -x");
        // Torque prints XML for -x.
        assert_eq!(line(Dialect::Torque, Jobs::All, true), "env LC_ALL=C TZ=UTC qstat -f");
        assert_eq!(line(Dialect::Torque, one, true), "env LC_ALL=C TZ=UTC qstat -f -t -- '12[].srv'");
    }

    #[test]
    fn recorded_jobs_are_found() {
        let id = JobId::new("9.pbs").unwrap();
        let one = Qstat { dialect: PBS, jobs: Jobs::One(JobRef::new(&id).unwrap(), Subjobs::Described), history: true };
        assert_eq!(one.parse(recorded("job.qstat")).unwrap().len(), 1);
        assert_eq!(one.parse(recorded("subjob.qstat")).unwrap()[0].name, "19[2].pbs");
        assert_eq!(one.parse(recorded("array.qstat")).unwrap().len(), 4);
        let error = explain("x")(one.parse(recorded("unknown.qstat")).unwrap_err());
        assert!(matches!(error, SchedulerError::JobNotFound), "{error:?}");
        assert!(history_is_off(&one.parse(recorded("no-history.qstat")).unwrap_err()));
    }

    #[test]
    fn jobs_that_vanished_from_a_list_are_left_out_and_a_server_that_vanished_is_an_error() {
        let ids = ["5.pbs".to_owned(), "999.pbs".to_owned()];
        let list = Qstat { dialect: PBS, jobs: Jobs::Listed(&ids), history: true };
        let both = RawOutput { exit: 123, stderr: b"qstat: Unknown Job Id 999.pbs\n".to_vec(), ..recorded("job.qstat") };
        assert_eq!(list.parse(both).unwrap().len(), 1);
        assert_eq!(list.parse(RawOutput { exit: 123, ..recorded("unknown.qstat") }).unwrap(), []);
        let torn = RawOutput { stderr: recorded("down.qstat").stderr, exit: 124, ..recorded("job.qstat") };
        assert!(matches!(explain("x")(list.parse(torn).unwrap_err()), SchedulerError::Down(_)));
    }
}
