//! Single values as PBS prints them: times, lengths, sizes, lists of hosts.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A point in time in Unix seconds, from the form of ctime(3) in UTC or from Unix seconds.
pub(super) fn timestamp(value: &str) -> Option<i64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<i64>() {
        return Some(seconds).filter(|&seconds| seconds > 0);
    }
    let time = DateTime::strptime("%a %b %d %H:%M:%S %Y", value).ok()?;
    time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp().as_second())
}

/// A length in seconds from `hours:minutes:seconds`, `minutes:seconds` or seconds.
pub(super) fn duration(value: &str) -> Option<i64> {
    let whole = value.trim().split('.').next().unwrap_or_default();
    let mut seconds: i64 = 0;
    for (position, part) in whole.split(':').enumerate() {
        let part: u32 = part.parse().ok()?;
        seconds = seconds.checked_mul(60)?.checked_add(part.into())?;
        (position < 3).then_some(())?;
    }
    Some(seconds)
}

/// A size in MiB from a number with a unit such as `16gb` or `24684092kb`; without a unit, it is in bytes.
pub(super) fn mebibytes(value: &str) -> Option<u64> {
    let value = value.trim().to_ascii_lowercase();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let number: u64 = value[..digits].parse().ok()?;
    let shift = match &value[digits..] {
        "" | "b" => 0,
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "tb" => 40,
        "pb" => 50,
        _ => return None,
    };
    number.checked_mul(1 << shift).map(|bytes| bytes >> 20)
}

/// The path of `host:path`; the host is dropped.
pub(super) fn path_of(value: &str) -> &str {
    match value.split_once(':') {
        Some((host, path)) if !host.contains('/') => path,
        _ => value,
    }
}

/// The hosts of `n1/0*2+n1/1+n2/0`, each once, joined by commas.
pub(super) fn hosts(value: &str) -> String {
    let mut hosts: Vec<&str> = Vec::new();
    for chunk in value.split('+') {
        let host = chunk.split('/').next().unwrap_or_default().trim();
        // Chunks of one host stand side by side.
        if !host.is_empty() && hosts.last() != Some(&host) && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts.join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_as_utc() {
        assert_eq!(timestamp("Sat Nov 21 08:12:34 2026"), Some(1_795_248_754));
        assert_eq!(timestamp("Sun Nov  1 00:00:00 2026"), Some(1_793_491_200));
        assert_eq!(timestamp("1795248754"), Some(1_795_248_754));
        for none in ["UNKNOWN", "", "0", "Thu Nov 21 2026", "21/11/2026"] {
            assert_eq!(timestamp(none), None, "{none:?}");
        }
    }

    #[test]
    fn lengths_are_read_in_every_form() {
        for (text, seconds) in [
            ("00:20:00", Some(1200)),
            ("100:00:01", Some(360_001)),
            ("10:30", Some(630)),
            ("3600", Some(3600)),
            ("00:00:01.50", Some(1)),
            ("", None),
            ("1:2:3:4", None),
            ("-1", None),
            ("99999999999", None),
        ] {
            assert_eq!(duration(text), seconds, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, size) in
            [("16gb", Some(16_384)), ("24684092kb", Some(24_105)), ("1048576", Some(1)), ("2TB", Some(2_097_152)), ("0kb", Some(0))]
        {
            assert_eq!(mebibytes(text), size, "{text:?}");
        }
        for none in ["", "kb", "1xb", "18446744073709551615gb", "-1kb"] {
            assert_eq!(mebibytes(none), None, "{none:?}");
        }
    }

    #[test]
    fn hosts_are_told_once() {
        assert_eq!(hosts("n1/0*2+n1/1+n2/0-3+n1/5"), "n1,n2");
        assert_eq!(hosts(""), "");
    }

    #[test]
    fn paths_lose_their_host_and_nothing_else() {
        assert_eq!(path_of("pbs:/home/jane/out:1"), "/home/jane/out:1");
        assert_eq!(path_of("/home/a:b"), "/home/a:b");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}") {
            let _ = (timestamp(&text), duration(&text), mebibytes(&text), path_of(&text), hosts(&text));
        }
    }
}
