//! The file names of jobs whose patterns scontrol and sacct print unexpanded, or expanded wrongly.
//!
//! Both expand some patterns, which ones depends on the release: 22.05 knows no widths, 24.11 leaves `%N` as it is, and neither knows that a
//! backslash switches patterns off. So a printed name that holds a trace of a pattern is not believed: squeue and sacct are asked for the name as the
//! job gave it, and the patterns that the nodes of every release expand alike are expanded here. Any other leaves the file unknown.

use super::delimiter::Delimiter;
use super::slurm_command;
use crate::domain::{JobId, JobMetadata};
use crate::scheduler::slurm::job_ref::{JobRef, shown_id};
use crate::scheduler::slurm::values::{number, text};
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// The fields of squeue and those of sacct, in one order.
const QUEUED: [&str; 9] = ["JobArrayID", "JobID", "NodeList", "UserName", "StdIn", "StdOut", "StdErr", "WorkDir", "Name"];
const ACCOUNTED: &str = "--format=JobID,JobIDRaw,NodeList,User,StdIn,StdOut,StdErr,WorkDir,JobName";

/// The number that Slurm puts in place of the task of a job that is no task: its "no value" of 32 bits.
pub(super) const NO_TASK: u32 = 0xffff_fffe;

/// The width above which Slurm does not fill numbers with zeros.
const MAX_WIDTH: usize = 10;

/// Asks for the file names of a job as it gave them.
pub(super) struct NamedFiles<'a> {
    /// The separator of the fields.
    pub(super) delimiter: Delimiter,
    /// The job.
    pub(super) job: JobRef<'a>,
    /// Whether accounting is asked, not the controller.
    pub(super) of_accounting: bool,
}

/// The file names of a job as it gave them, and what their patterns stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileNames {
    id: JobId,
    job: u32,
    array: u32,
    /// `None` for tasks that wait together.
    task: Option<u32>,
    node: Option<String>,
    user: String,
    name: String,
    directory: String,
    input: String,
    output: String,
    error: String,
}

impl RemoteCommand for NamedFiles<'_> {
    type Output = Vec<FileNames>;

    fn command_line(&self) -> CommandLine {
        if self.of_accounting {
            let line = slurm_command("sacct").flag("--noheader").flag("--parsable").option("--delimiter", self.delimiter.as_str());
            return line.flag("--allocations").flag(ACCOUNTED).option("--jobs", self.job.read_as());
        }
        let line = slurm_command("squeue").flag("--noheader").flag("--all").flag("--states=all");
        line.option("--Format", self.delimiter.long_format(&QUEUED)).option("--jobs", self.job.read_as())
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let program = if self.of_accounting { "sacct" } else { "squeue" };
        let not_understood = |reason| CommandError::Output { program, reason };
        let records = self.delimiter.records(&raw.stdout).map_err(not_understood)?;
        records.map(|record| names(record).map_err(not_understood)).collect()
    }
}

fn names([printed, job, nodes, user, input, output, error, directory, name]: [String; 9]) -> Result<FileNames, String> {
    let id = shown_id(&printed).map_err(|error| format!("{printed:?}: {error}"))?;
    let job = number(&job).ok_or_else(|| format!("{job:?} is no number of a job"))?;
    let (array, task) = match printed.split_once('_') {
        Some((array, task)) => (number(array).unwrap_or(job), number(task)),
        None => (job, Some(NO_TASK)),
    };
    Ok(FileNames { id, job, array, task, node: first_node(&nodes), user, name, directory, input, output, error })
}

/// The first of a list of nodes, such as `n[1-3,7],m2`, on which the script of a job runs.
fn first_node(nodes: &str) -> Option<String> {
    let nodes = text(nodes).filter(|nodes| nodes != "None assigned")?;
    let nodes = nodes.trim();
    let end = nodes.find([',', '[']).unwrap_or(nodes.len());
    let mut node = nodes[..end].to_owned();
    if let Some(list) = nodes[end..].strip_prefix('[') {
        let (list, after) = list.split_once(']')?;
        node.push_str(list.split(['-', ',']).next()?);
        (after.is_empty() || after.starts_with(',')).then_some(())?;
    }
    // Slurm uses the short name, which may not be the first part of this one.
    (!node.contains('.')).then_some(node)
}

/// Whether the names that Slurm printed for the files of a job may be others than those of the files.
pub(super) fn are_suspect(files: &JobMetadata) -> bool {
    let names = [&files.standard_input, &files.standard_output, &files.standard_error];
    names.into_iter().flatten().any(|name| is_suspect(name, files.is_array))
}

fn is_suspect(name: &str, is_array: bool) -> bool {
    let has_trace = |name: &str| name.contains(['%', '\\']) || name.contains("(null)");
    if is_array { has_trace(&name.replace("%a", "")) } else { has_trace(name) }
}

/// Replaces suspect names by those that follow from what the job gave, or by none.
pub(super) fn settle(files: &mut JobMetadata, given: &[FileNames]) {
    let (id, is_array) = (files.id.clone(), files.is_array);
    let given = given.iter().find(|given| given.id == id);
    let settle = |name: &mut Option<String>, pattern: fn(&FileNames) -> &str| {
        if name.as_deref().is_some_and(|name| is_suspect(name, is_array)) {
            *name = given.and_then(|given| given.path(pattern(given)));
        }
    };
    settle(&mut files.standard_input, |given| &given.input);
    settle(&mut files.standard_output, |given| &given.output);
    settle(&mut files.standard_error, |given| if text(&given.error).is_some() { &given.error } else { &given.output });
}

impl FileNames {
    fn path(&self, pattern: &str) -> Option<String> {
        text(pattern)?;
        let name = if pattern.contains('\\') { unescaped(pattern)? } else { self.expanded(pattern)? };
        Some(if name.starts_with('/') { name } else { format!("{}/{name}", self.directory) })
    }

    /// The name with the patterns expanded that have one meaning in every release.
    fn expanded(&self, pattern: &str) -> Option<String> {
        let mut name = String::new();
        let mut rest = pattern;
        while let Some((before, after)) = rest.split_once('%') {
            name.push_str(before);
            let letter_at = after.find(|character: char| !character.is_ascii_digit())?;
            let (width, after) = after.split_at(letter_at);
            let digits = if width.is_empty() { 0 } else { width.parse::<usize>().ok()?.min(MAX_WIDTH) };
            let filled = |number: u32| format!("{number:0digits$}");
            let letter = after.chars().next()?;
            let value = match letter {
                '%' if width.is_empty() => "%".to_owned(),
                'A' => filled(self.array),
                'a' => self.task.map_or_else(|| format!("%{width}a"), filled),
                'j' => filled(self.job),
                // The script of a job is no numbered step, and the one task of it on the first node.
                'J' if width.is_empty() => self.job.to_string(),
                's' if width.is_empty() => "batch".to_owned(),
                'n' | 't' => filled(0),
                'N' if width.is_empty() => self.node.clone()?,
                'u' => self.user.clone(),
                'x' if !self.name.contains('/') => self.name.clone(),
                _ => return None,
            };
            name.push_str(&value);
            rest = &after[letter.len_utf8()..];
        }
        name.push_str(rest);
        Some(name)
    }
}

/// A name with backslashes, which has no patterns. Releases differ in what two of them in a row mean.
fn unescaped(pattern: &str) -> Option<String> {
    let is_plain = !pattern.contains("\\\\") && !pattern.ends_with('\\');
    is_plain.then(|| pattern.replace('\\', ""))
}

#[cfg(test)]
mod tests {
    use super::super::golden::{delimiter, recorded};
    use super::*;

    const RELEASES: [&str; 3] = ["22.05", "24.11", "26.05"];

    fn given(release: &str, id: &str, of_accounting: bool) -> Vec<FileNames> {
        let id = JobId::new(id).unwrap();
        let command = NamedFiles { delimiter: delimiter(), job: JobRef::new(&id).unwrap(), of_accounting };
        let case = if of_accounting { "patterns.sacct-files" } else { "patterns.squeue" };
        command.parse(recorded(release, case)).unwrap()
    }

    fn names(pattern: &str) -> FileNames {
        FileNames {
            id: JobId::new("7_3").unwrap(),
            job: 9,
            array: 7,
            task: Some(3),
            node: Some("n2".to_owned()),
            user: "ada".to_owned(),
            name: "my job".to_owned(),
            directory: "/w".to_owned(),
            input: "/dev/null".to_owned(),
            output: pattern.to_owned(),
            error: "(null)".to_owned(),
        }
    }

    fn metadata(id: &str, output: &str, is_array: bool) -> JobMetadata {
        let output = Some(output.to_owned());
        let (standard_output, standard_error) = (output.clone(), output);
        JobMetadata { id: JobId::new(id).unwrap(), script: None, standard_input: None, standard_output, standard_error, is_array }
    }

    #[test]
    fn patterns_are_expanded_as_the_nodes_of_slurm_do() {
        for (pattern, file) in [
            ("/o/%j", Some("/o/9")),
            ("slurm.%N.%j.out", Some("/w/slurm.n2.9.out")),
            ("%5j-%A_%3a", Some("/w/00009-7_003")),
            ("%12j", Some("/w/0000000009")),
            ("%0j", Some("/w/9")),
            ("a%%b-%j", Some("/w/a%b-9")),
            ("p%%%j", Some("/w/p%9")),
            ("%%A", Some("/w/%A")),
            ("%x.%u.%3u", Some("/w/my job.ada.ada")),
            ("J-%J.%n.%s.%t", Some("/w/J-9.0.batch.0")),
            (r"x\%j", Some("/w/x%j")),
            (r"x\y-%j", Some("/w/xy-%j")),
            // Releases differ.
            (r"bs\\%j", None),
            (r"bs\", None),
            ("e%", None),
            ("%5%j", None),
            ("lit%2525", None),
            ("b%b", None),
            ("z%q", None),
            ("%99999999999999999999j", None),
            ("", None),
            ("(null)", None),
        ] {
            assert_eq!(names(pattern).path(pattern).as_deref(), file, "{pattern}");
        }
    }

    #[test]
    fn a_name_that_depends_on_the_node_is_unknown_until_there_is_one() {
        assert_eq!(FileNames { node: None, ..names("") }.path("%N"), None);
        assert_eq!(FileNames { name: "a/b".to_owned(), ..names("") }.path("%x"), None);
    }

    #[test]
    fn the_first_node_of_a_list_runs_the_script() {
        for (nodes, first) in [
            ("n1", Some("n1")),
            ("n[1-3,7],m2", Some("n1")),
            ("n[007,9]", Some("n007")),
            ("m2,n[1-3]", Some("m2")),
            ("r[1-2]n[1-2]", None),
            ("n1.example.org", None),
            ("None assigned", None),
            ("", None),
        ] {
            assert_eq!(first_node(nodes).as_deref(), first, "{nodes:?}");
        }
    }

    #[test]
    fn names_without_a_trace_of_a_pattern_are_believed_and_others_are_settled() {
        let settled = |id: &str, printed: &str, is_array: bool, given: &[FileNames]| {
            let mut files = metadata(id, printed, is_array);
            let suspect = are_suspect(&files);
            settle(&mut files, given);
            assert_eq!(files.standard_output, files.standard_error, "{printed}");
            (suspect, files.standard_output)
        };
        assert_eq!(settled("7_3", "/w/7_3.out", false, &[]), (false, Some("/w/7_3.out".to_owned())));
        assert_eq!(settled("7", "/w/7_%a.out", true, &[]), (false, Some("/w/7_%a.out".to_owned())));
        for printed in ["/w/%5j", "/w/(null)", r"/w/x\9"] {
            assert_eq!(settled("7_3", printed, false, &[names("%5j")]), (true, Some("/w/00009".to_owned())));
            assert_eq!(settled("7_3", printed, false, &[names("%q")]), (true, None));
            assert_eq!(settled("8", printed, false, &[names("%5j")]), (true, None));
        }
        let waiting = FileNames { id: JobId::new("7").unwrap(), task: None, ..names("%5A_%3a") };
        assert_eq!(settled("7", "/w/%5A_%3a", true, &[waiting]), (true, Some("/w/00007_%3a".to_owned())));
    }

    #[test]
    fn the_names_that_jobs_gave_are_read_from_every_release() {
        for release in RELEASES {
            let found = |of_accounting| {
                let given = given(release, "1", of_accounting);
                let mut paths: Vec<String> = given.iter().map(|given| given.path(&given.output).unwrap()).collect();
                paths.sort();
                (given, paths)
            };
            let (jobs, paths) = found(false);
            let files = |job: &FileNames| {
                let directory = "/home/fireuser/patterns";
                let array = format!("{directory}/{}-{}_{}", job.node.as_deref()?, job.array, job.task?);
                let other = format!("{directory}/{}.{:05}.%j.n m", job.node.as_deref()?, job.job);
                Some(if job.task == Some(NO_TASK) { other } else { array })
            };
            let mut expected: Vec<String> = jobs.iter().map(|job| files(job).unwrap()).collect();
            expected.sort();
            assert_eq!((jobs.len(), paths), (3, expected.clone()), "{release}");
            if release != "22.05" {
                assert_eq!(found(true).1, expected, "{release}");
            }
        }
    }
}
