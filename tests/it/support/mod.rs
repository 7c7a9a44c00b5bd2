//! What several tests of this suite share.

pub mod local_shell;
pub mod scripted;
pub mod service;

use std::panic::Location;
use std::time::Duration;

use goldcrest::domain::{Principal, Secret, Username};
use tokio::time::Instant;

/// How long a test waits for what takes a moment: long enough for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `predicate` holds.
///
/// # Panics
/// When it does not within `deadline`; the message names the line that waits.
#[track_caller]
pub fn wait_for(deadline: Duration, mut predicate: impl FnMut() -> bool) -> impl Future<Output = ()> {
    wait_until(deadline, async move || predicate())
}

/// As [`wait_for`], for what takes a question to find out.
#[track_caller]
pub fn wait_until(deadline: Duration, mut predicate: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while !predicate().await {
            assert!(start.elapsed() < deadline, "{caller} waited in vain for {deadline:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A person with an hour left on the token.
pub fn principal(username: &str) -> Principal {
    Principal {
        username: Username::new(username).unwrap(),
        subject: format!("subject-of-{username}"),
        client_id: Some("test-client".to_owned()),
        email: Some(format!("{username}@example.org")),
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1),
        token: Secret::from("test-token".to_owned()),
    }
}
