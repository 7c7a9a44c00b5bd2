//! Serves the API.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::app::App;
use crate::config::{self, Config, Loaded};
use crate::error::ErrorChain;
use crate::lifecycle::{Drained, Lifecycle, allow_many_files};

/// How long the connections to the clusters may take to close after the last request.
const CLOSE: Duration = Duration::from_secs(10);

/// Which configuration.
#[derive(clap::Args)]
#[command(after_help = "\
SIGTERM and SIGINT stop it: no new connections, requests under way end within server.drain_timeout seconds.
GOLDCREST_LOG chooses what is logged, for example `debug` or `goldcrest::ssh=debug,info`.")]
pub(super) struct Arguments {
    #[command(flatten)]
    file: super::ConfigFile,
}

/// Reads the configuration. An error is the text to show.
pub(super) fn load(arguments: &Arguments) -> Result<Loaded, String> {
    config::load(&arguments.file.config, super::environment()).map_err(|error| {
        let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
        format!("{} has mistakes\n{}", arguments.file.config.display(), problems.join("\n"))
    })
}

/// What is logged where the environment does not say otherwise.
pub(super) fn default_filter(config: &Config) -> &'static str {
    if config.app_debug { "goldcrest=debug,info" } else { "info" }
}

/// Serves until a signal stops it. An error is the text to show.
pub(super) async fn run(loaded: Loaded) -> Result<(), String> {
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let address = loaded.config.server.listen;
    let drain = Duration::from_secs(loaded.config.server.drain_timeout);
    let metrics = loaded.config.metrics.as_ref().map(|metrics| metrics.listen);
    let mut app = App::build(loaded.config).map_err(|error| ErrorChain(&error).to_string())?;
    let listener = bind("server.listen", address).await?;
    if let Some(address) = metrics {
        app = app.with_metrics(bind("metrics.listen", address).await?);
        tracing::info!(%address, "metrics are shown");
    }
    allow_many_files();
    let lifecycle = Lifecycle::new();
    lifecycle.shutdown_on_signal().map_err(|error| format!("the signals cannot be listened to: {error}"))?;
    let stop = lifecycle.token();
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    lifecycle.spawn("the API", app.serve(listener, stop.clone()));
    stop.cancelled().await;
    match lifecycle.drain(drain + CLOSE).await {
        Drained::Completed => Ok(()),
        Drained::TimedOut(names) => Err(format!("stopped before these had ended: {}", names.join(", "))),
    }
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("{key}: {address} cannot be listened on: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_debug_raises_the_level_of_the_log() {
        let example = include_str!("../../config/goldcrest.example.yaml");
        for (variables, expected) in [(vec![], "info"), (vec![("APP_DEBUG".to_owned(), "true".to_owned())], "goldcrest=debug,info")] {
            let loaded = config::from_yaml(example, variables.into_iter()).unwrap();
            assert_eq!(default_filter(&loaded.config), expected);
        }
    }
}
