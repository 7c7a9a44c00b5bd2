//! The program: parses the arguments, runs, and leaves with an exit code.

use std::process::ExitCode;

use clap::Parser;
use goldcrest::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
