//! qstat(1): whether the server answers, and its name.

use super::failure::succeeded;
use super::pbs_command;
use super::records::{Layout, records};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Asks the server how it is. The answer is its name.
pub(super) struct ServerName;

impl RemoteCommand for ServerName {
    type Output = String;

    fn command_line(&self) -> CommandLine {
        pbs_command("qstat").flag("-B").flag("-f")
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<String, CommandError> {
        succeeded(&raw)?;
        let servers = records(&raw.stdout, Layout { head: "Server: ", indented: true });
        let Some((server, state)) = servers.first().and_then(|server| Some((server, server.get("server_state")?))) else {
            return Err(CommandError::Output { program: "qstat", reason: "it tells no state of the server".to_owned() });
        };
        if state.starts_with("Terminating") {
            return Err(CommandError::Exit { exit: raw.exit, stderr: "Server shutting down".to_owned() });
        }
        Ok(server.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::explain;
    use super::super::golden::recorded;
    use super::*;
    use crate::scheduler::SchedulerError;

    fn parse(stdout: &str) -> Result<String, CommandError> {
        ServerName.parse(RawOutput { stdout: stdout.into(), ..RawOutput::default() })
    }

    #[test]
    fn a_server_that_answers_is_up() {
        assert_eq!(ServerName.parse(recorded("up.server")).unwrap(), "pbs");
        assert!(parse("Server: pbs\n    server_state = Scheduling\n").is_ok());
    }

    #[test]
    fn a_server_that_ends_or_is_not_reached_is_down() {
        let error = parse("Server: pbs\n    server_state = Terminating, Delayed\n").unwrap_err();
        assert!(matches!(explain("x")(error), SchedulerError::Down(_)));
        assert!(matches!(explain("x")(ServerName.parse(recorded("down.server")).unwrap_err()), SchedulerError::Down(_)));
        assert!(matches!(parse("Welcome\n"), Err(CommandError::Output { .. })));
    }
}
