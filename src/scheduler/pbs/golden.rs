//! Outputs of the real tools, from `testdata/`; its README says where they are from.

use crate::scheduler::golden;
use crate::ssh::RawOutput;

/// What a command printed.
pub(super) fn recorded(name: &str) -> RawOutput {
    golden::recorded(&format!("pbs/testdata/{name}"))
}
