//! Writes the OpenAPI document into the source tree, or checks that it is up to date.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::http;

/// Where to, and whether to write.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  goldcrest openapi            write openapi/openapi.json
  goldcrest openapi --check    exit with 1 when it is out of date, as continuous integration does
  goldcrest openapi --print    print it")]
pub(super) struct Arguments {
    /// Compare instead of writing.
    #[arg(long, conflicts_with = "print")]
    check: bool,
    /// Print instead of writing.
    #[arg(long)]
    print: bool,
    /// The root of the source tree.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    root: PathBuf,
}

/// Writes, compares or prints the document.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let document = http::document();
    if arguments.print {
        super::print(&document);
        return ExitCode::SUCCESS;
    }
    super::generated("openapi", &arguments.root, arguments.check, [("openapi/openapi.json", document)])
}
