//! What several tests of this suite share.

pub mod local_shell;
pub mod scripted;

use goldcrest::domain::{Principal, Secret, Username};

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
