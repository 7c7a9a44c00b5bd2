//! The command line.
//!
//! One file for each subcommand, with its arguments and a `run` that returns the exit code: 0 for success, 1 for failure. This
//! module must not know how anything works; it calls `app`, `config`, `http` and `demo`. To add a subcommand: a file, a variant of
//! [`Command`], an arm in [`run`]. The only module that prints.

mod check_config;
mod check_connections;
mod config_schema;
mod generated;
mod health;
mod openapi;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, CommandFactory, Parser, Subcommand};

#[cfg(feature = "demo")]
use crate::demo;
use crate::error::ErrorChain;
use crate::http;
use crate::telemetry::{self, LogFormat};

#[cfg(feature = "demo")]
const DEMO_EXAMPLE: &str = "
  goldcrest demo                               try it on this machine, without a cluster";

#[cfg(not(feature = "demo"))]
const DEMO_EXAMPLE: &str = "";

/// The examples below the help.
static EXAMPLES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "\
Examples:{DEMO_EXAMPLE}
  goldcrest check-config --config site.yaml    every mistake in a configuration, with its line
  goldcrest check-config --connect --config site.yaml    also whether every service in it answers
  goldcrest serve --config site.yaml           serve the API
  YAML_CONFIG_FILE=site.yaml goldcrest serve   the same

docs/configuration.md lists every key of the configuration file and the environment variables that override them."
    )
});

/// The version, the commit that it was built from, and the release of the API that it speaks.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let (version, commit, level) = (env!("CARGO_PKG_VERSION"), env!("GOLDCREST_COMMIT"), http::API_LEVEL);
    format!("{version} (commit {commit}, API level FirecREST {level})")
});

/// An HPC access proxy: OAuth2 bearer tokens in, jobs and files on clusters out. Speaks the FirecREST v2 API.
#[derive(Parser)]
#[command(name = "goldcrest", version = VERSION.as_str(), about, after_help = EXAMPLES.as_str())]
struct Cli {
    /// Format of log lines: `auto` is text on a terminal and JSON otherwise. GOLDCREST_LOG selects what is logged.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "auto")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// The subcommands.
#[derive(Subcommand)]
enum Command {
    /// Serve the API until a signal stops it.
    Serve(serve::Arguments),
    /// Check that a running server is healthy.
    Health(health::Arguments),
    /// Check a configuration and show what was understood.
    CheckConfig(check_config::Arguments),
    /// Print the configuration's JSON Schema, or write it and the reference page into the source tree.
    ConfigSchema(config_schema::Arguments),
    /// Print the API's OpenAPI document, or write it into the source tree.
    Openapi(openapi::Arguments),
    /// Start a complete system on this machine, for evaluation: token issuer, SSH server, batch scheduler, API.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

/// The configuration file.
#[derive(Args)]
struct ConfigFile {
    /// The YAML configuration file.
    #[arg(long, env = "YAML_CONFIG_FILE", value_name = "FILE")]
    config: PathBuf,
}

/// The command line's description, from which manual pages and completions are made.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line, runs the subcommand, and returns the exit code.
pub fn run() -> ExitCode {
    let Cli { log_format, command } = Cli::parse();
    match command {
        Command::Serve(arguments) => match serve::load(&arguments.file.config) {
            Ok(loaded) => with_runtime(log_format, serve::default_filter(&loaded.config), serve::run(loaded, arguments.file.config)),
            Err(error) => failed(&error),
        },
        Command::Health(arguments) => with_runtime(log_format, "warn", health::run(arguments)),
        Command::CheckConfig(arguments) => check_config::run(&arguments, log_format),
        Command::ConfigSchema(arguments) => config_schema::run(&arguments),
        Command::Openapi(arguments) => openapi::run(&arguments),
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => {
            with_runtime(log_format, "warn", async { demo::run(&arguments).await.map_err(|error| ErrorChain(&error).to_string()) })
        }
    }
}

/// Runs `work` with the log and the asynchronous runtime set up. An error is the text to show.
fn with_runtime(format: LogFormat, default_filter: &str, work: impl Future<Output = Result<(), String>>) -> ExitCode {
    let done = telemetry::init(format, default_filter)
        .map_err(|error| ErrorChain(&error).to_string())
        .and_then(|()| tokio::runtime::Runtime::new().map_err(|error| format!("the runtime could not be started: {error}")))
        .and_then(|runtime| runtime.block_on(work));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &str) -> ExitCode {
    eprint(&format!("goldcrest: {error}"));
    ExitCode::FAILURE
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
fn eprint(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
