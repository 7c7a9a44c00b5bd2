//! Finds a member that an object of a JSON document has twice. serde reports it for the members of structs, and takes the last value for
//! those of maps, such as the variables of a job's environment.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The path of the first member that its object has twice; nothing if there is none, or the document is no JSON.
pub(crate) fn repeated_member(document: &[u8]) -> Option<String> {
    let mut found = None;
    // It ends with an error at the member, and at invalid JSON, which is reported where the document is read.
    let _ = Walk { path: String::new(), found: &mut found }.deserialize(&mut serde_json::Deserializer::from_slice(document));
    found
}

/// One value of the document, and where it stands.
struct Walk<'a> {
    path: String,
    found: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            if !names.insert(name) {
                *self.found = Some(path);
                return Err(A::Error::custom("a member is given twice"));
            }
            map.next_value_seed(Walk { path, found: self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        while list.next_element_seed(Walk { path: format!("{}[{index}]", self.path), found: self.found })?.is_some() {
            index += 1;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_member_that_is_there_twice_is_named_by_its_path() {
        for (document, path) in [
            (r#"{"a": 1, "b": [1, "x", null, 2.5, -1, true], "c": {"a": 2}}"#, None),
            (r#"{"a": 1, "\u0061": 2}"#, Some("a")),
            (r#"{"job": {"environment": {"A": "1", "B": "2", "A": "3"}}}"#, Some("job.environment.A")),
            (r#"{"operations": [{}, {"path": "/a", "path": "/b"}]}"#, Some("operations[1].path")),
            (r#"{"a": 1, "a""#, Some("a")),
            (r#"{"a": 1,"#, None),
            ("a a", None),
        ] {
            assert_eq!(repeated_member(document.as_bytes()).as_deref(), path, "{document}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(repeated_member(deep.as_bytes()), None);
    }
}
