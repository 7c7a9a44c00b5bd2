//! qselect(1): the ids of jobs.

use super::failure::succeeded;
use super::pbs_command;
use crate::domain::{TimeWindow, bytes_to_text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Lists the ids of jobs, so that only the requested ones are described: qstat alone describes every user's.
pub(super) struct Qselect<'a> {
    /// The owner of the jobs; everyone's if absent.
    pub(super) user: Option<&'a str>,
    /// The jobs in the server's history that changed since then; otherwise those that are not in it.
    pub(super) history: Option<Since>,
}

/// A point in time in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since(pub(super) i64);

impl Since {
    /// The beginning of a window that ends now.
    pub(super) fn window(window: TimeWindow) -> Self {
        Self(jiff::Timestamp::now().as_second() - i64::from(window.hours()) * 3600)
    }

    /// As qselect takes it (`CCYYMMDDhhmm`), in UTC. Seconds are cut off, which only widens the window.
    fn written(self) -> String {
        let time = jiff::Timestamp::from_second(self.0).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
        time.strftime("%Y%m%d%H%M").to_string()
    }
}

impl RemoteCommand for Qselect<'_> {
    type Output = Vec<String>;

    fn command_line(&self) -> CommandLine {
        let mut line = pbs_command("qselect");
        if let Some(user) = self.user {
            line = line.flag("-u").arg(user);
        }
        match self.history {
            Some(since) => line.flag("-H").flag("-t").arg(format!("m.ge.{}", since.written())),
            None => line,
        }
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        succeeded(&raw)?;
        let output = bytes_to_text(&raw.stdout);
        Ok(output.lines().map(str::trim).filter(|line| is_id(line)).map(str::to_owned).collect())
    }
}

/// Whether a line is an id, rather than a greeting of the login shell. The ids go back into a command line of xargs, so nothing
/// that it treats specially may pass.
fn is_id(line: &str) -> bool {
    line.len() <= 256
        && line.starts_with(|c: char| c.is_ascii_digit())
        && line.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':'))
}

#[cfg(test)]
mod tests {
    use super::super::failure::history_is_off;
    use super::super::golden::recorded;
    use super::*;

    #[test]
    fn the_window_is_told_in_utc() {
        let line = Qselect { user: Some("jane"), history: Some(Since(1_795_248_754)) }.command_line().to_string();
        assert_eq!(line, "env LC_ALL=C TZ=UTC qselect -u 'jane' -H -t 'm.ge.202611210812'");
        assert_eq!(Qselect { user: None, history: None }.command_line().to_string(), "env LC_ALL=C TZ=UTC qselect");
    }

    #[test]
    fn recorded_ids_are_read() {
        let select = Qselect { user: None, history: None };
        assert_eq!(
            select.parse(recorded("active.qselect")).unwrap(),
            ["5.pbs", "11.pbs", "12.pbs", "13.pbs", "16.pbs", "17.pbs", "19[].pbs", "20.pbs"]
        );
        assert_eq!(select.parse(recorded("history.qselect")).unwrap().len(), 9);
        assert!(history_is_off(&select.parse(recorded("no-history.qselect")).unwrap_err()));
    }

    #[test]
    fn no_job_is_no_error_and_a_greeting_is_no_job() {
        let select = Qselect { user: None, history: None };
        assert_eq!(select.parse(RawOutput::default()).unwrap(), Vec::<String>::new());
        let stdout = b"Welcome\n12 jobs run\n7.s 'x\n8.s\n".to_vec();
        assert_eq!(select.parse(RawOutput { stdout, ..RawOutput::default() }).unwrap(), ["8.s"]);
    }
}
