//! A provider that a reload of the configuration can replace while it is in use.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use super::{Credential, CredentialError, CredentialProvider};
use crate::domain::Principal;

/// The provider of the present configuration.
pub struct Replaceable(RwLock<Arc<dyn CredentialProvider>>);

impl Replaceable {
    /// This one for now.
    pub fn new(provider: Arc<dyn CredentialProvider>) -> Self {
        Self(RwLock::new(provider))
    }

    /// Replaces the provider. Credentials that were handed out stay valid.
    pub fn replace(&self, provider: Arc<dyn CredentialProvider>) {
        *self.0.write() = provider;
    }
}

#[async_trait]
impl CredentialProvider for Replaceable {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        let provider = Arc::clone(&self.0.read());
        provider.credential(principal).await
    }

    fn needs_token(&self) -> bool {
        self.0.read().needs_token()
    }
}
