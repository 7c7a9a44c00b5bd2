//! Writes the OpenAPI document into the source tree, checks that it is up to date, or prints it.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::http;

/// The document in the source tree.
const FILE: &str = "openapi/openapi.json";

/// Where to, and whether to write.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  goldcrest openapi > openapi.json    print it, anywhere but at the root of the source tree
  goldcrest openapi                   at the root of the source tree: write openapi/openapi.json
  goldcrest openapi --check           exit with 1 when that is out of date, as continuous integration does
  goldcrest openapi --print           print it there too")]
pub(super) struct Arguments {
    /// Compare instead of writing.
    #[arg(long, conflicts_with = "print")]
    check: bool,
    /// Print instead of writing.
    #[arg(long)]
    print: bool,
    /// The root of the source tree, into which it is written. If absent, the current directory if it is that, and otherwise the document is printed.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Writes, compares or prints the document.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let document = http::document();
    match super::source_tree(arguments.root.as_deref(), FILE) {
        Some(root) if !arguments.print => super::generated("openapi", &root, arguments.check, [(FILE, document)]),
        None if arguments.check => super::failed("--check compares with the file of a source tree: name its root with --root"),
        _ => {
            super::print(&document);
            ExitCode::SUCCESS
        }
    }
}
