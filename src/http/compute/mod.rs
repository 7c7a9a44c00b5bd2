//! Jobs: `/compute/{system}`, and the shapes of their documents.

pub(crate) mod bulk;
pub(crate) mod commands;
pub(crate) mod control;
pub(crate) mod description;
pub(crate) mod events;
pub(crate) mod idempotency;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod model;
pub(crate) mod profiles;
pub(crate) mod schedules;
pub(crate) mod templates;
pub(crate) mod usage;
pub(crate) mod webhooks;
