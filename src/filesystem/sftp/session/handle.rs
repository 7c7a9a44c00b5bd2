//! Open files and directories of a session, as many as the server permits.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Failure, Packet, Session, SessionState};
use crate::filesystem::sftp::protocol::{Request, Response};

/// An open file or directory of the server. Dropping it sends CLOSE without waiting for the reply.
pub struct Handle {
    bytes: Bytes,
    session: Option<Arc<Session>>,
    /// Given back once CLOSE is on its way, which the server takes before whatever is opened next.
    permit: Option<OwnedSemaphorePermit>,
}

impl Handle {
    /// The server's name for it.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Closes it and waits for the server's word that all went well.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub async fn close(mut self) -> Result<(), Failure> {
        match self.session.take() {
            Some(session) => session.command(&Request::Close { handle: self.bytes.clone() }).await,
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let request = Request::Close { handle: self.bytes.clone() };
        if let Ok(permit) = session.permits.clone().try_acquire_owned() {
            // Where the session has ended, the server has closed the handle already.
            let _ = SessionState::send(&session.shared, Packet::of(&request), None, permit);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let opened = self.permit.take();
            runtime.spawn(async move {
                // What comes of it does not matter: a session that fails takes its open files with it.
                let _ = session.command(&request).await;
                drop(opened);
            });
        }
    }
}

impl Session {
    /// Opens a file or directory; the handle closes when dropped. Do not wait for a second handle while holding one: all who hold one would wait
    /// for each other.
    ///
    /// # Errors
    /// As [`Session::request`].
    pub async fn handle(self: &Arc<Self>, request: &Request) -> Result<Handle, Failure> {
        let permit = self.turn(&self.handles, 1).await?;
        self.open_with(permit, request).await
    }

    /// Opens two files; the second is not tried if the first fails. `beside` is done with the first while the second is opened.
    ///
    /// # Errors
    /// As [`Session::request`]: outside for the first, inside for the second.
    pub async fn two_handles<T>(
        self: &Arc<Self>,
        first: &Request,
        second: &Request,
        beside: impl AsyncFnOnce(&Handle) -> T,
    ) -> Result<(Handle, Result<Handle, Failure>, T), Failure> {
        let mut permits = self.turn(&self.handles, 2).await?;
        let permit = permits.split(1).ok_or_else(Failure::unexpected)?;
        let first = self.open_with(permit, first).await?;
        let (second, done) = futures::join!(self.open_with(permits, second), beside(&first));
        Ok((first, second, done))
    }

    async fn open_with(self: &Arc<Self>, permit: OwnedSemaphorePermit, request: &Request) -> Result<Handle, Failure> {
        match self.request(request).await? {
            Response::Handle { handle } => Ok(Handle { bytes: handle, session: Some(self.clone()), permit: Some(permit) }),
            _ => Err(Failure::unexpected()),
        }
    }
}
