//! JSON objects, read strictly.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// A `T` read from a JSON object only. Derived structs would also accept an array of their members (`[true]`), which no protocol
/// means.
#[derive(Clone, Copy, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMap(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Reply {
        allowed: bool,
    }

    #[test]
    fn an_array_is_no_object_and_no_member_counts_twice() {
        let read = |text: &str| serde_json::from_str::<Object<Reply>>(text).map(|object| object.0.allowed).ok();
        assert_eq!(read(r#"{"allowed": true, "more": 1}"#), Some(true));
        for text in ["[true]", r#"[{"allowed": true}]"#, "true", "null", "{}", r#"{"allowed": false, "allowed": true}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
