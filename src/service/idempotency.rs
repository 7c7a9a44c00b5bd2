//! The key by which a client names a submission, so that sending it again does not submit it again.

use aws_lc_rs::digest::{Context, SHA256};

use super::Access;
use crate::domain::sha256;
use crate::scheduler::SubmissionKey;

/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// An `Idempotency-Key` with the request that it was sent with.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    key: String,
    request: [u8; 32],
}

impl IdempotencyKey {
    /// The key of a request with this content.
    ///
    /// # Errors
    /// The rule for keys.
    pub fn new(key: &str, content: &[u8]) -> Result<Self, &'static str> {
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the Idempotency-Key is 1 to 255 printable ASCII characters without blanks, such as a UUID");
        }
        Ok(Self { key: key.to_owned(), request: sha256(content) })
    }

    /// The key of one of the submissions of a request, by its place. No client can send such a key: it has a blank.
    pub(super) fn numbered(&self, index: usize) -> Self {
        Self { key: format!("{} {index}", self.key), request: self.request }
    }

    /// The name of the submission: the same for this user, system and key alone, and on every replica.
    pub(super) fn of(&self, access: &Access) -> SubmissionKey {
        let mut context = Context::new(&SHA256);
        for part in [access.principal().username.as_str(), access.cluster().name().as_str(), &self.key] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut name = [0; 16];
        name.copy_from_slice(&context.finish().as_ref()[..16]);
        SubmissionKey::new(&name, &self.request)
    }
}
