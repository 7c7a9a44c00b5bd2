//! Bytes as text, without loss.
//!
//! File names and file contents on a POSIX system are bytes; JSON and URLs carry Unicode. Text that is valid UTF-8 is shown
//! as it is. A byte 0x80..=0xFF that is not part of valid UTF-8 is shown as the private-use character U+EF80..=U+EFFF with
//! the same low byte. Where a name really holds one of those characters, each byte of it is shown that way too, so that
//! the mapping has exactly one inverse.

const ESCAPE_BASE: u32 = 0xEF00;

/// Shows bytes as Unicode text; [`text_to_bytes`] is the inverse.
pub fn bytes_to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_escape(character) {
                let mut buffer = [0; 4];
                character.encode_utf8(&mut buffer).bytes().for_each(|byte| text.push(escape(byte)));
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|&byte| text.push(escape(byte)));
    }
    text
}

/// The first `max` characters of a foreign text, for a message: without control characters, so on one line.
pub fn excerpt(text: &str, max: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(max).collect()
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that [`bytes_to_text`] showed as `text`; ordinary text becomes its UTF-8.
pub fn text_to_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        if is_escape(character) {
            bytes.push((character as u32).to_le_bytes()[0]);
        } else {
            let mut buffer = [0; 4];
            bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
    }
    bytes
}

fn is_escape(character: char) -> bool {
    (0xEF80..=0xEFFF).contains(&(character as u32))
}

fn escape(byte: u8) -> char {
    char::from_u32(ESCAPE_BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_excerpt_is_one_line_of_bounded_length() {
        assert_eq!(excerpt("a\nb\u{7f}\u{85}c", 3), "abc");
        assert_eq!(excerpt("äöü", 2), "äö");
    }

    #[test]
    fn valid_utf8_is_shown_as_it_is() {
        assert_eq!(bytes_to_text("Grüße/\n'\"".as_bytes()), "Grüße/\n'\"");
    }

    #[test]
    fn a_lone_byte_becomes_a_private_use_character() {
        assert_eq!(bytes_to_text(b"a\xFFb"), "a\u{EFFF}b");
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(text_to_bytes(&bytes_to_text(&bytes)), bytes);
        }

        #[test]
        fn genuine_private_use_characters_come_back(text in "[a\u{EF80}-\u{EFFF}]{0,8}") {
            prop_assert_eq!(text_to_bytes(&bytes_to_text(text.as_bytes())), text.into_bytes());
        }
    }
}
