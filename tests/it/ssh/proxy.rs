//! A TCP proxy that freezes or cuts connections, as networks do.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Those that exist are frozen.
    Frozen,
    /// All are, those that come too.
    Ice,
}

/// A running proxy.
pub struct Proxy {
    pub port: u16,
    weather: Arc<watch::Sender<Weather>>,
    /// A new value cuts every connection made under an older one.
    age: watch::Sender<u64>,
}

impl Proxy {
    /// A proxy in front of a port on loopback.
    pub async fn start(target: u16) -> Self {
        Self::slow(target, Duration::ZERO).await
    }

    /// The same, with this pause after each piece of at most 64 KiB.
    pub async fn slow(target: u16, pause: Duration) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (weather, _) = watch::channel(Weather::Fair);
        let weather = Arc::new(weather);
        let (age, ages) = watch::channel(0);
        let now = Arc::clone(&weather);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { continue };
                // A connection made during a frost is not part of it: the frost is in the old ones.
                let frozen = if *now.borrow() == Weather::Frozen { watch::channel(Weather::Fair).1 } else { now.subscribe() };
                let mut ages = ages.clone();
                ages.mark_unchanged();
                tokio::spawn(async move {
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = carry(near_read, far_write, frozen.clone(), pause) => {}
                        () = carry(far_read, near_write, frozen, pause) => {}
                        _ = ages.changed() => {}
                    }
                });
            }
        });
        Self { port, weather, age }
    }

    /// Freezes the connections that exist: no byte moves, and none is lost.
    pub fn freeze(&self) {
        self.weather.send_replace(Weather::Frozen);
    }

    /// Freezes the connections that exist and all that will come, as a host does whose processes are stopped.
    pub fn freeze_for_good(&self) {
        self.weather.send_replace(Weather::Ice);
    }

    /// Lets all bytes move again.
    pub fn thaw(&self) {
        self.weather.send_replace(Weather::Fair);
    }

    /// Cuts the connections that exist.
    pub fn cut(&self) {
        self.age.send_modify(|age| *age += 1);
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut weather: watch::Receiver<Weather>, pause: Duration) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if weather.wait_for(|weather| *weather == Weather::Fair).await.is_err() {
            // The sender of a fair-weather channel is gone by design.
            if *weather.borrow() != Weather::Fair {
                return;
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}
