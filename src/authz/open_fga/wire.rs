//! The part of OpenFGA's JSON that is used. A correlation id is the index of the question.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::rest::Object;

#[derive(Serialize)]
pub(super) struct CheckRequest<'a> {
    pub(super) tuple_key: TupleKey<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) contextual_tuples: Option<TupleKeys<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorization_model_id: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct BatchCheckRequest<'a> {
    pub(super) checks: Vec<BatchCheckItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorization_model_id: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct BatchCheckItem<'a> {
    pub(super) tuple_key: TupleKey<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) contextual_tuples: Option<TupleKeys<'a>>,
    pub(super) correlation_id: String,
}

#[derive(Serialize)]
pub(super) struct TupleKeys<'a> {
    pub(super) tuple_keys: Vec<TupleKey<'a>>,
}

#[derive(Serialize)]
pub(super) struct TupleKey<'a> {
    pub(super) user: &'a str,
    pub(super) relation: &'a str,
    pub(super) object: &'a str,
}

#[derive(Deserialize)]
pub(super) struct CheckAnswer {
    pub(super) allowed: bool,
}

#[derive(Deserialize)]
pub(super) struct BatchCheckAnswer {
    pub(super) result: HashMap<String, Object<BatchCheckResult>>,
}

/// One of the two.
#[derive(Deserialize)]
pub(super) struct BatchCheckResult {
    pub(super) allowed: Option<bool>,
    pub(super) error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Stores {
    pub(super) stores: Vec<Object<StoreEntry>>,
}

#[derive(Deserialize)]
pub(super) struct StoreEntry {
    pub(super) id: String,
    pub(super) name: String,
}
