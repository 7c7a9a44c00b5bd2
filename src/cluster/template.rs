//! A template of jobs that the site offers: a script with typed parameters.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::JobOptions;

/// A job that callers submit by its name, with values for its parameters.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct JobTemplate {
    /// Name in URLs: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// Purpose of the job, shown to callers.
    #[serde(default)]
    pub description: String,
    /// Parameters by name: lower-case letters, digits and `_`. The script finds the value of `steps` in the variable `PARAM_STEPS`.
    #[serde(default)]
    pub parameters: BTreeMap<String, TemplateParameter>,
    /// Text of the batch script. Values are never written into it.
    pub script: String,
    /// Partition or queue.
    pub partition: Option<String>,
    /// Account to charge, unless the caller names one.
    pub account: Option<String>,
    /// Directory where the job starts, unless the caller names one; `{username}` stands for the caller's name.
    pub working_directory: Option<String>,
    /// Node features, in the scheduler's syntax.
    pub constraints: Option<String>,
    /// The resources of the job.
    #[serde(default)]
    pub resources: JobOptions,
}

/// A parameter of a template.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub struct TemplateParameter {
    /// Type of the value.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Meaning, shown to callers.
    #[serde(default)]
    pub description: String,
    /// Value if the caller gives none. Without it, the caller must give one.
    pub default: Option<String>,
    /// Lowest value of an integer.
    pub minimum: Option<i64>,
    /// Highest value of an integer.
    pub maximum: Option<i64>,
    /// Regular expression that a whole string must match.
    pub pattern: Option<String>,
    /// Longest string in characters.
    #[serde(default = "default_max_length")]
    #[schemars(range(min = 1, max = 16384))]
    pub max_length: usize,
    /// Values of an enumeration.
    #[serde(default)]
    pub values: Vec<String>,
}

impl TemplateParameter {
    /// The default as a value of the type; as a string if it is invalid.
    pub fn default_value(&self) -> Option<ParameterValue> {
        let text = self.default.as_ref()?;
        let value = match self.kind {
            ParameterType::Integer => text.parse().ok().map(ParameterValue::Integer),
            ParameterType::Boolean => text.parse().ok().map(ParameterValue::Boolean),
            ParameterType::String | ParameterType::Enum => None,
        };
        Some(value.unwrap_or_else(|| ParameterValue::Text(text.clone())))
    }
}

fn default_max_length() -> usize {
    1024
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    /// A whole number.
    Integer,
    /// A line of text.
    String,
    /// One of `values`.
    Enum,
    /// True or false.
    Boolean,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected true or false, a whole number, or a text")]
pub enum ParameterValue {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}
