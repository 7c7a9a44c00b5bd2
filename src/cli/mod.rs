//! The command line.
//!
//! One file a subcommand, each with its arguments and a `run` that answers with the exit code: 0 done, 1 not done. This
//! module must not know how anything works; it calls `app`, `config` and `http`. To add a subcommand: a file, a variant of
//! [`Command`], an arm in [`run`]. The only module that prints.

mod check_config;
mod config_schema;
mod demo;
mod openapi;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  goldcrest demo                               try it on this machine, without a cluster
  goldcrest check-config --config site.yaml    every mistake in a configuration, with its line
  goldcrest serve --config site.yaml           serve the API
  YAML_CONFIG_FILE=site.yaml goldcrest serve   the same

docs/configuration.md lists every key of the configuration file and the environment variables that stand for them.";

/// An HPC access proxy: OAuth2 bearer tokens in, jobs and files on clusters out. Speaks the FirecREST v2 API.
#[derive(Parser)]
#[command(name = "goldcrest", version, about, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Subcommand)]
enum Command {
    /// Serve the API until told to stop.
    Serve(serve::Arguments),
    /// Check a configuration and show what was understood.
    CheckConfig(check_config::Arguments),
    /// Write the configuration's JSON Schema and reference page.
    ConfigSchema(config_schema::Arguments),
    /// Write the API's OpenAPI document.
    Openapi(openapi::Arguments),
    /// Serve the API over this machine, with tokens of its own: to look around.
    Demo(demo::Arguments),
}

/// The configuration file.
#[derive(Args)]
struct ConfigFile {
    /// The YAML configuration file.
    #[arg(long, env = "YAML_CONFIG_FILE", value_name = "FILE")]
    config: PathBuf,
}

/// Reads the command line, does what it says, and answers with the exit code.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::ConfigSchema(arguments) => config_schema::run(&arguments),
        Command::Openapi(arguments) => openapi::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
    }
}

/// Environment variables that are UTF-8: no other can be a setting.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[expect(clippy::print_stdout, reason = "printing is what a command line does")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "printing is what a command line does")]
fn complain(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
