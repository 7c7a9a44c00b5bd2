//! Checks that a running server is healthy: the health check of container images, which contain no other program that could do
//! it.

use std::time::Duration;

use crate::error::ErrorChain;
use crate::rest::{Client, Request, RestError, Url};

/// The time limit for the answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The remark on an answer without HTTP, such as that of a port with TLS.
const PLAIN_HINT: &str = ": if the server has TLS (server.tls), use https://";

/// The arguments of `goldcrest health`.
#[derive(clap::Args)]
#[command(after_help = "\
Exit code: 0 if the server answers with a success status, 1 otherwise.
For a certificate of a private authority, the environment variable SSL_CERT_FILE names a file with the authority's certificate.")]
pub(super) struct Arguments {
    /// The URL of the liveness check, with the server's port and its `apis_root_path` if it has one.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000/status/liveness/")]
    url: String,
}

/// Asks once. An error is the text to show.
pub(super) async fn run(arguments: Arguments) -> Result<(), String> {
    match Url::parse(&arguments.url) {
        Ok(url) => {
            let is_plain = !url.is_https();
            ask(url).await.map_err(|error| {
                let hint = if is_plain && matches!(error, RestError::Transport(_) | RestError::Status(400)) { PLAIN_HINT } else { "" };
                format!("{}: {}{hint}", arguments.url, ErrorChain(&error))
            })
        }
        Err(error) => Err(format!("{}: {error}", arguments.url)),
    }
}

async fn ask(url: Url) -> Result<(), RestError> {
    Client::new()?.send(Request::get(url).timeout(RESPONSE_TIMEOUT)).await?.success()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_a_success_is_alive() {
        for (status, alive) in [("200 OK", true), ("503 Service Unavailable", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/status/liveness/", listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                let mut connection = listener.accept().await.unwrap().0;
                let _ = connection.read(&mut [0; 4096]).await.unwrap();
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                connection.write_all(answer.as_bytes()).await.unwrap();
                // Until the client has closed, so that no reset overtakes the answer.
                tokio::io::copy(&mut connection, &mut tokio::io::sink()).await.unwrap();
            });
            assert_eq!(run(Arguments { url }).await.is_ok(), alive, "{status}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn a_port_that_answers_with_tls_is_recognised() {
        // The alert of a TLS server (RFC 8446, 6), and a server that closes without an answer.
        for answer in [&b"\x15\x03\x03\x00\x02\x02\x32"[..], b""] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/status/liveness/", listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                let mut connection = listener.accept().await.unwrap().0;
                let _ = connection.read(&mut [0; 4096]).await.unwrap();
                connection.write_all(answer).await.unwrap();
                connection.shutdown().await.unwrap();
                tokio::io::copy(&mut connection, &mut tokio::io::sink()).await.unwrap();
            });
            let error = run(Arguments { url }).await.unwrap_err();
            assert!(error.ends_with("use https://"), "{error}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_nothing_lives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let error = run(Arguments { url: url.clone() }).await.unwrap_err();
        assert!(error.starts_with(&url), "{error}");
        assert!(run(Arguments { url: "liveness".to_owned() }).await.is_err());
    }
}
