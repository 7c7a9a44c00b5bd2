//! The words of identifiers.

use std::collections::BTreeSet;

/// The identifiers of a file, without what stands in comments and in texts.
pub fn identifiers(code: &str) -> BTreeSet<String> {
    let code = without_texts(code);
    let names = code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Whether the words of `old` stand beside each other in the name, as they are written: `told` is no part of `Told`, nor of `untold`.
pub fn contains(name: &str, old: &str) -> bool {
    let old = parts(old);
    parts(name).windows(old.len()).any(|words| words == old)
}

/// The words of a name: `MAX_SHOWN`, `max_shown` and `MaxShown` have two.
fn parts(name: &str) -> Vec<&str> {
    name.split('_').flat_map(camel_parts).filter(|part| !part.is_empty()).collect()
}

fn camel_parts(name: &str) -> Vec<&str> {
    let bytes = name.as_bytes();
    let is_start = |at: usize| {
        bytes[at].is_ascii_uppercase() && (!bytes[at - 1].is_ascii_uppercase() || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase))
    };
    let starts: Vec<usize> = (1..name.len()).filter(|at| is_start(*at)).collect();
    let ends = starts.iter().copied().chain([name.len()]);
    [0].into_iter().chain(starts.iter().copied()).zip(ends).map(|(start, end)| &name[start..end]).collect()
}

/// The code with nothing in place of comments, strings and characters.
fn without_texts(code: &str) -> String {
    let mut kept = String::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string_length(rest),
            '\'' => character_length(rest),
            'r' if !kept.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') => raw_string_length(rest),
            _ => 0,
        };
        if skipped == 0 {
            kept.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            kept.push(' ');
            rest = &rest[skipped..];
        }
    }
    kept
}

/// How long the string is that begins here.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, character)| {
        let is_end = *character == '"' && !escaped;
        escaped = *character == '\\' && !escaped;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// How long the raw string is that begins here; 0 where none does.
fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if text.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let (begin, end) = (hashes + 2, format!("\"{}", "#".repeat(hashes)));
    text[begin..].find(&end).map_or(text.len(), |at| begin + at + end.len())
}

/// How long the character is that begins here; 0 where it is a lifetime.
fn character_length(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((at, _))) => text[at + 1..].find('\'').map_or(text.len(), |end| at + end + 2),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[test]
fn names_are_found_outside_of_texts_and_comments() {
    let code = "fn f<'a>(x: &'a str) { let y = \"told \\\" told\"; g('\"', '\\'', b'\\\\', r#\"most \" \"#, y) } // told\nfor_raw(\"\")";
    let names: Vec<String> = identifiers(code).into_iter().collect();
    assert_eq!(names, ["a", "b", "f", "fn", "for_raw", "g", "let", "str", "x", "y"]);
}

#[test]
fn words_are_parts_of_names_in_every_spelling() {
    assert_eq!(parts("MAX_SHOWN_2"), ["MAX", "SHOWN", "2"]);
    assert_eq!(parts("_isHTTPServerUp"), ["is", "HTTP", "Server", "Up"]);
    assert!(contains("StagedUpload", "Staged") && contains("is_told_apart", "told") && contains("give_back_all", "give_back"));
    assert!(!contains("untold", "told") && !contains("UnderWay", "WayNote") && !contains("give_it_back", "give_back"));
}
