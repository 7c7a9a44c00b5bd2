//! The variables of kbatch-proxy, for a site that keeps its deployment: they fill in what the file leaves out, where it has `compat.kbatch`.

use std::path::Path;

use super::environment::{fill, find, value};
use super::problem::{Origin, Problem};
use super::yaml::{self, Node, Value};

/// The variables with the keys of the section.
const OWN: [(&str, &str, Form); 4] = [
    ("KBATCH_PREFIX", "prefix", Form::Prefix),
    ("KBATCH_PROFILE_FILE", "profiles", Form::File),
    ("KBATCH_JOB_TEMPLATE_FILE", "job_template", Form::File),
    ("KBATCH_JOB_EXTRA_ENV", "extra_env", Form::Json),
];

/// The variables with the keys of the section `scheduler.kubernetes` of the system.
const OF_SCHEDULER: [(&str, &str, Form); 3] = [
    ("KBATCH_JOB_TTL_SECONDS_AFTER_FINISHED", "finished_job_ttl", Form::Json),
    ("KBATCH_CREATE_USER_NAMESPACE", "create_namespaces", Form::Json),
    ("KBATCH_NAMESPACE_MANIFESTS_FILE", "namespace_manifests", Form::Documents),
];

/// How the value of a variable is read.
#[derive(Clone, Copy)]
enum Form {
    /// A path, which may end with a slash.
    Prefix,
    /// JSON, or a plain value.
    Json,
    /// The name of a file with one YAML document.
    File,
    /// The name of a file with a list, or with several documents.
    Documents,
}

/// Applies the variables to the document.
pub(super) fn apply(root: &mut Node, variables: &[(String, String)], problems: &mut Vec<Problem>) {
    let Some(section) = member(root, "compat").and_then(|compat| member(compat, "kbatch")) else { return };
    fill_from(section, &OWN, variables, problems);
    let system = match member(section, "system").map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) => text.clone(),
        _ => return,
    };
    let Some(Value::Sequence(clusters)) = member(root, "clusters").map(|node| &mut node.value) else { return };
    let is_named = |cluster: &mut Node| match member(cluster, "name").map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) => text.eq_ignore_ascii_case(&system),
        _ => false,
    };
    let scheduler = clusters.iter_mut().find_map(|cluster| is_named(cluster).then(|| member(cluster, "scheduler")).flatten());
    if let Some(scheduler) = scheduler
        && matches!(member(scheduler, "type").map(|node| &node.value), Some(Value::Scalar { text, .. }) if text == "kubernetes")
    {
        if member(scheduler, "kubernetes").is_none() {
            fill(scheduler, "kubernetes", Node { origin: scheduler.origin.clone(), value: Value::Mapping(Vec::new()) });
        }
        if let Some(kubernetes) = member(scheduler, "kubernetes") {
            fill_from(kubernetes, &OF_SCHEDULER, variables, problems);
        }
    }
}

fn fill_from(section: &mut Node, known: &[(&str, &str, Form)], variables: &[(String, String)], problems: &mut Vec<Problem>) {
    for (name, key, form) in known {
        let Some((_, text)) = variables.iter().find(|(written, text)| written == name && !text.is_empty()) else { continue };
        match read(name, text, *form) {
            Ok(node) => fill(section, key, node),
            Err(problem) => problems.push(problem.at(Some(&Origin::Environment((*name).into())))),
        }
    }
}

fn read(name: &str, text: &str, form: Form) -> Result<Node, Problem> {
    match form {
        Form::Prefix => value(name, text.trim_end_matches('/')),
        Form::Json => value(name, text),
        Form::File => super::read_file(Path::new(text)),
        Form::Documents => {
            let path = Path::new(text);
            let content = super::read_text(path, yaml::MAX_SIZE).map_err(|reason| Problem::new("", format!("{text}: {reason}")))?;
            let documents = content.split("\n---").filter(|document| !document.trim().is_empty());
            let documents: Vec<Node> =
                documents.map(|document| yaml::read(document.trim_start_matches("---"), Some(path))).collect::<Result<_, _>>()?;
            let is_list = |node: &Node| matches!(node.value, Value::Sequence(_));
            match <[Node; 1]>::try_from(documents) {
                Ok([list]) if is_list(&list) => Ok(list),
                Ok([one]) => Ok(sequence(name, vec![one])),
                Err(documents) => Ok(sequence(name, documents)),
            }
        }
    }
}

fn sequence(name: &str, items: Vec<Node>) -> Node {
    Node { origin: Origin::Environment(name.into()), value: Value::Sequence(items) }
}

fn member<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let Value::Mapping(entries) = &mut node.value else { return None };
    let index = find(entries, key)?;
    Some(&mut entries[index].1)
}
