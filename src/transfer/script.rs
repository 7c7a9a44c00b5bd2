//! Batch scripts, put together from parts.
//!
//! A script is the site's directives, values, and a program that is a constant of ours and only ever names the values. It holds
//! no line break, no other control character and no invalid UTF-8 from elsewhere: values that do are written in octal. So no
//! value can end a line, be taken for a directive, or be changed on its way through a scheduler that carries scripts as JSON.

use std::fmt::{self, Write};

use super::Directives;
use crate::domain::{RemotePath, bytes_to_text};
use crate::ssh::CommandLine;

/// The first part of every job's script, and the way files get to their places, as for commands.
const PRELUDE: &str = concat!(include_str!("shell/prelude.sh"), include_str!("../filesystem/exec/place.sh"));

/// A script in the making.
pub(super) struct Script(String);

impl Script {
    /// A script with these directives.
    pub(super) fn new(directives: &Directives) -> Self {
        // Directives are read up to the first line that is no comment, so they come first.
        Self(format!("#!/bin/sh\n{}\n{PRELUDE}\n", directives.as_str()))
    }

    /// Sets the variable `name` to a path.
    pub(super) fn path(self, name: &'static str, path: &RemotePath) -> Self {
        self.value(name, path.as_bytes())
    }

    /// Sets the variable `name` to a word of ours, which may be empty.
    pub(super) fn word(self, name: &'static str, word: &'static str) -> Self {
        self.value(name, word.as_bytes())
    }

    /// Sets the variable `name` to any bytes but NUL.
    pub(super) fn value(self, name: &'static str, value: &[u8]) -> Self {
        let text = bytes_to_text(value);
        if text.as_bytes() == value && !text.contains(char::is_control) {
            return self.line(format_args!("{}", CommandLine::new("readonly").option(name, value)));
        }
        // The dot keeps line breaks at the end, which the shell would drop.
        let print = CommandLine::new("printf").flag("%b.").arg(octal(value));
        self.line(format_args!("{name}=$({print})")).line(format_args!("{name}=${{{name}%.}}"))
    }

    /// Sets the variable `name` to these lines, which are ours.
    ///
    /// Behind the first command a scheduler reads no more directives, and the quotes are not left.
    pub(super) fn lines(self, name: &'static str, lines: &[String]) -> Self {
        self.line(format_args!("{}", CommandLine::new("readonly").option(name, lines.join("\n").as_bytes())))
    }

    fn line(mut self, line: fmt::Arguments<'_>) -> Self {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
        self
    }

    /// Ends the script with its program.
    pub(super) fn program(self, program: &'static str) -> String {
        format!("{}\n{program}", self.0)
    }
}

/// The bytes as printf's `%b` reads them: printing ASCII as it is, the rest in octal.
fn octal(value: &[u8]) -> String {
    value.iter().fold(String::with_capacity(4 * value.len()), |mut text, &byte| {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\0{byte:03o}");
            }
        }
        text
    })
}
