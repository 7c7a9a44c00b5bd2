//! Transfers that outlast a request.

use super::{Access, ServiceError};

/// Why there are no transfer jobs.
pub const UNSUPPORTED: &str = "Transfer jobs are not supported by this version: use the operations below /filesystem/{system_name}/ops";

/// Starts a transfer job of the kind `operation`.
///
/// # Errors
/// Always [`ServiceError::Unsupported`]: no transfer method is built in. The answer says what to use instead.
pub fn start(access: &Access, operation: &'static str) -> Result<(), ServiceError> {
    tracing::debug!(system = %access.cluster().name(), operation, "a transfer job was asked for");
    Err(ServiceError::Unsupported(UNSUPPORTED))
}
