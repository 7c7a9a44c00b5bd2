//! Writes the configuration's JSON Schema and reference page into the source tree, checks that they are up to date, or prints the schema.

use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Compare instead of writing.
    #[arg(long, conflicts_with = "print")]
    check: bool,
    /// Print the schema instead of writing.
    #[arg(long)]
    print: bool,
    /// The root of the source tree, into which they are written. If absent, the current directory if it is that, and otherwise the schema is printed.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Writes or compares both files, or prints the schema.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let schema = format!("{:#}\n", config::schema());
    match super::source_tree(arguments.root.as_deref(), FILE) {
        Some(root) if !arguments.print => {
            super::generated("config-schema", &root, arguments.check, [(FILE, schema), ("docs/configuration.md", config::reference())])
        }
        None if arguments.check => super::failed("--check compares with the files of a source tree: name its root with --root"),
        _ => {
            super::print(&schema);
            ExitCode::SUCCESS
        }
    }
}
