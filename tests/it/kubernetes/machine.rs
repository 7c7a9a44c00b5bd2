//! Commands of pods, run by this machine, over the protocol `v5.channel.k8s.io` as a kubelet speaks it: a command whose client is gone has
//! no more input, and nobody reads its output.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::mpsc::{Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Runs a command for the client.
pub async fn run(connection: TokioIo<Upgraded>, words: Vec<String>) {
    let (mut to_client, mut from_client) = WebSocketStream::from_raw_socket(connection, Role::Server, None).await.split();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (said, mut says) = channel(8);
    tokio::spawn(pump(1, child.stdout.take().unwrap(), said.clone()));
    tokio::spawn(pump(2, child.stderr.take().unwrap(), said));
    let mut stdin = child.stdin.take();
    tokio::spawn(async move {
        while let Some(Ok(message)) = from_client.next().await {
            match (message.into_data().split_first(), &mut stdin) {
                // A command need not read its input.
                (Some((0, bytes)), Some(stdin)) => _ = stdin.write_all(bytes).await,
                (Some((255, _)), _) => stdin = None,
                _ => {}
            }
        }
    });
    while let Some(message) = says.recv().await {
        if to_client.send(Message::binary(message)).await.is_err() {
            return;
        }
    }
    let status = child.wait().await.unwrap();
    let exit = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    let causes = json!([{"reason": "ExitCode", "message": exit.to_string()}]);
    let status = match exit {
        0 => json!({"status": "Success"}),
        _ => json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}),
    };
    end(&mut to_client, &status).await;
}

/// Answers as for a pod whose container does not run.
pub async fn refuse(connection: TokioIo<Upgraded>) {
    let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, None).await;
    end(&mut socket, &json!({"status": "Failure", "reason": "InternalError", "message": "container not found (\"job\")"})).await;
}

async fn end(client: &mut (impl SinkExt<Message> + Unpin), status: &serde_json::Value) {
    let message = [&[3], status.to_string().as_bytes()].concat();
    // The client may be gone.
    _ = client.send(Message::binary(message)).await;
    _ = client.close().await;
}

async fn pump(channel: u8, mut output: impl AsyncRead + Unpin, said: Sender<Vec<u8>>) {
    let mut message = vec![channel; 32 * 1024];
    while let Ok(length @ 1..) = output.read(&mut message[1..]).await {
        if said.send(message[..=length].to_vec()).await.is_err() {
            return;
        }
    }
}
