//! Writes the configuration's JSON Schema and reference page into the source tree, checks that they are up to date, or prints the schema.

use std::process::ExitCode;

use super::generated;
use crate::config;

/// The schema in the source tree.
const FILE: &str = "config/schema.json";

/// Where to, and whether to write.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  goldcrest config-schema > schema.json    print the schema, anywhere but at the root of the source tree
  goldcrest config-schema                  at the root of the source tree: write config/schema.json and docs/configuration.md
  goldcrest config-schema --check          exit with 1 when they are out of date, as continuous integration does
  goldcrest config-schema --print          print the schema there too")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: generated::Target,
}

/// Writes or compares both files, or prints the schema.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let schema = format!("{:#}\n", config::schema());
    generated::run("config-schema", &arguments.target, [(FILE, schema), ("docs/configuration.md", config::reference())])
}
