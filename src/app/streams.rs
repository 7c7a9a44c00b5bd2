//! Listens for clients of firecrest-streamer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::listen::until_bound;
use crate::cluster::Config;
use crate::http;
use crate::service::{Gate, State};
use crate::transfer::DataTransfer;
use crate::transfer::streamer::Endpoint;

/// Time limit for transfers under way when the process stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for a client to request its transfer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Interval between attempts to listen.
const BIND_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The endpoints of the streamers of a system.
pub(super) fn endpoints(config: &Config) -> Vec<Endpoint> {
    let endpoint = |service: &DataTransfer| match service {
        DataTransfer::Streamer(streamer) => Some(Endpoint::of(streamer)),
        DataTransfer::S3(_) | DataTransfer::Wormhole(_) => None,
    };
    config.data_operation.transfers().iter().filter_map(endpoint).collect()
}

/// Serves clients on the first free port of an endpoint until `stop` is cancelled, by a reload or with `ending` at the end of the process. While none is
/// free, it tries again.
pub(super) async fn listen(
    endpoint: Endpoint,
    state: State,
    gate: impl Fn() -> Gate + Send + Sync + 'static,
    stop: CancellationToken,
    ending: CancellationToken,
) {
    let routes = http::streams(gate);
    let report = |error| {
        let [first, last] = endpoint.ports;
        tracing::warn!(host = endpoint.host, first, last, %error, "no port could be listened on for clients of firecrest-streamer: it is tried again");
    };
    let bound = until_bound(|| bind(&endpoint), BIND_RETRY_INTERVAL, report, &stop).await;
    let Some((listener, port)) = bound else { return };
    tracing::info!(host = endpoint.host, port, "clients of firecrest-streamer are served");
    state.streams().listening(&endpoint, Some(port));
    let limits = http::TimeLimits { head: HEAD_TIMEOUT, ..http::TimeLimits::draining(DRAIN_TIMEOUT) };
    let outcome = http::serve(listener, routes, Arc::default(), stop, limits).await;
    if outcome == http::ServeOutcome::Cut && ending.is_cancelled() {
        state.streams().cut();
    }
    state.streams().listening(&endpoint, None);
}

async fn bind(endpoint: &Endpoint) -> io::Result<(TcpListener, u16)> {
    let [first, last] = endpoint.ports;
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    for port in first..=last {
        match TcpListener::bind((&*endpoint.host, port)).await {
            Ok(listener) => {
                let port = listener.local_addr()?.port();
                return Ok((listener, port));
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
