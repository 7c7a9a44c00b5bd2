//! Writes the OpenAPI document.

use std::process::ExitCode;

/// Nothing else is needed.
#[derive(clap::Args)]
pub(super) struct Arguments {}

/// Not there yet.
pub(super) fn run(_: &Arguments) -> ExitCode {
    super::complain("not available in this build");
    ExitCode::FAILURE
}
