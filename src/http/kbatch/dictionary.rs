//! A dictionary that is read by taking its members out: what is left at the end has no meaning here, and is refused by name.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// A member of a dictionary that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub(super) struct Unusable {
    pub(super) path: String,
    pub(super) reason: String,
}

impl Unusable {
    pub(super) fn new(path: impl Into<String>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), reason: reason.into().into_owned() }
    }
}

/// A dictionary whose members have the forms of their model already.
pub(super) struct Dictionary {
    path: String,
    members: Map<String, Value>,
}

impl Dictionary {
    /// The dictionary that the client calls `path`; an empty one for any other value.
    pub(super) fn new(value: Value, path: impl Into<String>) -> Self {
        let members = if let Value::Object(members) = value { members } else { Map::new() };
        Self { path: path.into(), members }
    }

    pub(super) fn path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        if let Some(Value::String(text)) = self.take(name) { Some(text) } else { None }
    }

    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.take(name) == Some(Value::Bool(true))
    }

    pub(super) fn number(&mut self, name: &str) -> Option<i64> {
        self.take(name)?.as_i64()
    }

    pub(super) fn dictionary(&mut self, name: &str) -> Self {
        let path = self.path(name);
        Self::new(self.take(name).unwrap_or_default(), path)
    }

    pub(super) fn dictionaries(&mut self, name: &str) -> Vec<Self> {
        let path = self.path(name);
        let elements = if let Some(Value::Array(elements)) = self.take(name) { elements } else { Vec::new() };
        elements.into_iter().enumerate().map(|(index, element)| Self::new(element, format!("{path}[{index}]"))).collect()
    }

    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let elements = if let Some(Value::Array(elements)) = self.take(name) { elements } else { Vec::new() };
        elements.into_iter().filter_map(|element| element.as_str().map(str::to_owned)).collect()
    }

    /// The texts and numbers of a map, as texts.
    pub(super) fn amounts(&mut self, name: &str) -> Vec<(String, String)> {
        let amount = |(name, value): (String, Value)| match value {
            Value::String(text) => (name, text),
            value => (name, value.to_string()),
        };
        self.dictionary(name).members.into_iter().map(amount).collect()
    }

    /// Leaves out members whose values the site decides.
    pub(super) fn skip(&mut self, names: &[&str]) {
        for name in names {
            self.members.remove(*name);
        }
    }

    /// Takes members that may have one of these values only, or none.
    pub(super) fn only(&mut self, name: &str, allowed: &[Value]) -> Result<(), Unusable> {
        match self.take(name) {
            Some(value) if !allowed.contains(&value) => {
                let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
                Err(Unusable::new(self.path(name), format!("can only be {} here", allowed.join(" or "))))
            }
            _ => Ok(()),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// If a member is left that is set.
    pub(super) fn end(self) -> Result<(), Unusable> {
        let left = self.members.iter().find_map(|(name, value)| first_set(&self.path(name), value));
        left.map_or(Ok(()), |path| Err(Unusable::new(path, "cannot be given here")))
    }
}

/// Members whose `false` asks for something: the others are off by default, and these are on.
const ON_BY_DEFAULT: [&str; 3] = ["host_users", "run_as_non_root", "share_process_namespace"];

/// The path of the first value that is neither null, empty, nor a `false` that asks for nothing.
fn first_set(path: &str, value: &Value) -> Option<String> {
    match value {
        Value::Bool(false) if ON_BY_DEFAULT.iter().any(|name| path.rsplit('.').next() == Some(name)) => Some(path.to_owned()),
        Value::Null | Value::Bool(false) => None,
        Value::Array(elements) if elements.is_empty() => None,
        Value::Object(members) => members.iter().find_map(|(name, value)| first_set(&format!("{path}.{name}"), value)),
        _ => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_and_says_something_is_named() {
        let left = |value: Value| Dictionary::new(value, "job").end().map_err(|error| error.to_string());
        for nothing in [json!({}), json!({"a": null, "b": [], "c": {"d": null, "e": {}}, "f": false})] {
            assert_eq!(left(nothing), Ok(()));
        }
        assert_eq!(left(json!({"a": {"b": 0}})), Err("job.a.b: cannot be given here".to_owned()));
        assert_eq!(left(json!({"a": [null]})), Err("job.a: cannot be given here".to_owned()));
        // The site's jobs have it, and would have it although the client does not want it.
        assert_eq!(left(json!({"a": {"run_as_non_root": false}})), Err("job.a.run_as_non_root: cannot be given here".to_owned()));
    }

    #[test]
    fn members_are_taken_once() {
        let mut job = Dictionary::new(json!({"a": "x", "b": [{"c": 1}], "d": {"cpu": 2, "memory": "1Gi"}, "e": 3}), "job");
        assert_eq!((job.text("a"), job.text("a")), (Some("x".to_owned()), None));
        let mut elements = job.dictionaries("b");
        assert_eq!((elements[0].path("c"), elements[0].number("c")), ("job.b[0].c".to_owned(), Some(1)));
        assert_eq!(job.amounts("d"), [("cpu".to_owned(), "2".to_owned()), ("memory".to_owned(), "1Gi".to_owned())]);
        assert_eq!(job.only("e", &[json!(1)]).unwrap_err().to_string(), "job.e: can only be 1 here");
        assert_eq!(job.end(), Ok(()));
    }
}
