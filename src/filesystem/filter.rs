//! The filter of a search: name, type, size and time.

use crate::domain::{FileType, bytes_to_text, matches_pattern};

/// Conditions, all of which must hold. Without conditions, every entry matches.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// The last part of its path.
    pub name: Option<Glob>,
    /// The types allowed; empty for any.
    pub types: Vec<FileType>,
    /// The minimum size in bytes.
    pub min_size: Option<u64>,
    /// The maximum size in bytes.
    pub max_size: Option<u64>,
    /// Changed at this time or later, in Unix seconds.
    pub modified_since: Option<i64>,
    /// Changed before this time, in Unix seconds.
    pub modified_before: Option<i64>,
}

impl Filter {
    /// Whether an entry of this name can match.
    pub(super) fn allows_name(&self, name: &[u8]) -> bool {
        self.name.as_ref().is_none_or(|glob| glob.matches(name))
    }

    /// Whether the rest of an entry matches.
    pub(super) fn allows(&self, file_type: FileType, size: u64, modified: i64) -> bool {
        (self.types.is_empty() || self.types.contains(&file_type))
            && self.min_size.is_none_or(|min| size >= min)
            && self.max_size.is_none_or(|max| size <= max)
            && self.modified_since.is_none_or(|since| modified >= since)
            && self.modified_before.is_none_or(|before| modified < before)
    }
}

/// A pattern for names, as `find -name` and POSIX shells have it: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a literal character.
///
/// Characters are those of [`bytes_to_text`], so that a byte that is not part of UTF-8 is one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Just(char),
    One,
    Many,
    OneOf { ranges: Vec<(char, char)>, negated: bool },
}

/// A pattern that is longer than [`Glob::MAX`].
#[derive(Debug, thiserror::Error)]
#[error("a pattern has at most {} bytes", Glob::MAX)]
pub struct GlobTooLong;

impl Glob {
    /// The longest pattern, in bytes: about as long as names are.
    pub const MAX: usize = 256;

    /// Reads a pattern. A bracket that is not closed is literal.
    ///
    /// # Errors
    /// If it is longer than [`Glob::MAX`]: each name of a tree is compared with all of it.
    pub fn new(pattern: &str) -> Result<Self, GlobTooLong> {
        if pattern.len() > Self::MAX {
            return Err(GlobTooLong);
        }
        let pattern: Vec<char> = pattern.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(&character) = pattern.get(at) {
            at += 1;
            let token = match character {
                '*' => Token::Many,
                '?' => Token::One,
                '[' => match set(&pattern[at..]) {
                    Some((token, length)) => {
                        at += length;
                        token
                    }
                    None => Token::Just('['),
                },
                '\\' => match pattern.get(at) {
                    Some(&escaped) => {
                        at += 1;
                        Token::Just(escaped)
                    }
                    None => Token::Just('\\'),
                },
                character => Token::Just(character),
            };
            if token != Token::Many || tokens.last() != Some(&Token::Many) {
                tokens.push(token);
            }
        }
        Ok(Self(tokens))
    }

    /// Whether the whole of `name` matches. Takes at most as many steps as the product of both lengths.
    pub fn matches(&self, name: &[u8]) -> bool {
        let name: Vec<char> = bytes_to_text(name).chars().collect();
        matches_pattern(&self.0, &name, |token| *token == Token::Many, |token, character| token.takes(*character))
    }
}

impl Token {
    fn takes(&self, character: char) -> bool {
        match self {
            Self::Just(own) => *own == character,
            Self::One | Self::Many => true,
            Self::OneOf { ranges, negated } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&character)) != *negated,
        }
    }
}

/// Reads what follows an opening bracket: the token, and how many characters it takes with the closing bracket.
fn set(rest: &[char]) -> Option<(Token, usize)> {
    let negated = matches!(rest.first(), Some('!' | '^'));
    let mut at = usize::from(negated);
    let mut ranges = Vec::new();
    loop {
        let mut from = *rest.get(at)?;
        if from == ']' && !ranges.is_empty() {
            return Some((Token::OneOf { ranges, negated }, at + 1));
        }
        if from == '\\' {
            at += 1;
            from = *rest.get(at)?;
        }
        at += 1;
        match (rest.get(at), rest.get(at + 1)) {
            (Some('-'), Some(to)) if *to != ']' => {
                ranges.push((from, *to));
                at += 2;
            }
            _ => ranges.push((from, from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_those_of_a_shell_do() {
        for (pattern, name, matches) in [
            ("*.txt", "a.txt", true),
            ("*.txt", ".txt", true),
            ("*.txt", "a.txt~", false),
            ("*", "", true),
            ("", "", true),
            ("?", "ü", true),
            ("?", "", false),
            ("slurm-[0-9]*.out", "slurm-123.out", true),
            ("slurm-[0-9]*.out", "slurm-x.out", false),
            ("[!a-c]x", "dx", true),
            ("[^a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a**b*c", "aXbYbZc", true),
            ("a*b", "ab\nb", true),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(name.as_bytes()), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_byte_that_is_not_utf8_is_one_character_and_can_be_written_in_a_pattern() {
        assert!(Glob::new("a?").unwrap().matches(b"a\xFF"));
        assert!(Glob::new("a\u{EFFF}").unwrap().matches(b"a\xFF"));
        assert!(!Glob::new("a??").unwrap().matches(b"a\xFF"));
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let pattern = Glob::new(&"*a".repeat(120)).unwrap();
        assert!(!pattern.matches(&[b"a".repeat(119), b"b".repeat(136)].concat()));
    }

    #[test]
    fn all_conditions_have_to_hold() {
        let filter = Filter {
            types: vec![FileType::Regular],
            min_size: Some(10),
            max_size: Some(20),
            modified_since: Some(100),
            modified_before: Some(200),
            ..Filter::default()
        };
        assert!(filter.allows(FileType::Regular, 10, 100) && filter.allows(FileType::Regular, 20, 199));
        for (file_type, size, modified) in [
            (FileType::Directory, 10, 100),
            (FileType::Regular, 9, 100),
            (FileType::Regular, 21, 100),
            (FileType::Regular, 10, 99),
            (FileType::Regular, 10, 200),
        ] {
            assert!(!filter.allows(file_type, size, modified));
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_escaped(name in "[a-c*?\\[\\]\\\\-]{0,12}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Glob::new(&escaped).unwrap().matches(name.as_bytes()));
            let longer = name + "x";
            prop_assert!(!Glob::new(&escaped).unwrap().matches(longer.as_bytes()));
        }
    }
}
