//! Writes the OpenAPI document into the source tree, checks that it is up to date, or prints it.

use std::process::ExitCode;

use super::generated;
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
    #[command(flatten)]
    target: generated::Target,
}

/// Writes, compares or prints the document.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    generated::run("openapi", &arguments.target, [(FILE, http::document())])
}
