//! The messages of serde about values of a wrong type, in words for people who do not know the types of Rust.

use crate::domain::excerpt;

/// The maximum number of characters that are shown of a wrong value.
const MAX_SHOWN: usize = 200;

/// Members that have a unit, with the words for it.
const UNITS: [(&str, &str); 3] = [
    ("timeLimit", "a whole number of seconds, such as 600"),
    ("memory", "a text with its unit, such as \"4G\""),
    ("memoryPerCpu", "a text with its unit, such as \"2G\""),
];

/// A message of serde about a value of a wrong type or out of range, for the member of this name; any other message as it is.
pub(crate) fn in_plain_words(name: &str, message: &str) -> String {
    let kinds = ["invalid type: ", "invalid value: "];
    let Some(about) = kinds.iter().find_map(|kind| message.strip_prefix(kind)) else { return message.to_owned() };
    // What was expected comes from this program, and does not contain these words.
    let Some((found, expected)) = about.rsplit_once(", expected ") else { return message.to_owned() };
    let range = if found.starts_with("integer ") { max(expected) } else { None };
    match range {
        Some(max) if has_unit(name) => format!("it is {}, and should be {}, at most {max}", written(found), wanted(name, expected)),
        _ => format!("it is {}, and should be {}", written(found), wanted(name, expected)),
    }
}

/// The largest number of a type.
fn max(expected: &str) -> Option<u64> {
    match expected {
        "u8" => Some(u8::MAX.into()),
        "u16" => Some(u16::MAX.into()),
        "u32" => Some(u32::MAX.into()),
        "u64" | "usize" => Some(u64::MAX),
        _ => None,
    }
}

fn has_unit(name: &str) -> bool {
    UNITS.iter().any(|(unit, _)| *unit == member(name))
}

/// The last part of the name of a member.
fn member(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What was written.
fn written(found: &str) -> String {
    let words = [("string ", "the text "), ("integer ", "the number "), ("floating point ", "the number "), ("boolean ", "")];
    let found = match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "Option value" => "null".to_owned(),
        _ => match words.iter().find_map(|(serde, plain)| Some((plain, found.strip_prefix(serde)?))) {
            Some((plain, value)) => format!("{plain}{}", value.trim_matches('`')),
            None => found.to_owned(),
        },
    };
    excerpt(&found, MAX_SHOWN)
}

/// What is expected.
fn wanted(name: &str, expected: &str) -> String {
    let with_unit = UNITS.iter().find(|(unit, _)| *unit == member(name)).map(|(_, words)| (*words).to_owned());
    if let Some(max) = max(expected) {
        return with_unit.unwrap_or_else(|| format!("a whole number from 0 to {max}"));
    }
    match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a character" => with_unit.unwrap_or_else(|| "a text".to_owned()),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        _ if expected.starts_with("struct ") => "an object".to_owned(),
        _ => expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    fn told<T: DeserializeOwned>(name: &str, value: Value) -> String {
        in_plain_words(name, &serde_json::from_value::<T>(value).err().unwrap().to_string())
    }

    #[test]
    fn a_value_of_a_wrong_type_is_reported_without_the_types_of_rust() {
        assert_eq!(
            told::<u32>("job.timeLimit", json!("00:10:00")),
            r#"it is the text "00:10:00", and should be a whole number of seconds, such as 600"#
        );
        assert_eq!(
            told::<u32>("job.timeLimit", json!(99_999_999_999_u64)),
            "it is the number 99999999999, and should be a whole number of seconds, such as 600, at most 4294967295"
        );
        assert_eq!(told::<String>("job.memory", json!(4096)), r#"it is the number 4096, and should be a text with its unit, such as "4G""#);
        assert_eq!(told::<u32>("job.nodes", json!(-1)), "it is the number -1, and should be a whole number from 0 to 4294967295");
        assert_eq!(
            told::<u64>("job.nodes", json!(1.5)),
            "it is the number 1.5, and should be a whole number from 0 to 18446744073709551615"
        );
        assert_eq!(told::<Vec<u32>>("jobs", json!({})), "it is an object, and should be a list");
        assert_eq!(told::<String>("job.script", json!([1])), "it is a list, and should be a text");
        assert_eq!(told::<String>("job.script", json!(null)), "it is null, and should be a text");
        assert_eq!(told::<bool>("job.hold", json!("x, expected y")), r#"it is the text "x, expected y", and should be true or false"#);
        assert_eq!(told::<std::collections::BTreeMap<String, u8>>("env", json!(true)), "it is true, and should be an object");
    }

    #[test]
    fn other_messages_stay_as_they_are_and_long_values_are_cut() {
        assert_eq!(in_plain_words("job", "missing field `script`"), "missing field `script`");
        assert!(told::<u32>("job.nodes", json!("x".repeat(1000))).len() < 300);
    }
}
