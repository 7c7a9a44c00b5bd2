//! The log: one subscriber, set up once, writing to standard error.
//!
//! It must not know what is logged. Standard output is for the results of commands.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};

/// The environment variable that selects what is logged, in the syntax of `tracing_subscriber`'s `EnvFilter`.
pub const LOG_VARIABLE: &str = "GOLDCREST_LOG";

/// The target of audit records, which are written regardless of the filter.
pub const AUDIT_TARGET: &str = "audit";

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One line of text for each event.
    Text,
    /// One JSON object for each event.
    Json,
}

impl FromStr for LogFormat {
    type Err = UnknownLogFormat;

    fn from_str(name: &str) -> Result<Self, UnknownLogFormat> {
        match name {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownLogFormat),
        }
    }
}

/// No log format has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be auto, text or json")]
pub struct UnknownLogFormat;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("the log filter {filter:?} is not understood")]
    Filter {
        /// The filter as given.
        filter: String,
        /// The error.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// A word of the filter is no level.
    #[error("`{0}` in the log's filter is no level: write trace, debug, info, warn, error or off, or `target=level`")]
    NoLevel(String),
    /// Something else set a subscriber before.
    #[error("the log is set up already")]
    Subscriber(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The target of the Kubernetes client, which logs each failure that its caller reports anyway: it is heard where the filter names it.
const KUBERNETES_CLIENT: &str = "kube_client";

/// Sets the log up with the filter of `GOLDCREST_LOG`, else of `RUST_LOG`, else `default`.
///
/// # Errors
/// If the filter is not understood, or the log was set up before.
pub fn init(format: LogFormat, default: &str) -> Result<(), TelemetryError> {
    let asked = [LOG_VARIABLE, "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let filter = filter(asked.as_deref().unwrap_or(default))?;
    let terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| OneLine(io::stderr())).with_ansi(terminal && colours());
    // That the log cannot be written is not written to the same place, which would panic.
    let builder = builder.log_internal_errors(false);
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let set =
        if json { builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init() } else { builder.try_init() };
    set.map_err(TelemetryError::Subscriber)
}

/// Writes each event as one line. Text from clients, tokens and clusters can neither begin another line nor control a terminal.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(one_line(event).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An event, which comes whole, with its control characters escaped, but for the line feed at its end and for colours (the formatter itself
/// escapes those of values).
fn one_line(event: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(event);
    let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
    let breaks = |c: char| (c.is_control() && c != '\u{1b}') || matches!(c, '\u{2028}' | '\u{2029}');
    if !line.contains(breaks) {
        return text;
    }
    let escaped = line.chars().fold(String::with_capacity(text.len() + 8), |mut escaped, c| {
        if breaks(c) {
            escaped.extend(c.escape_default())
        } else {
            escaped.push(c)
        }
        escaped
    });
    Cow::Owned(escaped + end)
}

/// False where the environment asks for output without colours (<https://no-color.org>) or the terminal knows none.
pub fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A word that stands alone is a level. tracing would take any other for a target, and with it log nothing else.
fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let alone = |word: &&str| !word.is_empty() && !word.contains(['=', ':', '[']) && word.parse::<LevelFilter>().is_err();
    if let Some(word) = text.split(',').map(str::trim).find(alone) {
        return Err(TelemetryError::NoLevel(word.to_owned()));
    }
    let failed = |source| TelemetryError::Filter { filter: text.to_owned(), source };
    let audit: Directive = format!("{AUDIT_TARGET}=info").parse().map_err(failed)?;
    let filter = EnvFilter::builder().parse(text).map_err(failed)?.add_directive(audit);
    if text.contains(KUBERNETES_CLIENT) {
        return Ok(filter);
    }
    Ok(filter.add_directive(format!("{KUBERNETES_CLIENT}=off").parse().map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_records_are_kept_whatever_the_filter_says() {
        let text = filter("error").unwrap().to_string();
        assert!(text.contains("audit=info"), "{text}");
        assert!(text.contains("error"), "{text}");
    }

    #[test]
    fn the_client_of_kubernetes_is_heard_only_where_it_is_named() {
        assert!(filter("info").unwrap().to_string().contains("kube_client=off"));
        let named = filter("info,kube_client=debug").unwrap().to_string();
        assert!(named.contains("kube_client=debug") && !named.contains("off"), "{named}");
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_and_targets_are_not() {
        for text in ["dbug", "info,goldcrest", "Warning"] {
            let error = filter(text).unwrap_err().to_string();
            assert!(error.contains("is no level") && error.contains("target=level"), "{text}: {error}");
        }
        for text in ["debug", "INFO", "off", "goldcrest::ssh=debug,info", "hyper=trace", "goldcrest::ssh", "", "info,"] {
            assert!(filter(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let mut written = Vec::new();
        let forged = "INFO audit: subject=a\nINFO audit: user=root outcome=done\r\u{85}\u{2028}\tend\n";
        OneLine(&mut written).write_all(forged.as_bytes()).unwrap();
        let line = String::from_utf8(written).unwrap();
        assert_eq!(line.matches('\n').count(), 1, "{line:?}");
        assert_eq!(line, "INFO audit: subject=a\\nINFO audit: user=root outcome=done\\r\\u{85}\\u{2028}\\tend\n");
        assert!(matches!(one_line(b"as it is\n"), Cow::Borrowed("as it is\n")));
    }

    #[test]
    fn a_filter_that_is_not_understood_is_named() {
        let error = filter("goldcrest=loud").unwrap_err();
        assert!(error.to_string().contains("goldcrest=loud"), "{error}");
    }
}
