//! Parses records whose fields may contain any byte.
//!
//! Slurm prints job names and paths as they are, and both may hold any byte: separators, line feeds, whole forged
//! records. So fields are separated by a text that no name can contain, because it is drawn anew for every command.

use crate::domain::bytes_to_text;

/// The text that ends each field of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter(String);

impl Delimiter {
    /// A new delimiter, which could not be foreseen when the names were chosen.
    pub fn random() -> Self {
        let random = uuid::Uuid::new_v4().simple().to_string();
        Self::fixed(&random[..10])
    }

    /// A known one, to replay recorded outputs. Letters and digits; an output separated by it can be forged.
    pub fn fixed(mark: &str) -> Self {
        Self(format!("\u{1f}{}", mark.chars().filter(char::is_ascii_alphanumeric).collect::<String>()))
    }

    /// The delimiter as written in a format.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A `--Format` of squeue and sinfo: each field without a width, followed by the delimiter.
    pub fn long_format(&self, fields: &[&str]) -> String {
        fields.iter().map(|field| format!("{field}:{}", self.0)).collect::<Vec<_>>().join(",")
    }

    /// Takes an output apart, record by record: of a long list, one is held at a time. Each of the `N` fields of a record ends with the delimiter, and a record with a line feed. The
    /// first field must be one that never holds a line feed; what stands on lines before it (a greeting of the
    /// login shell) is dropped.
    ///
    /// # Errors
    /// If the number of fields is not a multiple of `N`, or records do not start on lines of their own.
    pub fn records<'a, const N: usize>(&self, output: &'a [u8]) -> Result<impl Iterator<Item = [String; N]> + use<'a, N>, String> {
        let mut fields = split(output, self.0.as_bytes());
        let rest = fields.pop().unwrap_or_default();
        if fields.is_empty() && !rest.trim_ascii().is_empty() {
            return Err(format!("no record in {:?}", excerpt(rest)));
        }
        if !fields.len().is_multiple_of(N) {
            return Err(format!("{} fields are not records of {N}", fields.len()));
        }
        let torn = fields.chunks_exact(N).skip(1).position(|record| record[0].first() != Some(&b'\n'));
        if let Some(before) = torn {
            return Err(format!("record {} does not start on a line of its own", before + 1));
        }
        let mut fields = fields.into_iter();
        let records = fields.len() / N;
        let record = move |_| {
            std::array::from_fn(|position| {
                let bytes = fields.next().unwrap_or_default();
                let bytes = if position == 0 { after_last_line_feed(bytes) } else { bytes };
                bytes_to_text(bytes)
            })
        };
        Ok((0..records).map(record))
    }
}

fn split<'a>(output: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at + delimiter.len() <= output.len() {
        if &output[at..at + delimiter.len()] == delimiter {
            parts.push(&output[start..at]);
            at += delimiter.len();
            start = at;
        } else {
            at += 1;
        }
    }
    parts.push(&output[start..]);
    parts
}

fn after_last_line_feed(bytes: &[u8]) -> &[u8] {
    bytes.rsplit(|&byte| byte == b'\n').next().unwrap_or_default()
}

fn excerpt(bytes: &[u8]) -> String {
    bytes_to_text(&bytes[..bytes.len().min(80)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(delimiter: &Delimiter, records: &[[&str; 2]]) -> String {
        records.iter().map(|[first, second]| format!("{first}{0}{second}{0}\n", delimiter.as_str())).collect()
    }

    #[test]
    fn a_name_that_holds_line_feeds_and_guessed_separators_forges_no_record() {
        let delimiter = Delimiter::fixed("abc");
        let hostile = "x\u{1f}abd\n99\u{1f}RUNNING\u{1f}\n";
        let output = printed(&delimiter, &[["1", hostile], ["2", "plain"]]);
        let records: Vec<_> = delimiter.records::<2>(output.as_bytes()).unwrap().collect();
        assert_eq!(records, [["1".to_owned(), hostile.to_owned()], ["2".to_owned(), "plain".to_owned()]]);
    }

    #[test]
    fn no_output_is_no_record() {
        assert_eq!(Delimiter::fixed("abc").records::<2>(b"\n").unwrap().count(), 0);
    }

    #[test]
    fn a_greeting_before_the_first_record_is_dropped() {
        let delimiter = Delimiter::fixed("abc");
        let output = format!("Welcome!\nHave fun\n{}", printed(&delimiter, &[["1", "a"]]));
        let records: Vec<_> = delimiter.records::<2>(output.as_bytes()).unwrap().collect();
        assert_eq!(records, [["1".to_owned(), "a".to_owned()]]);
    }

    #[test]
    fn text_without_a_record_and_torn_records_are_errors() {
        let delimiter = Delimiter::fixed("abc");
        assert!(delimiter.records::<2>(b"something else").is_err());
        assert!(delimiter.records::<2>("1\u{1f}abca\u{1f}abc\n2\u{1f}abc".as_bytes()).is_err());
        assert!(delimiter.records::<1>("1\u{1f}abc2\u{1f}abc\n".as_bytes()).is_err());
    }

    #[test]
    fn two_delimiters_differ() {
        assert_ne!(Delimiter::random(), Delimiter::random());
    }

    proptest! {
        #[test]
        fn any_bytes_in_a_field_come_back(values in proptest::collection::vec("[^\0]{0,12}", 1..6)) {
            let delimiter = Delimiter::random();
            let output: String = values.iter().enumerate()
                .map(|(index, value)| format!("{index}{0}{value}{0}\n", delimiter.as_str())).collect();
            let records = delimiter.records::<2>(output.as_bytes()).unwrap();
            let read: Vec<String> = records.map(|[_, value]| value).collect();
            let expected: Vec<String> = values.iter().map(|value| bytes_to_text(value.as_bytes())).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
