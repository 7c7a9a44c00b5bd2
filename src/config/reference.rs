//! The schema and the reference page, both made from the types.

use std::fmt::Write;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// The JSON Schema of the configuration, without references, so that editors and [`super::load`] need not follow any.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}
/// x
pub fn reference() -> String {
    let mut s = String::new();
    let _ = writeln!(s, "");
    s
}
