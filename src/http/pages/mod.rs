//! The pages of the API and its OpenAPI document.

pub(crate) mod documentation;
pub(crate) mod openapi;
