//! The command line: what can be asked of the program, and how its answers look.
//!
//! To add a command: a variant of `Command`, a file here, and an arm in [`run`]. This module must not know HTTP or SSH.

pub mod demo;
mod parts;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::ErrorChain;
use crate::telemetry::{self, LogFormat};

/// An HPC access proxy: OAuth2 bearer tokens in, jobs and files on clusters out.
#[derive(Debug, Parser)]
#[command(name = "goldcrest", version)]
pub struct Cli {
    /// How log lines look: `auto` is text on a terminal and JSON otherwise. GOLDCREST_LOG says what is logged.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a complete system on this machine, for evaluation: token issuer, SSH server, batch scheduler, proxy.
    Demo(demo::DemoArgs),
}

/// Does what the command line asks.
pub async fn run(cli: Cli) -> ExitCode {
    let Cli { log_format, command } = cli;
    let done = match command {
        Command::Demo(args) => match telemetry::init(log_format, "warn") {
            Ok(()) => demo::run(&args, parts::demo()).await.map_err(Failure::from),
            Err(error) => Err(error.into()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(error)) => {
            // Where even standard error is closed, the exit code remains.
            writeln!(std::io::stderr(), "goldcrest: {}", ErrorChain(&*error)).ok();
            ExitCode::FAILURE
        }
    }
}

/// What ended a command early.
struct Failure(Box<dyn std::error::Error>);

impl<E: std::error::Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}
