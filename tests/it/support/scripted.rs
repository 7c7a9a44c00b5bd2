//! A transport that replays a script of a cluster's behaviour, in order, and fails when the script is not used up.

use async_trait::async_trait;
use goldcrest::domain::Principal;
use goldcrest::ssh::{ByteStream, CommandLine, Exec, LaneKind, RawOutput, Transport, TransportError};

use super::script::Script;

/// The expected command, and its outcome.
pub struct Step {
    /// The command line expected; an empty one accepts any.
    pub line: String,
    /// The outcome.
    pub reply: Result<RawOutput, TransportError>,
}

/// A step that succeeds with this standard output.
pub fn prints(line: &str, stdout: impl Into<Vec<u8>>) -> Step {
    Step { line: line.to_owned(), reply: Ok(RawOutput { stdout: stdout.into(), ..RawOutput::default() }) }
}

/// A step that fails with this exit status and standard error.
pub fn fails(line: &str, exit: u32, stderr: &str) -> Step {
    Step { line: line.to_owned(), reply: Ok(RawOutput { exit, stderr: stderr.into(), ..RawOutput::default() }) }
}

/// A step that the transport does not carry out.
pub fn breaks(line: &str, error: TransportError) -> Step {
    Step { line: line.to_owned(), reply: Err(error) }
}

/// The transport over a script. Commands that run at the same time may come in any order.
pub struct ScriptedTransport(Script<Result<RawOutput, TransportError>>);

impl ScriptedTransport {
    /// A transport that expects exactly these steps.
    pub fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let line = |line: String| if line.is_empty() { "...".to_owned() } else { line };
        Self(Script::new("transport", steps.into_iter().map(|step| (line(step.line), step.reply))))
    }
}

#[async_trait]
impl Transport for ScriptedTransport {
    async fn exec(&self, _: &Principal, exec: Exec) -> Result<RawOutput, TransportError> {
        self.0.next_of(&exec.line.to_string())
    }

    async fn subsystem(&self, _: &Principal, _: LaneKind, name: &'static str) -> Result<ByteStream, TransportError> {
        panic!("not in the script: subsystem {name}")
    }

    async fn stream(&self, _: &Principal, line: &CommandLine) -> Result<ByteStream, TransportError> {
        panic!("not in the script: {line}")
    }
}
