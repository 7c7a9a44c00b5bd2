//! Outputs of the schedulers' real commands, as they were recorded in folders `testdata/`; their READMEs say how.

use crate::ssh::RawOutput;

/// The recorded output of a command, by its path in `src/scheduler/`. The first line of a recorded standard error is the exit status.
pub(super) fn recorded(path: &str) -> RawOutput {
    let base = format!("{}/src/scheduler/{path}", env!("CARGO_MANIFEST_DIR"));
    let stdout = std::fs::read(format!("{base}.stdout"));
    let stderr = std::fs::read_to_string(format!("{base}.stderr"));
    assert!(stdout.is_ok() || stderr.is_ok(), "nothing is recorded as {path}");
    let (exit, stderr) = match &stderr {
        Ok(text) => {
            let (status, stderr) = text.split_once('\n').unwrap();
            (status.strip_prefix("exit ").unwrap().parse().unwrap(), stderr.as_bytes().to_vec())
        }
        Err(_) => (0, Vec::new()),
    };
    RawOutput { stdout: stdout.unwrap_or_default(), stderr, exit }
}
