//! A loopback HTTP service with scripted answers, which records its requests.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, ready};
use futures::stream::{self, Stream, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::UnboundedReceiver;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The whole request as text, for looking for what must not be in it.
    pub fn text(&self) -> String {
        format!("{} {} {:?} {}", self.method, self.uri, self.headers, String::from_utf8_lossy(&self.body))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What is done on an upgraded connection.
pub type Talk = Box<dyn FnOnce(TokioIo<Upgraded>) -> BoxFuture<'static, ()> + Send>;

/// What the service does with a request.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// The content. After a status of 101, what is sent on the upgraded connection, which then stays open until the client closes it.
    pub body: Vec<u8>,
    /// What follows the body, for as long as it comes.
    pub rest: Option<UnboundedReceiver<Vec<u8>>>,
    /// What is done on the connection after a status of 101, instead of sending the content.
    pub talk: Option<Talk>,
    pub after: Duration,
}

impl Reply {
    /// A 200 with this JSON.
    pub fn json(body: &serde_json::Value) -> Self {
        Self::status(200, body.to_string())
    }

    /// Any status and body.
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), rest: None, talk: None, after: Duration::ZERO }
    }

    /// A 200 whose content comes in pieces.
    pub fn stream(pieces: UnboundedReceiver<Vec<u8>>) -> Self {
        Self { rest: Some(pieces), ..Self::status(200, Vec::new()) }
    }

    /// The same, with a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same, later.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// Sends this on an upgraded connection, and waits until the client closes it.
async fn speak(upgrade: OnUpgrade, content: Vec<u8>) {
    let mut connection = TokioIo::new(upgrade.await.unwrap());
    connection.write_all(&content).await.unwrap();
    let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
}

fn pieces(rest: UnboundedReceiver<Vec<u8>>) -> impl Stream<Item = Vec<u8>> {
    stream::unfold(rest, |mut rest| async move { rest.recv().await.map(|piece| (piece, rest)) })
}

/// The running service; it ends when dropped.
pub struct Service {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    /// Starts a service that answers every request with what `answer` says.
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), answer).await
    }

    /// The same at an address, which an earlier one may have had.
    pub async fn start_at(address: SocketAddr, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let log = Arc::clone(&seen);
        let router = Router::new().fallback(move |mut request: Request| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move {
                let upgrade = request.extensions_mut().remove::<OnUpgrade>();
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
                let request = Seen { at: Instant::now(), method: parts.method, uri: parts.uri, headers: parts.headers, body };
                log.lock().unwrap().push(request.clone());
                let reply = answer(&request);
                tokio::time::sleep(reply.after).await;
                let body = match (reply.status, reply.rest) {
                    (101, _) => {
                        let upgrade = upgrade.expect("the client asks for an upgrade");
                        match reply.talk {
                            Some(talk) => drop(tokio::spawn(async { talk(TokioIo::new(upgrade.await.unwrap())).await })),
                            None => drop(tokio::spawn(speak(upgrade, reply.body))),
                        }
                        Body::empty()
                    }
                    (_, Some(rest)) => Body::from_stream(stream::once(ready(reply.body)).chain(pieces(rest)).map(Ok::<_, Infallible>)),
                    (_, None) => Body::from(reply.body),
                };
                let mut response: Response = (StatusCode::from_u16(reply.status).unwrap(), body).into_response();
                for (name, value) in reply.headers {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        });
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, task }
    }

    /// What came in so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}
