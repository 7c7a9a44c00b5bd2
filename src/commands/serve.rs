//! Serves the API.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::{App, Reload};
use crate::config::{self, Config, Loaded};
use crate::error::ErrorChain;
use crate::http::{ReloadTrigger, ServeOutcome};
use crate::lifecycle::{Drained, Lifecycle, allow_many_files, systemd};

/// The time limit for closing the connections to the clusters after the last request.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The arguments of `goldcrest serve`.
#[derive(clap::Args)]
#[command(after_help = "\
SIGTERM and SIGINT stop it: no new connections, requests under way end within server.drain_timeout seconds.
SIGHUP reads the configuration anew: it is checked first and refused whole where it has a mistake; requests go on.
GOLDCREST_LOG chooses what is logged, for example `debug` or `goldcrest::ssh=debug,info`.")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) file: super::ConfigFile,
}

/// Reads the configuration. An error is the text to show.
pub(super) fn load(file: &Path) -> Result<Loaded, String> {
    config::load(file, super::environment()).map_err(|error| {
        let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
        format!("{} has mistakes\n{}", file.display(), problems.join("\n"))
    })
}

/// The default log filter, which the environment can override.
pub(super) fn default_filter(config: &Config) -> &'static str {
    if config.app_debug { "goldcrest=debug,info" } else { "info" }
}

/// Serves until a signal stops it. An error is the text to show.
pub(super) async fn run(loaded: Loaded, file: PathBuf) -> Result<(), String> {
    for warning in &loaded.warnings {
        tracing::warn!("configuration: {warning}");
    }
    // From here on SIGHUP no longer ends the process.
    let lifecycle = Lifecycle::new();
    let no_signals = |error| format!("the signals cannot be listened to: {error}");
    let hangup = lifecycle.notify_on_hangup().map_err(no_signals)?;
    lifecycle.shutdown_on_signal().map_err(no_signals)?;
    let address = loaded.config.server.listen;
    let scheme = if loaded.config.server.tls.is_some() { "https" } else { "http" };
    let reload = Reload {
        load: Box::new(move || config::load(&file, super::environment())),
        requested: hangup,
        watch: loaded.config.server.reload == ReloadTrigger::Watch,
    };
    let drain = Duration::from_secs(loaded.config.server.drain_timeout);
    let metrics = loaded.config.metrics.as_ref().map(|metrics| metrics.listen);
    let mut app = App::build(loaded.config).map_err(|error| ErrorChain(&error).to_string())?.with_reload(reload);
    let listener = bind("server.listen", address).await?;
    if let Some(address) = metrics {
        app = app.with_metrics(bind("metrics.listen", address).await?);
        tracing::info!(%address, "metrics are served");
    }
    allow_many_files();
    let stop = lifecycle.token();
    tracing::info!(%address, scheme, version = super::VERSION.as_str(), "serving");
    let (report, mut outcome) = oneshot::channel();
    let serving = app.serve(listener, stop.clone());
    lifecycle.spawn("the API", async move { _ = report.send(serving.await) });
    systemd::status("serving");
    systemd::ready();
    stop.cancelled().await;
    systemd::stopping();
    match lifecycle.drain(drain + CLOSE_TIMEOUT).await {
        Drained::Completed if outcome.try_recv() == Ok(ServeOutcome::Cut) => {
            Err("stopped before every request had ended: see server.drain_timeout".to_owned())
        }
        Drained::Completed => {
            tracing::info!("stopped: every request had ended");
            Ok(())
        }
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
