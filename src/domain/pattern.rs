//! The matching of patterns with wildcards, for any kind of parts and pieces.

/// Whether a pattern takes the whole of a text. Each part takes one piece, but for those that are `many`, which take any number. Takes at
/// most as many steps as the product of both lengths, so that no pattern is slow.
pub fn matches_pattern<P, T>(pattern: &[P], text: &[T], is_many: impl Fn(&P) -> bool, takes: impl Fn(&P, &T) -> bool) -> bool {
    let (mut part, mut at) = (0, 0);
    // The position after the last `many` part, and the next position in the text to try it at: earlier ones need no backtracking.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(part), text.get(at)) {
            (None, None) => return true,
            (Some(many), _) if is_many(many) => {
                retry = Some((part + 1, at));
                part += 1;
                continue;
            }
            (Some(one), Some(piece)) if takes(one, piece) => {
                (part, at) = (part + 1, at + 1);
                continue;
            }
            _ => {}
        }
        match &mut retry {
            Some((after, from)) if *from < text.len() => {
                *from += 1;
                (part, at) = (*after, *from);
            }
            _ => return false,
        }
    }
}
