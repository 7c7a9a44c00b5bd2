//! Sections as values of their types.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use serde_path_to_error::{Path, Segment};

use super::interpret::{Interpreter, is_secret, join, shown};

impl Interpreter {
    /// The value as `T`, unless it is absent or wrong. What is required and absent was noted in the walk.
    pub(super) fn typed<T: DeserializeOwned>(&mut self, value: Option<Json>, path: &str) -> Option<T> {
        let mut value = value?;
        let mut first = true;
        loop {
            let error = match serde_path_to_error::deserialize(&value) {
                Ok(typed) => return first.then_some(typed),
                Err(error) => error,
            };
            first = false;
            self.report_type(&value, path, &error);
            // Without what is wrong, the next mistake is found.
            if !remove_member(&mut value, error.path()) {
                return None;
            }
        }
    }

    /// Reports why a value has not the type of its section. The errors of the walk are not repeated in serde's words.
    fn report_type(&mut self, value: &Json, path: &str, error: &serde_path_to_error::Error<serde_json::Error>) {
        let key = full_path(path, error.path());
        if self.has_problem_below(&key) {
            return;
        }
        let (reason, written) = (error.inner().to_string(), member(value, error.path()).and_then(Json::as_str));
        match written.filter(|text| !is_secret(&key, text) && !reason.contains(text)) {
            Some(text) => self.report(&key, format!("{reason}: {}", shown(&key, text))),
            None => self.report(&key, reason),
        }
    }
}

/// The value at a path.
fn member<'a>(value: &'a Json, path: &Path) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Seq { index } => value.get(index),
        Segment::Map { key } => value.get(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}

/// Removes the member of an object at a path; whether there was one.
fn remove_member(value: &mut Json, path: &Path) -> bool {
    let mut segments: Vec<_> = path.iter().collect();
    let Some(Segment::Map { key }) = segments.pop() else { return false };
    let parent = segments.into_iter().try_fold(value, |value, segment| match segment {
        Segment::Seq { index } => value.get_mut(index),
        Segment::Map { key } => value.get_mut(key),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    });
    parent.and_then(Json::as_object_mut).is_some_and(|members| members.shift_remove(key).is_some())
}

/// The path of a member of a section, from the root of the document.
fn full_path(prefix: &str, path: &Path) -> String {
    path.iter().fold(prefix.to_owned(), |full, segment| match segment {
        Segment::Seq { index } => format!("{full}[{index}]"),
        Segment::Map { key } => join(&full, key),
        Segment::Enum { .. } | Segment::Unknown => full,
    })
}
