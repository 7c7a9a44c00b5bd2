//! Commands that callers may run on the login node.

use schemars::JsonSchema;
use serde::Deserialize;

/// Commands that callers with the relation `run` may run on the login node as themselves.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Commands {
    /// Patterns, one of which a command must match word by word. A word of a pattern matches itself; `~` and a regular expression match one word as a
    /// whole; `~*` and a regular expression, at the end, match any number of such words, none included. The first word, the program,
    /// matches itself. An expression for paths should exclude `..`: `/scratch/.*` matches `/scratch/../etc` too.
    pub allow: Vec<Vec<String>>,
    /// Time limit of a command in seconds. A request may ask for less.
    #[serde(default = "default_time_limit")]
    #[schemars(range(min = 1, max = 3600))]
    pub time_limit: u64,
    /// Maximum output of a command in bytes, standard output and error together. A command that prints more is ended.
    #[serde(default = "default_max_output")]
    #[schemars(range(min = 1))]
    pub max_output: usize,
    /// Maximum standard input of a command in bytes.
    #[serde(default = "default_max_input")]
    pub max_input: usize,
    /// Maximum number of commands that one user runs at a time, on all systems together.
    #[serde(default = "default_max_per_user")]
    #[schemars(range(min = 1))]
    pub max_per_user: u64,
}

fn default_time_limit() -> u64 {
    60
}

fn default_max_output() -> usize {
    1024 * 1024
}

fn default_max_input() -> usize {
    64 * 1024
}

fn default_max_per_user() -> u64 {
    4
}
