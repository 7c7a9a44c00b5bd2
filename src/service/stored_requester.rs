//! The sender of a request as the store keeps it for work that goes on after the request: without the token.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::audit::Requester;
use crate::domain::{Principal, Secret, Username};

/// The requester without the token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredRequester {
    pub(super) username: Username,
    pub(super) subject: String,
    client_id: Option<String>,
    email: Option<String>,
    groups: Vec<String>,
    scopes: Vec<String>,
    expires_at: Timestamp,
    is_service_account: bool,
    request_id: String,
    address: Option<IpAddr>,
}

impl StoredRequester {
    /// This requester.
    pub(super) fn of(requester: &Requester) -> Self {
        let principal = &requester.principal;
        Self {
            username: principal.username.clone(),
            subject: principal.subject.clone(),
            client_id: principal.client_id.clone(),
            email: principal.email.clone(),
            groups: principal.groups.clone(),
            scopes: principal.scopes.clone(),
            expires_at: principal.expires_at,
            is_service_account: principal.is_service_account,
            request_id: requester.request_id.to_string(),
            address: requester.address,
        }
    }

    /// The requester with this token, or without one.
    pub(super) fn requester(&self, principal: Option<Arc<Principal>>) -> Requester {
        let principal = principal.unwrap_or_else(|| {
            Arc::new(Principal {
                username: self.username.clone(),
                subject: self.subject.clone(),
                client_id: self.client_id.clone(),
                email: self.email.clone(),
                groups: self.groups.clone(),
                scopes: self.scopes.clone(),
                expires_at: self.expires_at,
                token: Secret::from(String::new()),
                is_service_account: self.is_service_account,
                validator: None,
            })
        });
        Requester { principal, request_id: self.request_id.as_str().into(), address: self.address }
    }
}
