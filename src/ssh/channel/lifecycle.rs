//! Opens a channel on a connection that may be dead, and makes sure that a channel is closed.
//!
//! Both run in tasks of their own, so that a caller who leaves does not interrupt them: a channel opened for no caller, or not
//! closed, would count against the server's `MaxSessions` for as long as the connection lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::ssh::lease::permit::ChannelPermit;
use crate::ssh::stats::{Closed, add};

/// The time for a command to end after each of SIGTERM and SIGKILL.
const SIGNAL_GRACE: Duration = Duration::from_secs(1);

/// An open channel, with the right to it.
pub(crate) type OpenChannel = (ChannelPermit, ChannelReadHalf, ChannelWriteHalf<Msg>);

/// The outcome of opening a channel. In all cases but the first, provably nothing was sent.
pub(crate) enum Opened {
    /// It is open.
    Channel(OpenChannel),
    /// The server has its limit of channels on that connection.
    Full,
    /// The server opens no session at all.
    Refused,
    /// The connection is dead, or does not answer.
    Dead,
}

/// Opens a channel. A connection that is silent for half of `answer_timeout` is abandoned; one that is alive has all of it.
pub(crate) async fn open(permit: ChannelPermit, answer_timeout: Duration) -> Opened {
    let started = Instant::now();
    let (lane, connection) = (Arc::clone(&permit.lane), Arc::clone(permit.connection()));
    let (result, mut opened) = oneshot::channel();
    tokio::spawn(async move {
        let opened = permit.connection().channel().await;
        if let Err((permit, Ok(channel))) = result.send((permit, opened)) {
            let (read, write) = channel.split();
            stop((permit, read, write)).await;
        }
    });
    loop {
        match timeout(answer_timeout / 20, &mut opened).await {
            Ok(Ok((permit, Ok(channel)))) => {
                add(&lane.admission.target.counters.channels);
                let (read, write) = channel.split();
                return Opened::Channel((permit, read, write));
            }
            Ok(Ok((permit, Err(russh::Error::ChannelOpenFailure(_))))) => {
                return if lane.refused(permit.connection()) { Opened::Full } else { Opened::Refused };
            }
            Ok(_) => return Opened::Dead,
            Err(_) => {
                // Another waiter may have found it dead already.
                let given_up = matches!(connection.retired(), Some((Closed::Frozen, _))) || started.elapsed() >= answer_timeout / 2;
                if (given_up && !connection.liveness.heard_since(started)) || started.elapsed() >= answer_timeout {
                    break;
                }
            }
        }
    }
    // The permit stays with the task; the connection ends when the keepalive says so, or lives on without new work.
    connection.retire(Closed::Frozen);
    lane.recheck();
    Opened::Dead
}

/// Ends what runs on a channel and waits until the server has closed it; only then is the permit released.
///
/// sshd delivers signals to the command's process group (RFC 4254, 6.9); a closed channel alone would leave a command that
/// neither reads nor writes running, and counted.
pub(crate) async fn stop((permit, mut read, write): OpenChannel) {
    for signal in [Sig::TERM, Sig::KILL] {
        let sent = timeout(SIGNAL_GRACE, async { write.signal(signal).await.is_ok() && write.eof().await.is_ok() }).await;
        if sent == Ok(false) || timeout(SIGNAL_GRACE, closed(&mut read)).await.is_ok() {
            return;
        }
    }
    // The library no longer tells what the server does with a channel that we closed first. So the connection takes no more
    // channels: one of them might be one too many.
    permit.retire(Closed::Lingering);
    let _ = timeout(SIGNAL_GRACE, write.close()).await;
}

/// Closes a channel on which nothing runs, because the server refused the request.
pub(crate) async fn abandon(permit: ChannelPermit, write: ChannelWriteHalf<Msg>, answer_timeout: Duration) {
    let closed = matches!(timeout(SIGNAL_GRACE, write.close()).await, Ok(Ok(())));
    // The library does not tell of the server's close; an answer to a later message does.
    if !(closed && permit.connection().answers(answer_timeout).await) {
        permit.retire(Closed::Frozen);
    }
}

/// Reads and discards until the server has closed the channel, or the connection is gone.
async fn closed(read: &mut ChannelReadHalf) {
    while !matches!(read.wait().await, None | Some(ChannelMsg::Close)) {}
}
