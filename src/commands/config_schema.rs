//! Writes the configuration's JSON Schema and reference page into the source tree, or checks that they are up to date.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config;

/// Where to, and whether to write.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  goldcrest config-schema            write config/schema.json and docs/configuration.md
  goldcrest config-schema --check    exit with 1 when they are out of date, as continuous integration does")]
pub(super) struct Arguments {
    /// Compare instead of writing.
    #[arg(long)]
    check: bool,
    /// The root of the source tree.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
}

/// Writes or compares both files.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let files = [("config/schema.json", format!("{:#}\n", config::schema())), ("docs/configuration.md", config::reference())];
    super::generated("config-schema", &arguments.root, arguments.check, files)
}
