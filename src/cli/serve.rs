//! Serves the API.

use std::process::ExitCode;

/// Nothing else is needed.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) file: super::ConfigFile,
}

/// Not there yet.
pub(super) fn run(_: &Arguments) -> ExitCode {
    super::complain("not available in this build");
    ExitCode::FAILURE
}
