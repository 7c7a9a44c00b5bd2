//! Rules for text that is handed on to schedulers and commands.

use regex::Regex;

use super::{Access, InvalidField};
use crate::{domain, scheduler};

/// The maximum length of a text that becomes one argument, in bytes: that of Linux (`MAX_ARG_STRLEN`), less room for quoting.
pub(super) const MAX_ARGUMENT_BYTES: usize = 96 * 1024;

/// The maximum length of a name in a message, in characters.
const MAX_SHOWN: usize = 64;

/// Collects the errors of a request, so that the caller learns all of them at once.
#[derive(Default)]
pub(super) struct Findings(Vec<InvalidField>);

impl Findings {
    /// Notes a wrong field.
    pub(super) fn add(&mut self, name: &'static str, message: impl Into<String>) {
        self.0.push(InvalidField::new(name, message));
    }

    /// A word or line for a scheduler: an empty one counts as absent, and it must be short and without control characters.
    pub(super) fn line(&mut self, name: &'static str, value: Option<String>, max_bytes: usize) -> Option<String> {
        let value = value.filter(|value| !value.is_empty())?;
        if let Err(message) = check_line(&value, max_bytes) {
            self.add(name, message);
        }
        Some(value)
    }

    /// Names of job states on this system.
    pub(super) fn states<'a>(&mut self, name: &'static str, access: &Access, states: impl IntoIterator<Item = &'a str>) {
        let has_letters = access.cluster().config().scheduler.as_ref().is_some_and(scheduler::Config::shows_letters);
        let unknown = states.into_iter().find_map(|state| Some((state, domain::check_state_name(state, has_letters).err()?)));
        if let Some((state, message)) = unknown {
            self.add(name, format!("`{}`: {message}", domain::excerpt(state, MAX_SHOWN)));
        }
    }

    /// Success if there are no errors.
    ///
    /// # Errors
    /// The errors that were collected.
    pub(super) fn into_result(self) -> Result<(), super::InvalidRequest> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.into_iter().collect()) }
    }
}

/// Refuses a value of more than `max_bytes` bytes or with a control character: a line break would start a new directive in a batch
/// script, a NUL byte would end an argument.
pub(super) fn check_line(value: &str, max_bytes: usize) -> Result<(), String> {
    if value.len() > max_bytes {
        return Err(format!("it is longer than {max_bytes} bytes"));
    }
    if value.chars().any(char::is_control) {
        return Err("it holds a control character".to_owned());
    }
    Ok(())
}

/// Compiles a pattern that matches a whole text.
pub(super) fn whole_match(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

/// Why a pattern is no regular expression, with the pattern as it is written.
pub(super) fn pattern_error(pattern: &str) -> Option<regex::Error> {
    Regex::new(pattern).and_then(|_| whole_match(pattern)).err()
}

/// Whether `name` is a name for an environment variable, of at most 255 bytes.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.len() <= 255 && domain::is_variable_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_names_are_posix_names() {
        for name in ["A", "_x9", "F7T_version", &"a".repeat(255)] {
            assert!(is_variable_name(name), "{name}");
        }
        for name in ["", "9A", "A-B", "A=B", "A B", "Ä", "A\n", "$(id)", &"a".repeat(256)] {
            assert!(!is_variable_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_empty_line_counts_as_absent_and_a_line_break_is_found() {
        let mut findings = Findings::default();
        assert_eq!(findings.line("name", Some(String::new()), 10), None);
        findings.line("account", Some("a\n#SBATCH --uid=0".to_owned()), 100);
        findings.line("partition", Some("x".repeat(101)), 100);
        let error = findings.into_result().unwrap_err();
        assert_eq!(error.fields().iter().map(|field| &*field.name).collect::<Vec<_>>(), ["account", "partition"]);
    }
}
