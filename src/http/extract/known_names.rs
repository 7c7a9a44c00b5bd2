//! Unknown names in the query and in documents, and names that are given twice. FirecREST ignores them, or takes the last one, and with
//! them the caller's intention: here they are rejected, unless `server.lenient` is set.

use std::borrow::Cow;
use std::collections::HashMap;

use axum::http::Method;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use crate::domain::{excerpt, nearest_name};
use crate::http::problem::invalid::{InvalidInput, Place, WrongField};

/// The maximum length of an unknown name in a message, in characters.
pub(crate) const MAX_SHOWN: usize = 64;

/// The maximum number of wrong names in one response.
const MAX_WRONG: usize = 16;

/// Names that clients of FirecREST send to operations that do not use them: pyfirecrest requests one job with the parameters of a list.
const IGNORED_QUERY_NAMES: [(&str, &[&str]); 1] =
    [("/compute/{system_name}/jobs/{job_id}", &["allusers", "account", "name", "time_window"])];

/// Words of Slurm, PBS and FirecREST v1 for what has another name here; without `_`, `-` and capitals.
const SYNONYMS: [(&str, &str); 29] = [
    ("workdir", "workingDirectory"),
    ("workdirectory", "workingDirectory"),
    ("chdir", "workingDirectory"),
    ("cwd", "workingDirectory"),
    ("directory", "workingDirectory"),
    ("time", "timeLimit"),
    ("walltime", "timeLimit"),
    ("stdin", "standardInput"),
    ("input", "standardInput"),
    ("stdout", "standardOutput"),
    ("output", "standardOutput"),
    ("stderr", "standardError"),
    ("error", "standardError"),
    ("jobname", "name"),
    ("queue", "partition"),
    ("project", "account"),
    ("constraint", "constraints"),
    ("ntasks", "tasks"),
    ("ntaskspernode", "tasksPerNode"),
    ("cpus", "cpusPerTask"),
    ("mem", "memory"),
    ("mempercpu", "memoryPerCpu"),
    ("dependency", "dependencies"),
    ("mailtype", "mailEvents"),
    ("image", "containerImage"),
    ("command", "script"),
    ("scriptstr", "script"),
    ("file", "scriptPath"),
    ("environmentvariables", "env"),
];

/// The names that the query of each operation may have, as the API's own document has them.
pub(crate) struct QueryNames(HashMap<String, Vec<(Method, Vec<String>)>>);

impl QueryNames {
    /// Reads them from the document.
    pub(crate) fn of(document: &OpenApi) -> Self {
        let routes = document.paths.paths.iter();
        Self(routes.map(|(route, item)| (route.clone(), operations(item).map(|(method, own)| (method, names(own))).collect())).collect())
    }

    /// The methods of a route; none if the document does not have it.
    pub(crate) fn methods(&self, route: &str) -> Vec<&Method> {
        self.0.get(route).into_iter().flatten().map(|(method, _)| method).collect()
    }

    /// Looks for names in a query that the operation does not have, or that stand there more than once: each takes one value.
    ///
    /// # Errors
    /// If there are some.
    pub(crate) fn check(&self, route: &str, method: &Method, written: &[Cow<'_, str>]) -> Result<(), InvalidInput> {
        let Some(operations) = self.0.get(route) else { return Ok(()) };
        let known = |method: &Method| operations.iter().find(|(known, _)| known == method).map(|(_, names)| names);
        // Without an operation of its own, HEAD is that of GET. OPTIONS asks about a resource, and acts on none.
        let names = match *method {
            Method::HEAD => known(method).or_else(|| known(&Method::GET)),
            Method::OPTIONS => None,
            _ => known(method),
        };
        let Some(names) = names else { return Ok(()) };
        let in_vain = |name: &str| IGNORED_QUERY_NAMES.iter().any(|(to, sent)| *to == route && sent.contains(&name));
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let wrong = written.iter().filter(|name| !in_vain(name)).filter_map(|name| {
            let count = counts.entry(name).or_default();
            *count += 1;
            // Each wrong name is in the answer once.
            match (*count, names.iter().any(|known| known == name)) {
                (1, false) => Some(unknown(Place::Query, name, name, &names.iter().map(String::as_str).collect::<Vec<_>>())),
                (2, true) => Some(repeated(Place::Query, name)),
                _ => None,
            }
        });
        let wrong: Vec<_> = wrong.take(MAX_WRONG).collect();
        if wrong.is_empty() { Ok(()) } else { Err(InvalidInput(wrong)) }
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    let all = [
        (Method::GET, &item.get),
        (Method::HEAD, &item.head),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn names(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    parameters.filter(|parameter| parameter.parameter_in == ParameterIn::Query).map(|parameter| parameter.name.clone()).collect()
}

/// The name and the error of a member that serde does not know, from serde's message and its path: the path of the
/// member, or of the value around it. Nothing if the message is about something else.
pub(crate) fn unknown_member(path: &str, message: &str) -> Option<(String, WrongField)> {
    let (name, rest) = message.strip_prefix("unknown field `")?.split_once("`, ")?;
    let known = rest.split('`').skip(1).step_by(2);
    // Aliases are accepted, but not suggested.
    let known: Vec<&str> = known.filter(|known| !known.contains('_')).collect();
    let is_own = path == name || path.strip_suffix(name).is_some_and(|parent| parent.ends_with('.'));
    let at = match path {
        _ if is_own => path.to_owned(),
        "." => name.to_owned(),
        parent => format!("{parent}.{name}"),
    };
    Some((name.to_owned(), unknown(Place::Body, name, &at, &known)))
}

/// The error for the unknown name `written` at `place`, where only these names are known.
pub(crate) fn unknown(place: Place, written: &str, at: &str, known: &[&str]) -> WrongField {
    let plain: String = written.chars().take(MAX_SHOWN).filter(|c| !matches!(c, '_' | '-')).collect::<String>().to_ascii_lowercase();
    let meant = SYNONYMS.iter().find(|(word, meant)| *word == plain && known.contains(meant)).map(|(_, meant)| *meant);
    // The shape of a request for one job.
    let is_wrapped = written == "job" && at.starts_with("jobs[");
    let hint = match meant.or_else(|| nearest_name(written, known.iter().copied())) {
        _ if is_wrapped => "each entry of `jobs` is a job: write its members without `job` around them".to_owned(),
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => format!("known are `{}`", known.join("`, `")),
    };
    WrongField { place, name: excerpt(at, MAX_SHOWN).into(), message: format!("this name is not known here: {hint}") }
}

/// The error for a name that is given more than once, where only one value counts.
pub(crate) fn repeated(place: Place, at: &str) -> WrongField {
    WrongField { place, name: excerpt(at, MAX_SHOWN).into(), message: "it is given more than once: send one value".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, message: &str) -> (String, String) {
        let (_, field) = unknown_member(path, message).unwrap();
        (field.name.into_owned(), field.message)
    }

    #[test]
    fn the_nearest_name_of_those_that_serde_tells_is_offered() {
        let message = "unknown field `standartOutput`, expected one of `name`, `standardOutput`, `standard_output` at line 1 column 9";
        assert_eq!(
            told("job", message),
            ("job.standartOutput".to_owned(), "this name is not known here: did you mean `standardOutput`?".to_owned())
        );
        assert_eq!(told("job.standartOutput", message), told("job", message));
        let message = "unknown field `nodes`, expected `command` or `other_name`";
        assert_eq!(told(".", message), ("nodes".to_owned(), "this name is not known here: known are `command`".to_owned()));
        assert_eq!(told("nodes", message), told(".", message));
        assert_eq!(told(".", "unknown field `x`, there are no fields").1, "this name is not known here: there are none");
        assert!(unknown_member(".", "missing field `path`").is_none());
    }

    #[test]
    fn words_of_other_interfaces_lead_to_the_name_that_is_meant() {
        let known = ["name", "timeLimit", "workingDirectory", "standardOutput"];
        for (written, meant) in
            [("workdir", "workingDirectory"), ("work_dir", "workingDirectory"), ("time", "timeLimit"), ("stdout", "standardOutput")]
        {
            assert_eq!(
                unknown(Place::Body, written, written, &known).message,
                format!("this name is not known here: did you mean `{meant}`?")
            );
        }
        let bulk = unknown(Place::Body, "job", "jobs[0].job", &known).message;
        assert!(bulk.ends_with("each entry of `jobs` is a job: write its members without `job` around them"), "{bulk}");
        // Only what is known there.
        assert!(unknown(Place::Query, "workdir", "workdir", &["path"]).message.ends_with("known are `path`"));
    }

    #[test]
    fn the_time_for_a_query_grows_with_its_length_and_not_with_its_square() {
        let known = QueryNames(HashMap::from([("/status".to_owned(), vec![(Method::GET, vec!["path".to_owned()])])]));
        let mut written = vec![Cow::Borrowed("a"); 40_000];
        written.extend(["path", "path"].map(Cow::Borrowed));
        let started = std::time::Instant::now();
        let wrong = known.check("/status", &Method::GET, &written).unwrap_err();
        assert_eq!(wrong.0.iter().map(|field| &*field.name).collect::<Vec<_>>(), ["a", "path"]);
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }

    #[test]
    fn a_name_is_repeated_in_part_and_without_what_could_forge_a_line() {
        let name = format!("a\nb{}", "x".repeat(1000));
        let field = unknown(Place::Query, &name, &name, &["path"]);
        assert_eq!((field.name.chars().count(), &field.name[..3]), (MAX_SHOWN, "abx"));
    }
}
