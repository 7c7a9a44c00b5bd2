//! What several tests of this suite share.

pub mod local_shell;
pub mod scripted;
pub mod service;

use std::time::{Duration, Instant};

use goldcrest::domain::{Principal, Secret, Username};

/// Waits until `predicate` holds.
///
/// # Panics
/// When it does not within `deadline`.
pub async fn wait_for(deadline: Duration, predicate: impl Fn() -> bool) {
    let start = Instant::now();
    while !predicate() {
        assert!(start.elapsed() < deadline, "it did not come to hold within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
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
