//! Requests with values that are not allowed, in the words of HTTP: each wrong field with its place and its name on the wire.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// The part of a request that contains a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// A part of the path.
    Path,
    /// A parameter of the query.
    Query,
    /// A header.
    Header,
    /// A member of the document, or a part of the form.
    Body,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct WrongField {
    /// The part of the request.
    #[serde(rename = "location")]
    pub(crate) place: Place,
    /// Its name there.
    pub(crate) name: Cow<'static, str>,
    /// The error and how to correct it.
    pub(crate) message: String,
}

/// The fields of a request that are wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidInput(pub(crate) Vec<WrongField>);

impl InvalidInput {
    /// One wrong field.
    pub(crate) fn new(place: Place, name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(vec![WrongField { place, name: name.into(), message: message.into() }])
    }
}

impl From<WrongField> for InvalidInput {
    fn from(field: WrongField) -> Self {
        Self(vec![field])
    }
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} validation error/s occurred", self.0.len())?;
        for (index, field) in self.0.iter().enumerate() {
            write!(f, "{} {}: {}", if index == 0 { ":" } else { ";" }, field.name, field.message)?;
        }
        Ok(())
    }
}
