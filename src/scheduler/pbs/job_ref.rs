//! The ids of PBS: which of those that a client may send can be one, and which one a job is shown under.

use crate::domain::{InvalidName, JobId};

/// An id that the commands take: a job (`123`), a whole array (`123[]`) or one of its subjobs (`123[4]`), each with or without
/// the server that gave the number (`123.pbs.example.org`). Ranges of subjobs are left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobRef<'a>(&'a str);

impl<'a> JobRef<'a> {
    /// The id, if it can be one of PBS.
    pub(super) fn new(id: &'a JobId) -> Option<Self> {
        let (sequence, server) = split(id.as_str());
        let number = match sequence.split_once('[') {
            Some((number, index)) => {
                let index = index.strip_suffix(']')?;
                (index.is_empty() || is_number(index)).then_some(number)?
            }
            None => sequence,
        };
        (is_number(number) && server.is_none_or(is_host)).then_some(Self(id.as_str()))
    }

    /// The id as the commands take it.
    pub(super) fn as_str(self) -> &'a str {
        self.0
    }

    /// Its number, without an index and without the server.
    pub(super) fn number(self) -> &'a str {
        number_of(self.0)
    }

    /// The server that it names.
    pub(super) fn server(self) -> Option<&'a str> {
        split(self.0).1
    }

    /// Whether it names one subjob of an array.
    pub(super) fn is_subjob(self) -> bool {
        let sequence = split(self.0).0;
        sequence.contains('[') && !sequence.ends_with("[]")
    }

    /// Whether it names a whole array.
    pub(super) fn is_array(self) -> bool {
        split(self.0).0.ends_with("[]")
    }
}

/// The id that a job is shown under: without the server, as long as it is the one that has the job. A job that came from another
/// server keeps that one's name, because its number means another job here.
///
/// # Errors
/// If it cannot be an id.
pub(super) fn shown_id(printed: &str, server: Option<&str>) -> Result<JobId, InvalidName> {
    match split(printed) {
        (sequence, Some(origin)) if server.is_none_or(|server| is_same_host(origin, server)) => JobId::new(sequence),
        _ => JobId::new(printed),
    }
}

/// The number of an id, without an index and without the server.
pub(super) fn number_of(id: &str) -> &str {
    split(id).0.split('[').next().unwrap_or_default()
}

/// The number and the index of an id, without the server.
pub(super) fn sequence_of(id: &str) -> &str {
    split(id).0
}

/// The order in which people expect ids: by number, then by index.
pub(super) fn sort_key(id: &JobId) -> (u64, u64) {
    let mut parts = split(id.as_str()).0.split(['[', ']']);
    let mut next = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    (next(), next())
}

fn split(id: &str) -> (&str, Option<&str>) {
    match id.split_once('.') {
        Some((sequence, server)) => (sequence, Some(server)),
        None => (id, None),
    }
}

/// Whether both name the same host, one of them perhaps without its domain.
pub(super) fn is_same_host(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> JobId {
        JobId::new(text).unwrap()
    }

    #[test]
    fn jobs_arrays_and_subjobs_are_ids_of_pbs() {
        for text in ["0", "123", "123.srv", "123[]", "123[].srv", "123[4]", "123[4].pbs-1.example.org"] {
            assert_eq!(JobRef::new(&id(text)).map(JobRef::as_str), Some(text));
        }
        assert!(JobRef::new(&id("1[].srv")).unwrap().is_array());
        assert!(!JobRef::new(&id("1[2].srv")).unwrap().is_array() && !JobRef::new(&id("1.srv")).unwrap().is_array());
    }

    #[test]
    fn ranges_queues_and_ids_of_other_schedulers_are_not() {
        for text in ["1[2-4]", "workq", "123_4", "123+1", "1[", "1]", "1[2]x", "1.", "1[[2]]", "1234567890123", "1.a[2]", "R12.srv"] {
            assert_eq!(JobRef::new(&id(text)), None, "{text}");
        }
    }

    #[test]
    fn a_job_is_shown_without_the_server_that_has_it() {
        for (printed, server, shown) in [
            ("5.pbs", Some("pbs"), "5"),
            ("5.pbs", Some("pbs.example.org"), "5"),
            ("5[].pbs.example.org", Some("pbs"), "5[]"),
            ("5[3].pbs", None, "5[3]"),
            ("5.pbs", Some("pbs2"), "5.pbs"),
            ("5", Some("pbs"), "5"),
        ] {
            assert_eq!(shown_id(printed, server).unwrap(), id(shown), "{printed} on {server:?}");
        }
        assert!(shown_id("", None).is_err() && shown_id("; rm", None).is_err());
    }

    #[test]
    fn ids_are_in_the_order_of_their_numbers() {
        let mut ids = ["10", "9[10]", "9[2]", "9[]", "2.srv"].map(id);
        ids.sort_by_key(sort_key);
        assert_eq!(ids.map(String::from), ["2.srv", "9[]", "9[2]", "9[10]", "10"]);
    }
}
