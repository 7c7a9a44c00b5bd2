//! The `#SBATCH` lines at the head of a script, as words. The schedulers interpret the options.

/// Why sbatch takes no script of a text editor of Windows: the kernel would look for an interpreter whose name ends with a carriage return.
pub(super) const DOS_LINE_BREAKS: &str =
    r"Batch script contains DOS line breaks (\r\n) instead of expected UNIX line breaks (\n): convert it, for instance with dos2unix";

/// The words of each `#SBATCH` line before the script's first command, comments left out.
pub(super) fn sbatch_lines(script: &str) -> impl Iterator<Item = Vec<String>> {
    let head = script.lines().map(str::trim_start).take_while(|line| line.is_empty() || line.starts_with('#'));
    let directives = head.filter_map(|line| line.strip_prefix("#SBATCH")).filter(|rest| rest.starts_with([' ', '\t']));
    directives.map(|rest| words(rest.trim()).into_iter().take_while(|word| !word.starts_with('#')).collect())
}

/// The option at the start of a word, without its dashes, and the value if it is in the same word. `None` for another word.
pub(super) fn option(word: &str) -> Option<(&str, Option<&str>)> {
    if let Some(long) = word.strip_prefix("--") {
        return Some(long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value))));
    }
    let short = word.strip_prefix('-')?;
    Some(match short.char_indices().nth(1) {
        Some((index, _)) => (&short[..index], Some(&short[index..])),
        None => (short, None),
    })
}

/// Splits a line at blanks; quotes of either kind hold a word together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (_, character) => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Slurm's time formats: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`,
/// `days-hours:minutes:seconds`, and `UNLIMITED` or `INFINITE` (0).
pub(super) fn seconds(text: &str) -> Option<u64> {
    if text.eq_ignore_ascii_case("unlimited") || text.eq_ignore_ascii_case("infinite") {
        return Some(0);
    }
    let number =
        |text: &str| if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse::<u64>().ok().filter(|n| *n < 1 << 32) } else { None };
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(number(days)?), clock),
        None => (None, text),
    };
    let parts = clock.split(':').map(number).collect::<Option<Vec<_>>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (None, &[minutes]) => (0, minutes, 0),
        (None, &[minutes, seconds]) => (0, minutes, seconds),
        (Some(_), &[hours]) => (hours, 0, 0),
        (Some(_), &[hours, minutes]) => (hours, minutes, 0),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        _ => return None,
    };
    Some(days.unwrap_or(0) * 86400 + hours * 3600 + minutes * 60 + seconds)
}
