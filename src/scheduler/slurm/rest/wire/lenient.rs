//! Single members whose form depends on the version.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::scheduler::slurm::values::is_given;

/// A whole number: plain, as text, or as `{"set": true, "infinite": false, "number": 5}`. `None` if there is none, or no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Number(pub(in super::super) Option<i64>);

/// A text; numbers become text, everything else is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Text(pub(in super::super) Option<String>);

/// A list of words: a list, or one text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Words(pub(in super::super) Vec<String>);

/// A yes or no: a truth value, or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Flag(pub(in super::super) Option<bool>);

/// A list of records; one record alone is a list of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Records<T>(pub(in super::super) Vec<T>);

impl<T> Default for Records<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Number {
    /// The number as an unsigned one of 32 bits.
    pub(in super::super) fn u32(self) -> Option<u32> {
        self.0.and_then(|number| u32::try_from(number).ok())
    }

    /// The number where it is none of those that Slurm writes for "not known" of times and ids.
    pub(in super::super) fn positive(self) -> Option<i64> {
        self.0.filter(|&number| is_given(number))
    }
}

impl Text {
    /// The text, where it is not empty.
    pub(in super::super) fn given(self) -> Option<String> {
        self.0.filter(|text| !text.is_empty())
    }
}

impl Words {
    /// The first word; empty if there is none.
    pub(in super::super) fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

/// The kinds of JSON values that matter here.
enum Scalar {
    None,
    Integer(i64),
    Text(String),
    Flag(bool),
    List(Vec<String>),
    Limit { set: Option<bool>, number: Option<i64> },
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(value).map_or(Scalar::None, Scalar::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        let whole = value.round();
        // Beyond this a double does not hold every whole number, and no count of Slurm's is so large.
        if whole.abs() < 9_007_199_254_740_992.0 {
            #[expect(clippy::cast_possible_truncation, reason = "it is a whole number well within the range")]
            let number = whole as i64;
            return Ok(Scalar::Integer(number));
        }
        Ok(Scalar::None)
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        let mut words = Vec::new();
        while let Some(Text(word)) = seq.next_element()? {
            words.extend(word);
        }
        Ok(Scalar::List(words))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        let (mut set, mut number) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "set" => set = map.next_value::<Flag>()?.0,
                "number" => number = map.next_value::<Number>()?.0,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Scalar::Limit { set, number })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Integer(number) => Some(number),
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Flag(flag) => Some(i64::from(flag)),
            // An infinite number is not set.
            Scalar::Limit { set: Some(true), number } => number,
            Scalar::Limit { .. } | Scalar::None | Scalar::List(_) => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => Some(text),
            Scalar::Integer(number) => Some(number.to_string()),
            Scalar::None | Scalar::Flag(_) | Scalar::List(_) | Scalar::Limit { .. } => None,
        }))
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::List(words) => words,
            Scalar::Text(text) => text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            Scalar::None | Scalar::Flag(_) | Scalar::Integer(_) | Scalar::Limit { .. } => Vec::new(),
        }))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Flag(flag) => Some(flag),
            Scalar::Integer(number) => Some(number != 0),
            Scalar::None | Scalar::Text(_) | Scalar::List(_) | Scalar::Limit { .. } => None,
        }))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Records<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RecordsVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for RecordsVisitor<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("records")
            }

            fn visit_unit<E>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut records = Vec::new();
                while let Some(record) = seq.next_element()? {
                    records.push(record);
                }
                Ok(records)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<T>, A::Error> {
                T::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(|record| vec![record])
            }
        }

        deserializer.deserialize_any(RecordsVisitor(std::marker::PhantomData)).map(Records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> T {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_number_is_read_in_every_form() {
        for (json, number) in [
            ("5", Some(5)),
            ("-1", Some(-1)),
            (r#""24""#, Some(24)),
            ("2.0", Some(2)),
            (r#"{"set": true, "infinite": false, "number": 7}"#, Some(7)),
            (r#"{"set": true, "infinite": false, "number": 0}"#, Some(0)),
            (r#"{"set": false, "infinite": true, "number": 0}"#, None),
            (r#"{"set": false, "infinite": false, "number": 0}"#, None),
            ("null", None),
            (r#""N/A""#, None),
            ("[]", None),
            ("{}", None),
            ("18446744073709551615", None),
            ("1e300", None),
        ] {
            assert_eq!(read::<Number>(json).0, number, "{json}");
        }
    }

    #[test]
    fn slurms_numbers_for_nothing_are_none() {
        for json in ["0", "4294967294", "4294967295", r#"{"set": true, "number": 4294967294}"#] {
            assert_eq!(read::<Number>(json).positive(), None, "{json}");
        }
    }

    #[test]
    fn words_are_a_list_or_a_text() {
        for (json, words) in [
            (r#"["A","B"]"#, &["A", "B"][..]),
            (r#""a,b""#, &["a", "b"]),
            (r#""""#, &[]),
            ("null", &[]),
            ("{}", &[]),
            ("[1, null]", &["1"]),
        ] {
            assert_eq!(read::<Words>(json).0, words, "{json}");
        }
    }

    #[test]
    fn texts_and_flags_do_not_mind_their_type() {
        assert_eq!(read::<Text>("0").0.as_deref(), Some("0"));
        assert_eq!(read::<Text>(r#"{"a": [1, {"b": 2}]}"#).0, None);
        assert_eq!((read::<Flag>("1").0, read::<Flag>("false").0, read::<Flag>("null").0), (Some(true), Some(false), None));
    }

    #[test]
    fn one_record_is_a_list_of_one() {
        assert_eq!(read::<Records<Number>>("[1, 2]").0.len(), 2);
        assert_eq!(read::<Records<Number>>(r#"{"set": true, "number": 3}"#).0, [Number(Some(3))]);
        assert!(read::<Records<Number>>("null").0.is_empty());
    }
}
