//! Outputs of the real tools, from `testdata/`; its README says where they are from.

use crate::ssh::RawOutput;

/// What a command printed. The first line of a recorded standard error is the exit status.
pub(super) fn recorded(name: &str) -> RawOutput {
    let base = format!("{}/src/scheduler/pbs/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    let stdout = std::fs::read(format!("{base}.stdout"));
    let stderr = std::fs::read_to_string(format!("{base}.stderr"));
    assert!(stdout.is_ok() || stderr.is_ok(), "nothing is recorded as {name}");
    let (exit, stderr) = match &stderr {
        Ok(text) => {
            let (status, stderr) = text.split_once('\n').unwrap();
            (status.strip_prefix("exit ").unwrap().parse().unwrap(), stderr.as_bytes().to_vec())
        }
        Err(_) => (0, Vec::new()),
    };
    RawOutput { stdout: stdout.unwrap_or_default(), stderr, exit }
}
