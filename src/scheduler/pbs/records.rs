//! Parses what PBS prints about jobs, queues, nodes, servers and reservations: a line that names one, then its attributes.

use crate::domain::bytes_to_text;

/// The layout of a command's records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The text before the name; a node is alone on its line.
    pub(super) head: &'static str,
    /// Whether attributes are indented.
    pub(super) indented: bool,
}

/// One job, queue, node, server or reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PbsRecord {
    /// Its name.
    pub(super) name: String,
    attributes: Vec<(String, String)>,
}

impl PbsRecord {
    /// The value of an attribute, such as `job_state` or `Resource_List.walltime`. Of two, the first: what follows was
    /// made by a line feed in a value.
    pub(super) fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.iter().find(|(name, _)| name == attribute).map(|(_, value)| value.as_str())
    }

    /// The resources of an attribute such as `resources_available`, without its name.
    pub(super) fn resources(&self, attribute: &'static str) -> impl Iterator<Item = (&str, &str)> {
        let resource = move |name: &'_ str| name.strip_prefix(attribute)?.strip_prefix('.').map(str::len);
        self.attributes.iter().filter_map(move |(name, value)| {
            let length = resource(name)?;
            Some((&name[name.len() - length..], value.as_str()))
        })
    }

    /// A variable of the job's environment, from its `Variable_List`.
    pub(super) fn variable(&self, wanted: &str) -> Option<String> {
        let list = self.get("Variable_List")?;
        let mut item = String::new();
        let mut characters = list.chars();
        loop {
            let character = characters.next();
            match character {
                // Only these are escaped; any other backslash is one.
                Some('\\') => match characters.next() {
                    Some(escaped @ ('"' | '\'' | ',' | '\\')) => item.push(escaped),
                    // How qstat prints a line feed where lines are not wrapped. A backslash of the value itself is doubled.
                    Some('n') => item.push('\n'),
                    Some(other) => item.extend(['\\', other]),
                    None => item.push('\\'),
                },
                Some(',') | None => {
                    if let Some((name, value)) = item.split_once('=')
                        && name == wanted
                    {
                        return Some(value.to_owned());
                    }
                    character?;
                    item.clear();
                }
                Some(character) => item.push(character),
            }
        }
    }
}

/// Parses an output. Text before the first record, such as a greeting of the login shell, is dropped, and lines
/// that were wrapped are joined. A record ends with an empty line, and only then does another one begin.
pub(super) fn records(output: &[u8], layout: Layout) -> Vec<PbsRecord> {
    let mut records: Vec<PbsRecord> = Vec::new();
    let mut previous = "";
    for line in bytes_to_text(output).lines() {
        let may_begin = records.is_empty() || previous.is_empty();
        previous = line;
        if let Some(name) = name_of(line, layout).filter(|_| may_begin) {
            records.push(PbsRecord { name: name.trim().to_owned(), attributes: Vec::new() });
            continue;
        }
        let Some(record) = records.last_mut() else { continue };
        match (attribute_of(line, layout), record.attributes.last_mut()) {
            (Some((name, value)), _) => record.attributes.push((name.to_owned(), value.to_owned())),
            (None, Some((_, value))) if !line.is_empty() => match line.strip_prefix('\t') {
                Some(wrapped) => value.push_str(wrapped.trim_end()),
                None => value.extend(["\n", line]),
            },
            _ => {}
        }
    }
    records
}

fn name_of(line: &str, layout: Layout) -> Option<&str> {
    if !layout.head.is_empty() {
        return line.strip_prefix(layout.head);
    }
    let is_name = !line.is_empty() && !line.contains(|c: char| c.is_whitespace() || c == '=');
    is_name.then_some(line)
}

fn attribute_of(line: &str, layout: Layout) -> Option<(&str, &str)> {
    if layout.indented != line.starts_with("    ") {
        return None;
    }
    let (name, value) = line.trim_start().split_once(" =")?;
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    is_name.then(|| (name, value.strip_prefix(' ').unwrap_or(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::golden::recorded;
    use super::*;

    const JOBS: Layout = Layout { head: "Job Id: ", indented: true };

    #[test]
    fn wrapped_lines_read_as_those_that_are_not() {
        let read = |name: &str| records(&recorded(name).stdout, JOBS);
        let (wide, folded) = (read("jobs.qstat"), read("jobs-folded.qstat"));
        assert_eq!((wide.len(), folded.len()), (15, 15));
        for (wide, folded) in wide.iter().zip(&folded) {
            for attribute in ["Job_Name", "job_state", "Output_Path", "Exit_status", "comment", "project", "Submit_Host"] {
                assert_eq!(wide.get(attribute), folded.get(attribute), "{} {attribute}", wide.name);
            }
            assert_eq!(wide.variable("PBS_O_WORKDIR"), folded.variable("PBS_O_WORKDIR"), "{}", wide.name);
        }
    }

    #[test]
    fn a_variable_comes_back_with_its_commas_and_quotes() {
        let jobs = records(&recorded("jobs.qstat").stdout, JOBS);
        let strange = jobs.iter().find(|job| job.get("Job_Name") == Some("strange")).unwrap();
        assert_eq!(strange.variable("QUOTED").as_deref(), Some("it's \"x\""));
        assert_eq!(strange.variable("EMPTY").as_deref(), Some(""));
        assert_eq!(strange.variable("NUMBER").as_deref(), Some("1e5"));
        assert_eq!(strange.variable("PBS_O_HOST").as_deref(), Some("pbs"));
        assert_eq!(strange.variable("NONE"), None);
        assert_eq!(strange.get("Job_Name"), Some("strange"), "the variable LINES holds another");
    }

    #[test]
    fn a_line_feed_in_a_recorded_variable_begins_no_job() {
        for name in ["strange-environment", "strange-environment-folded"] {
            let jobs = records(&recorded(&format!("openpbs-23.06.06/{name}.qstat")).stdout, JOBS);
            assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["47724.pbs"], "{name}");
            assert_eq!((jobs[0].get("job_state"), jobs[0].get("Exit_status")), (Some("F"), Some("0")), "{name}");
        }
        let wide = &records(&recorded("openpbs-23.06.06/strange-environment.qstat").stdout, JOBS)[0];
        assert_eq!(wide.variable("NL").as_deref(), Some("a\nJob Id: 7.pbs\n    job_state = F"));
    }

    #[test]
    fn a_line_feed_in_a_value_replaces_no_attribute() {
        let output = b"Job Id: 1.s\n    Job_Name = real\n    Variable_List = A=x\n    Job_Name = forged\nB\n    comment = c\n\n";
        let [job] = &records(output, JOBS)[..] else { panic!("one job") };
        assert_eq!((job.get("Job_Name"), job.get("comment")), (Some("real"), Some("c")));
    }

    #[test]
    fn resources_are_told_by_their_names() {
        let output = b"n1\n     resources_available.ncpus = 4\n     resources_available.gpu = True\n     resources_assigned.ncpus = 1\n\nn2\n     state = free\n";
        let nodes = records(output, Layout { head: "", indented: true });
        assert_eq!(nodes[0].resources("resources_available").collect::<Vec<_>>(), [("ncpus", "4"), ("gpu", "True")]);
        assert_eq!((nodes[1].name.as_str(), nodes[1].get("state")), ("n2", Some("free")));
    }

    #[test]
    fn a_greeting_and_an_empty_output_hold_no_record() {
        assert_eq!(records(b"Welcome!\n    x = y\n", JOBS), []);
        assert_eq!(records(b"", JOBS), []);
        let [job] = &records(b"Welcome\nJob Id: 1.s\n    project =\n", JOBS)[..] else { panic!("one job") };
        assert_eq!(job.get("project"), Some(""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_into_no_more_than_they_are(output in proptest::collection::vec(any::<u8>(), 0..400)) {
            for layout in [JOBS, Layout { head: "", indented: true }, Layout { head: "Resv ID: ", indented: false }] {
                let read = records(&output, layout);
                let size: usize = read.iter().map(|r| r.name.len() + r.attributes.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()).sum();
                prop_assert!(size <= 4 * output.len() + 1);
            }
        }

        #[test]
        fn hostile_lines_are_read_without_a_panic(lines in proptest::collection::vec(r"(Job Id: |    |\t|)[A-Za-z_.]{0,8}( = |=|,|\\|)[\\,=a\n]{0,8}", 0..20)) {
            for record in records(lines.join("\n").as_bytes(), JOBS) {
                let _ = (record.variable("a"), record.resources("a").count());
            }
        }

        #[test]
        fn an_escaped_value_of_a_variable_comes_back(value in "[a-z,\"'\\\\=]{0,12}") {
            let escaped: String = value.chars().flat_map(|c| matches!(c, ',' | '"' | '\'' | '\\').then_some('\\').into_iter().chain([c])).collect();
            let output = format!("Job Id: 1.s\n    Variable_List = A=1,WANTED={escaped},B=2\n");
            let [job] = &records(output.as_bytes(), JOBS)[..] else { panic!("one job") };
            prop_assert_eq!(job.variable("WANTED"), Some(value));
            prop_assert_eq!(job.variable("B"), Some("2".to_owned()));
        }
    }
}
