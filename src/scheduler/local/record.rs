//! The status lines of the job files: `job <id> key=value ...`, with values percent-escaped so that none can forge a field.

use std::collections::BTreeMap;

use crate::domain::{Job, JobId, JobStatus, JobTimes, bytes_to_text, text_to_bytes};

/// Escapes a value: ASCII letters, digits and `._-/` are unchanged, every other byte is `%XX`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text_to_bytes(text) {
        if byte.is_ascii_alphanumeric() || b"._-/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Reads back what [`escape`] wrote; `None` when it did not write it.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes_to_text(&bytes))
}

/// The part of a status line that does not change while the job lives.
pub fn fixed_fields(name: &str, directory: &str, user: &str, account: Option<&str>, limit: Option<u64>) -> String {
    let mut fields = format!("name={} directory={} user={}", escape(name), escape(directory), escape(user));
    if let Some(account) = account {
        fields.push_str(&format!(" account={}", escape(account)));
    }
    if let Some(limit) = limit {
        fields.push_str(&format!(" limit={limit}"));
    }
    fields
}

/// Reads the output of `list.sh`: the clock, one line a job, `end`. A job may occur twice, when it changed meanwhile: the later
/// line holds.
///
/// # Errors
/// With the reason, when the output is cut off or a line is not ours.
pub fn jobs(output: &[u8]) -> Result<Vec<Job>, String> {
    let text = std::str::from_utf8(output).map_err(|_| "it is not ASCII".to_owned())?;
    let mut lines = text.lines();
    let now = lines
        .next()
        .and_then(|line| line.strip_prefix("now "))
        .and_then(|now| now.parse::<i64>().ok())
        .ok_or_else(|| "it does not start with the time".to_owned())?;
    let mut jobs = BTreeMap::new();
    for line in lines {
        if line == "end" {
            return Ok(jobs.into_values().collect());
        }
        // The rest of a file that was written over.
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (number, job) = job(line, now).ok_or_else(|| format!("a status line is malformed: {line:.200}"))?;
        jobs.insert(number, job);
    }
    Err("it was cut off".to_owned())
}

fn job(line: &str, now: i64) -> Option<(u64, Job)> {
    let mut words = line.strip_prefix("job ")?.split(' ');
    let id = words.next()?;
    let number = id.parse().ok()?;
    let fields: BTreeMap<&str, &str> = words.map(|word| word.split_once('=')).collect::<Option<_>>()?;
    let text = |key: &str| fields.get(key).map_or(Some(None), |value| unescape(value).map(Some));
    let integer = |key: &str| fields.get(key).map_or(Some(None), |value| value.parse::<i64>().ok().map(Some));
    let start = integer("start")?;
    let end = integer("end")?;
    let limit = integer("limit")?;
    let state = text("state")??;
    let exit_code = fields.get("exit").map_or(Some(None), |value| value.parse::<i32>().ok().map(Some))?;
    let user = text("user")?;
    let reason = text("reason")?.filter(|reason| reason != "None");
    Some((
        number,
        Job {
            id: JobId::new(id).ok()?,
            name: text("name")??,
            kill_request_user: if state == "CANCELLED" { user.clone() } else { None },
            status: JobStatus { state, reason, exit_code, signal: exit_code.and_then(signal) },
            steps: None,
            times: JobTimes {
                elapsed: Some(start.map_or(0, |start| end.unwrap_or(now).saturating_sub(start).max(0))),
                start,
                end,
                expected_start: None,
                expected_end: if end.is_none() { start.and_then(|start| start.checked_add(limit?)) } else { None },
                suspended: Some(0),
                limit,
            },
            account: text("account")?,
            allocation_nodes: 1,
            cluster: super::PARTITION.to_owned(),
            group: None,
            nodes: text("host")?.unwrap_or_default(),
            partition: super::PARTITION.to_owned(),
            user,
            working_directory: text("directory")??,
            priority: None,
        },
    ))
}

/// The signal of a shell's exit status (128 + n), for the signals 1 to 64. A script that itself ends with such a
/// status cannot be distinguished, so the exit code is kept too.
fn signal(exit: i32) -> Option<i32> {
    Some(exit - 128).filter(|signal| (1..=64).contains(signal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &[u8] = b"now 2000\n\
        job 7 name=a%20b%0Ajob%209 directory=/home/u user=ada account=phys limit=60 submitted=1000 state=RUNNING reason=None start=1990 host=n1\n\
        job 3 name=x directory=/ user=ada submitted=1 state=PENDING reason=Resources\n\
        job 10 name=k directory=/%FF user=ada submitted=1 state=FAILED reason=NonZeroExitCode start=5 host=n1 end=9 exit=137\n\
        job 3 name=x directory=/ user=ada submitted=1 state=CANCELLED reason=None end=9\n\
        \x20\x20\n\
        end\n";

    #[test]
    fn a_list_is_read_in_the_order_of_the_ids() {
        let jobs = jobs(LIST).unwrap();
        assert_eq!(jobs.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["3", "7", "10"]);
        assert_eq!(jobs[0].status.state, "CANCELLED", "the later line holds");
        assert_eq!(jobs[0].kill_request_user.as_deref(), Some("ada"));
        assert_eq!((jobs[0].times.start, jobs[0].times.end), (None, Some(9)), "it was cancelled while it waited");
        assert_eq!(jobs[1].name, "a b\njob 9");
        assert_eq!(jobs[1].account.as_deref(), Some("phys"));
        assert_eq!(
            jobs[1].times,
            JobTimes {
                elapsed: Some(10),
                start: Some(1990),
                end: None,
                expected_start: None,
                expected_end: Some(2050),
                suspended: Some(0),
                limit: Some(60)
            }
        );
        assert_eq!((jobs[2].status.exit_code, jobs[2].status.signal), (Some(137), Some(9)));
        let reasons = jobs.iter().map(|job| job.status.reason.as_deref()).collect::<Vec<_>>();
        assert_eq!(reasons, [None, None, Some("NonZeroExitCode")], "no reason is null, as on Slurm");
        assert_eq!(jobs[2].working_directory, "/\u{EFFF}");
    }

    #[test]
    fn an_output_that_was_cut_off_anywhere_is_refused() {
        for length in 0..LIST.len() - 4 {
            assert!(jobs(&LIST[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn malformed_lines_are_refused() {
        for line in ["job", "job x name=a", "job 1 name=%4", "job 1 name", "jobs 1", "job 1 name=a directory=/ state=R start=x"] {
            assert!(jobs(format!("now 1\n{line}\nend\n").as_bytes()).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_escaped_to_one_word_and_comes_back(text: String) {
            let escaped = escape(&text);
            prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'='));
            prop_assert_eq!(unescape(&escaped), Some(text));
        }

        #[test]
        fn any_output_is_read_without_a_panic(output: Vec<u8>) {
            let _ = jobs(&output);
            let _ = jobs(&[b"now 1\n", output.as_slice(), b"\nend\n"].concat());
        }
    }
}
