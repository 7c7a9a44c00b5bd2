//! The command line.
//!
//! One file a subcommand, each with its arguments and a `run` that answers with the exit code: 0 done, 1 not done. To add a
//! subcommand: a file, a variant of [`Command`], an arm in [`run`]. The only module that prints.

pub mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An HPC access proxy: OAuth2 bearer tokens in, jobs and files on clusters out. Speaks the FirecREST v2 API.
#[derive(Parser)]
#[command(name = "goldcrest", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
enum Command {
    /// Serve the API over this machine, with tokens of its own: to look around.
    Demo(demo::Arguments),
}

/// Reads the command line, does what it says, and answers with the exit code.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

#[expect(clippy::print_stderr, reason = "printing is what a command line does")]
fn complain(text: &str) {
    eprintln!("{text}");
}
