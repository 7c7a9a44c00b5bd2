//! Serves the API.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::app::App;
use crate::config;
use crate::error::ErrorChain;
use crate::lifecycle::{Drained, Lifecycle};

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

/// Serves until a signal stops it. An error is the text to show.
pub(super) async fn run(arguments: &Arguments) -> Result<(), String> {
    let loaded = config::load(&arguments.file.config, super::environment()).map_err(|error| {
        let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
        format!("{} has mistakes\n{}", arguments.file.config.display(), problems.join("\n"))
    })?;
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    let address = loaded.config.server.listen;
    let drain = Duration::from_secs(loaded.config.server.drain_timeout);
    let app = App::build(loaded.config).map_err(|error| ErrorChain(&error).to_string())?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("server.listen: {address} cannot be listened on: {error}"))?;
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
