//! A relay to a loopback port that can be cut and opened again, for components that must not be stopped.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A relay on a port of its own. Its connections end with it, or when it is cut.
pub struct Relay {
    pub port: u16,
    target: u16,
    task: Option<JoinHandle<()>>,
}

impl Relay {
    /// A relay that is open.
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { port, target, task: Some(tokio::spawn(pass(listener, target))) }
    }

    /// Ends all connections and refuses new ones.
    pub async fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // The listener is closed when the task is gone.
            let _ = task.await;
        }
    }

    /// Accepts connections again, on the same port.
    pub async fn open(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.task = Some(tokio::spawn(pass(listener, self.target)));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn pass(listener: TcpListener, target: u16) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await {
                // Small messages pass at once, as they do without a relay.
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                // Either end may close at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
