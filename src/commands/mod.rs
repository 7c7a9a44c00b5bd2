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

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
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

/// The exit code where the reader of the output is gone: the one that a shell has for a program that SIGPIPE ended.
const READER_GONE: i32 = 128 + 13;

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
    let Cli { log_format, command } = Cli::try_parse().unwrap_or_else(|error| with_tip(error).exit());
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
        Command::Demo(arguments) => with_runtime(log_format, "warn", async {
            demo::run(&arguments).await.map_err(|error| match error {
                demo::DemoError::Print(error) => not_printed(&error),
                error => ErrorChain(&error).to_string(),
            })
        }),
    }
}

/// The error about a command line, with the way to name a configuration file where one stands without `--config`.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let is_file = |value: &ContextValue| matches!(value, ContextValue::String(word) if word.ends_with(".yaml") || word.ends_with(".yml"));
    if error.kind() == ErrorKind::UnknownArgument && error.get(ContextKind::InvalidArg).is_some_and(is_file) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec!["the configuration file is named by '--config <FILE>'".into()]));
    }
    error
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

/// Prints to standard output, or ends the process: what a command prints is its result.
#[expect(clippy::exit, reason = "a command whose result goes nowhere has nothing left to do")]
fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        let reason = not_printed(&error);
        eprint(&format!("goldcrest: {reason}"));
        process::exit(1);
    }
}

/// Why the output could not be printed. If its reader is gone, as `head` is after its last line, the process ends without a word.
#[expect(clippy::exit, reason = "as a program ends that SIGPIPE ends")]
fn not_printed(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::BrokenPipe {
        process::exit(READER_GONE);
    }
    format!("could not print: {error}")
}

/// Prints a line to standard error, where somebody reads it.
fn eprint(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_file_without_its_option_gets_the_option_as_a_tip() {
        let error = |arguments: &[&str]| with_tip(Cli::try_parse_from(arguments).err().unwrap()).to_string();
        let text = error(&["goldcrest", "check-config", "nope.yaml"]);
        assert!(text.contains("tip: the configuration file is named by '--config <FILE>'"), "{text}");
        assert!(!error(&["goldcrest", "openapi", "nope"]).contains("--config"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
