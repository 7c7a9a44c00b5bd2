//! Schemas of enums that other modules own: their values as they are on the wire, of the enum itself.

use serde::Serialize;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// A string that is one of these values.
pub(crate) fn one_of<T: Serialize>(description: &str, values: &[T], default: Option<&T>) -> Schema {
    let on_the_wire = |value: &T| serde_json::to_value(value).unwrap_or_default();
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).description(Some(description));
    let schema = schema.enum_values(Some(values.iter().map(on_the_wire))).default(default.map(on_the_wire));
    schema.into()
}

/// Defines a named component with the values of an enum that does not implement `ToSchema`. It compiles only if all variants are listed. `or` names the
/// default.
macro_rules! enum_schema {
    ($(#[doc = $doc:literal])* $name:ident of [$($value:path),+ $(,)?] $(or $default:path)?) => {
        $(#[doc = $doc])*
        pub(in crate::http) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let _all_are_named = |value| match value {
                    $($value)|+ => {}
                };
                let default = [$($default)?];
                $crate::http::enumeration::one_of(concat!($($doc),*).trim(), &[$($value),+], default.first()).into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

pub(crate) use enum_schema;
