//! One session channel: waits for what to run, runs it, reports how it ended, closes.

use std::sync::Arc;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::OwnedSemaphorePermit;

use super::program::{Program, signal_name};
use super::stream::{Backlog, receive, send};
use super::{ServerState, Subsystem};

/// The number that marks standard error in SSH's extended data (RFC 4254, 5.2).
const STDERR: u32 = 1;

/// The exit status of a shell that cannot run a command (POSIX shell, 2.8.2).
const CANNOT_EXECUTE: u32 = 126;

/// Bytes between a subsystem and its channel, in either direction.
const SUBSYSTEM_BUFFER: usize = 256 * 1024;

/// Serves the channel to its end. `place` is given back before the client hears of the end, so that it may open the next
/// channel at once.
pub(super) async fn run(
    channel: Channel<Msg>,
    connection: Handle,
    shared: Arc<ServerState>,
    backlog: &Backlog,
    place: OwnedSemaphorePermit,
) {
    let id = channel.id();
    let (mut reader, writer) = channel.split();
    let end = match request(&mut reader, &shared, backlog).await {
        Some(SessionRequest::Exec(command)) => exec(&command, &mut reader, &writer, &shared, backlog).await,
        Some(SessionRequest::Subsystem(subsystem)) => subsystem_session(&subsystem, &mut reader, &writer, &shared, backlog).await,
        None => End::Abandoned,
    };
    drop(place);
    // The connection may be closed by now; then there is no receiver.
    match end {
        End::Status(status) => connection.exit_status_request(id, status).await.ok(),
        End::Signal { name, core_dumped } => connection.exit_signal_request(id, name, core_dumped, String::new(), String::new()).await.ok(),
        End::Abandoned => None,
    };
    connection.eof(id).await.ok();
    connection.close(id).await.ok();
}

/// The program that the client requested.
enum SessionRequest {
    Exec(Vec<u8>),
    Subsystem(Subsystem),
}

/// How it ended.
enum End {
    Status(u32),
    Signal {
        name: Sig,
        core_dumped: bool,
    },
    /// The client has closed the connection, or the server stops: no report is expected.
    Abandoned,
}

/// The first request that `Connection` granted; the others were refused there.
async fn request(reader: &mut ChannelReadHalf, shared: &ServerState, backlog: &Backlog) -> Option<SessionRequest> {
    loop {
        let message = tokio::select! {
            message = reader.wait() => message?,
            () = shared.stop.cancelled() => return None,
        };
        match message {
            ChannelMsg::Exec { command, .. } => return Some(SessionRequest::Exec(command)),
            ChannelMsg::RequestSubsystem { name, .. } => {
                if let Some(subsystem) = shared.subsystems.get(name.as_str()) {
                    return Some(SessionRequest::Subsystem(subsystem.clone()));
                }
            }
            // Input for nothing.
            ChannelMsg::Data { data } => backlog.read(data.len()),
            ChannelMsg::Close => return None,
            _ => {}
        }
    }
}

async fn exec(
    command: &[u8],
    reader: &mut ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
    shared: &ServerState,
    backlog: &Backlog,
) -> End {
    let (mut program, stdio) = match Program::start(&shared.account, command) {
        Ok(started) => started,
        Err(error) => {
            let text = format!("{}: {error}\n", shared.account.shell.display());
            writer.extended_data_bytes(STDERR, text.into_bytes()).await.ok();
            return End::Status(CANNOT_EXECUTE);
        }
    };
    let group = program.group();
    let status = {
        // The output ends before the program is waited for: what a client reads is whole when the status comes.
        let finished = async {
            tokio::join!(send(stdio.stdout, writer, None), send(stdio.stderr, writer, Some(STDERR)));
            program.wait().await
        };
        tokio::select! {
            status = finished => Some(status),
            () = receive(reader, stdio.stdin, backlog, |signal| group.send(&signal)) => None,
            () = shared.stop.cancelled() => None,
        }
    };
    match status {
        Some(Ok(status)) => match status.code() {
            Some(code) => End::Status(code.cast_unsigned()),
            None => {
                let (name, core_dumped) = signal_name(status);
                End::Signal { name, core_dumped }
            }
        },
        Some(Err(error)) => {
            tracing::warn!(error = %error, "a command could not be waited for");
            program.stop().await;
            End::Abandoned
        }
        None => {
            program.stop().await;
            End::Abandoned
        }
    }
}

async fn subsystem_session(
    subsystem: &Subsystem,
    reader: &mut ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
    shared: &ServerState,
    backlog: &Backlog,
) -> End {
    let (ours, theirs) = tokio::io::duplex(SUBSYSTEM_BUFFER);
    let (source, sink) = tokio::io::split(ours);
    let served = async {
        let (result, ()) = tokio::join!(subsystem(theirs), send(source, writer, None));
        result
    };
    tokio::select! {
        result = served => match result {
            Ok(()) => End::Status(0),
            Err(error) => {
                tracing::debug!(error = %error, "a subsystem ended with an error");
                End::Status(1)
            }
        },
        () = receive(reader, sink, backlog, |_| {}) => End::Abandoned,
        () = shared.stop.cancelled() => End::Abandoned,
    }
}
