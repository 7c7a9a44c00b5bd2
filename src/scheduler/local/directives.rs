//! The `#SBATCH` lines at the head of a script, as far as one machine can honour them.
//!
//! `--time`/`-t`, `--job-name`/`-J`, `--output`/`-o`, `--error`/`-e`, `--input`/`-i` and `--account`/`-A` are honoured. An
//! `--array` is refused, because the script would run once instead of many times. Others are ignored: what they ask for
//! (nodes, memory, a queue) has no meaning here. As in Slurm, they must precede the first command.

use crate::scheduler::directives::{option, sbatch_lines, seconds};

/// The options at the head of a script. The request's own fields take precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// Name of the job.
    pub name: Option<String>,
    /// Account, kept as a label.
    pub account: Option<String>,
    /// Time limit in seconds; `Some(0)` is no limit.
    pub time: Option<u64>,
    /// File for standard input.
    pub input: Option<String>,
    /// File for standard output.
    pub output: Option<String>,
    /// File for standard error.
    pub error: Option<String>,
}

impl Directives {
    /// Reads the head of a script.
    ///
    /// # Errors
    /// With a message for the client, when a directive that matters cannot be honoured.
    pub fn read(script: &str) -> Result<Self, String> {
        let mut directives = Self::default();
        for line in sbatch_lines(script) {
            directives.line(&line)?;
        }
        Ok(directives)
    }

    fn line(&mut self, words: &[String]) -> Result<(), String> {
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let Some((option, inline)) = option(word) else { continue };
            let target = match option {
                "time" | "t" => {
                    let value = inline.or_else(|| words.next()).unwrap_or_default();
                    self.time = Some(seconds(value).ok_or_else(|| format!("Invalid --time specification: {value}"))?);
                    continue;
                }
                "array" | "a" => return Err("Job arrays are not supported by the local scheduler".to_owned()),
                "job-name" | "J" => &mut self.name,
                "account" | "A" => &mut self.account,
                "input" | "i" => &mut self.input,
                "output" | "o" => &mut self.output,
                "error" | "e" => &mut self.error,
                _ => continue,
            };
            *target = inline.or_else(|| words.next()).filter(|value| !value.is_empty()).map(str::to_owned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_head_of_a_script_is_read_up_to_its_first_command() {
        let script = "#!/bin/bash\n\n#SBATCH --job-name=\"my job\" --time 1:30 # not this --time=9\n#SBATCH -o out.%j\n#SBATCH -eerr\n# a remark\n#SBATCH --nodes=2\n#SBATCHED -J no\necho\n#SBATCH --time=99\n";
        assert_eq!(
            Directives::read(script),
            Ok(Directives {
                name: Some("my job".to_owned()),
                time: Some(90),
                output: Some("out.%j".to_owned()),
                error: Some("err".to_owned()),
                ..Directives::default()
            })
        );
    }

    #[test]
    fn times_are_read_as_slurm_reads_them() {
        for (text, expected) in [
            ("10", 600),
            ("1:30", 90),
            ("1:00:05", 3605),
            ("2-3", 183_600),
            ("1-0:30", 88_200),
            ("1-0:0:1", 86_401),
            ("0", 0),
            ("UNLIMITED", 0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "-1", "1:2:3:4", "abc", "1-", "+5", "99999999999999999999", "1 0"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn an_array_and_a_wrong_time_are_refused() {
        assert!(Directives::read("#!/bin/sh\n#SBATCH --array=1-5\n").unwrap_err().contains("arrays"));
        assert!(Directives::read("#!/bin/sh\n#SBATCH --time=soon\n").unwrap_err().contains("soon"));
        assert!(Directives::read("#!/bin/sh\n#SBATCH --time\n").is_err());
    }

    proptest! {
        #[test]
        fn any_head_is_read_without_a_panic(line: String) {
            let _ = Directives::read(&format!("#SBATCH {line}"));
        }
    }
}
