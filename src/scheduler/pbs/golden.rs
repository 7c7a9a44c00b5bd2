//! Outputs of the real tools, from `testdata/`; its README has their origin.

use crate::scheduler::golden;
use crate::ssh::RawOutput;

/// The recorded output of a command.
pub(super) fn recorded(name: &str) -> RawOutput {
    golden::recorded(&format!("pbs/testdata/{name}"))
}
