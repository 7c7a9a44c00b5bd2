//! The objects of Kubernetes as kbatch's clients write and read them: the dictionaries of the Python client, with names in snake_case and a null
//! for every member that is absent.
//!
//! `models.txt` has a line for each model: its members, each with its form. `s`, `i`, `b` and `t` are text, a whole number, true or false, and a
//! time; `m` is a map of texts, `q` one of amounts, `o` any value, `-` a member that is never passed on; `[x]` is a list of such, and anything
//! else another model.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::dictionary::Unusable;

static MODELS: LazyLock<BTreeMap<&'static str, Vec<Member>>> = LazyLock::new(|| {
    let model = |line: &'static str| {
        let mut words = line.split_ascii_whitespace();
        Some((words.next()?, words.filter_map(Member::read).collect()))
    };
    include_str!("models.txt").lines().filter_map(model).collect()
});

/// Names of members that are not what their parts in a row would be.
const OTHER_NAMES: [(&str, &str); 18] = [
    ("_continue", "continue"),
    ("_exec", "exec"),
    ("container_id", "containerID"),
    ("dataset_uuid", "datasetUUID"),
    ("disk_uri", "diskURI"),
    ("downward_api", "downwardAPI"),
    ("host_ip", "hostIP"),
    ("host_ipc", "hostIPC"),
    ("host_pid", "hostPID"),
    ("image_id", "imageID"),
    ("pd_id", "pdID"),
    ("pod_ip", "podIP"),
    ("resource_id", "resourceID"),
    ("scale_io", "scaleIO"),
    ("set_hostname_as_fqdn", "setHostnameAsFQDN"),
    ("storage_policy_id", "storagePolicyID"),
    ("target_ww_ns", "targetWWNs"),
    ("volume_id", "volumeID"),
];

/// A member of a model.
struct Member {
    /// In dictionaries.
    name: &'static str,
    /// In Kubernetes.
    wire: String,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Number,
    Bool,
    Time,
    Map,
    Amounts,
    Any,
    Never,
    Model(&'static str),
    List(&'static str),
}

impl Member {
    fn read(word: &'static str) -> Option<Self> {
        let (name, form) = word.split_once(':')?;
        Some(Self { name, wire: camel_case(name), form: Form::read(form) })
    }
}

impl Form {
    fn read(text: &'static str) -> Self {
        match text {
            "s" => Self::Text,
            "i" => Self::Number,
            "b" => Self::Bool,
            "t" => Self::Time,
            "m" => Self::Map,
            "q" => Self::Amounts,
            "o" => Self::Any,
            "-" => Self::Never,
            _ => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                Some(element) => Self::List(element),
                None => Self::Model(text),
            },
        }
    }
}

fn camel_case(name: &str) -> String {
    if let Some((_, other)) = OTHER_NAMES.iter().find(|(known, _)| *known == name) {
        return (*other).to_owned();
    }
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// The same dictionary without the members that have no value, whether they are known or not: newer clients have more of them. The names may
/// also be those of Kubernetes, as in files for `kubectl apply`. The client calls it `path`.
///
/// # Errors
/// If a member has a value and is not known, or has a value of another form.
pub(super) fn without_nulls(model: &str, dictionary: &Value, path: &str) -> Result<Value, Unusable> {
    let Value::Object(entries) = dictionary else { return Err(Unusable::new(path, "must be a dictionary")) };
    let Some(members) = MODELS.get(model) else { return Err(Unusable::new(path, "has an unknown object kind")) };
    let mut kept = Map::new();
    for (name, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
        let Some(member) = members.iter().find(|member| member.name == name || member.wire == *name) else {
            return Err(Unusable::new(format!("{path}.{name}"), "is not known"));
        };
        if let Some(value) = read(member.form, value, &format!("{path}.{}", member.name))? {
            kept.insert(member.name.to_owned(), value);
        }
    }
    Ok(Value::Object(kept))
}

fn read(form: Form, value: &Value, path: &str) -> Result<Option<Value>, Unusable> {
    let plain = |is_usable: bool, reason: &'static str| if is_usable { Ok(Some(value.clone())) } else { Err(Unusable::new(path, reason)) };
    let values = |is_usable: fn(&Value) -> bool| value.as_object().map(|entries| entries.values().all(is_usable));
    match form {
        Form::Text | Form::Time => plain(value.is_string(), "must be a string"),
        Form::Number => plain(value.is_i64(), "must be a whole number"),
        Form::Bool => plain(value.is_boolean(), "must be true or false"),
        Form::Any => Ok(Some(value.clone())),
        Form::Never => Ok(None),
        Form::Map => match values(Value::is_string) {
            Some(are_texts) => plain(are_texts, "must have only strings as values"),
            None => plain(false, "must be a dictionary"),
        },
        Form::Amounts => match values(|value| value.is_string() || value.is_number()) {
            Some(are_amounts) => plain(are_amounts, "must have only strings or numbers as values"),
            None => plain(false, "must be a dictionary"),
        },
        Form::Model(model) => without_nulls(model, value, path).map(Some),
        Form::List(element) => {
            let Value::Array(elements) = value else { return Err(Unusable::new(path, "must be a list")) };
            let read_one = |(index, value)| read(Form::read(element), value, &format!("{path}[{index}]"));
            let elements: Result<Vec<_>, _> = elements.iter().enumerate().map(read_one).collect();
            Ok(Some(elements?.into_iter().flatten().collect()))
        }
    }
}

/// The dictionary of an object, with all members of its model.
pub(super) fn to_dictionary(model: &str, object: &Value) -> Value {
    let members = MODELS.get(model).map(Vec::as_slice).unwrap_or_default();
    let written = |member: &Member| {
        let value = object.get(&member.wire).map_or(Value::Null, |value| written(member.form, value));
        (member.name.to_owned(), value)
    };
    members.iter().map(written).collect()
}

fn written(form: Form, value: &Value) -> Value {
    match (form, value) {
        (Form::Never, _) | (_, Value::Null) => Value::Null,
        (Form::Time, Value::String(time)) => Value::String(offset_time(time)),
        (Form::Model(model), value) => to_dictionary(model, value),
        (Form::List(element), Value::Array(elements)) => elements.iter().map(|value| written(Form::read(element), value)).collect(),
        (_, value) => value.clone(),
    }
}

/// A time as Python writes it: clients on Python before 3.11 do not read `Z`.
fn offset_time(time: &str) -> String {
    time.strip_suffix('Z').map_or_else(|| time.to_owned(), |rest| format!("{rest}+00:00"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SUBMISSIONS: [(&str, &str); 5] = [
        ("V1Job", include_str!("testdata/submit-0.4.2-1.json")),
        ("V1CronJob", include_str!("testdata/submit-0.4.2-2.json")),
        ("V1Job", include_str!("testdata/submit-0.5.0a1-git-1.json")),
        ("V1Job", include_str!("testdata/submit-0.5.0a1-git-2.json")),
        ("V1CronJob", include_str!("testdata/submit-0.5.0a1-git-3.json")),
    ];
    const ANSWERS: [(&str, &str); 5] = [
        ("V1Job", include_str!("testdata/job_pending.json")),
        ("V1Job", include_str!("testdata/job_succeeded.json")),
        ("V1JobList", include_str!("testdata/jobs_list_running.json")),
        ("V1PodList", include_str!("testdata/pods_list_running.json")),
        ("V1CronJobList", include_str!("testdata/cronjobs_list.json")),
    ];

    fn read(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// Whether all that `expected` has is in `made`, which may have more nulls.
    fn assert_has(made: &Value, expected: &Value, path: &str) {
        match (made, expected) {
            (Value::Object(made), Value::Object(expected)) => {
                for (name, value) in expected {
                    let found = made.get(name).unwrap_or_else(|| panic!("{path}.{name} is missing"));
                    assert_has(found, value, &format!("{path}.{name}"));
                }
                for (name, value) in made {
                    assert!(expected.contains_key(name) || value.is_null(), "{path}.{name} is too much");
                }
            }
            (Value::Array(made), Value::Array(expected)) => {
                assert_eq!(made.len(), expected.len(), "{path}");
                made.iter()
                    .zip(expected)
                    .enumerate()
                    .for_each(|(index, (made, expected))| assert_has(made, expected, &format!("{path}[{index}]")));
            }
            (made, expected) => assert_eq!(made, expected, "{path}"),
        }
    }

    /// What Kubernetes has for a dictionary.
    fn object(model: &str, dictionary: &Value) -> Value {
        let of_form = |form: Form, value: &Value| match (form, value) {
            (Form::Model(model), value) => object(model, value),
            (Form::List(element), Value::Array(elements)) => match Form::read(element) {
                Form::Model(model) => elements.iter().map(|element| object(model, element)).collect(),
                _ => value.clone(),
            },
            (_, value) => value.clone(),
        };
        let members = MODELS[model].iter().filter(|member| !dictionary[member.name].is_null());
        members.map(|member| (member.wire.clone(), of_form(member.form, &dictionary[member.name]))).collect()
    }

    #[test]
    fn what_clients_submit_is_read_without_what_newer_clients_leave_empty() {
        for (model, text) in SUBMISSIONS {
            let kept = without_nulls(model, &read(text)["job"], "job").unwrap();
            assert!(!kept.to_string().contains("null"), "{kept}");
            let spec = if model == "V1Job" { &kept["spec"] } else { &kept["spec"]["job_template"]["spec"] };
            let container = &spec["template"]["spec"]["containers"][0];
            assert_eq!((&container["name"], &container["working_dir"]), (&json!("job"), &json!("/code")));
            assert_eq!((&spec["backoff_limit"], &spec["ttl_seconds_after_finished"]), (&json!(0), &json!(300)));
            assert_eq!(without_nulls(model, &object(model, &kept), "job").unwrap(), kept, "names of Kubernetes are read too");
        }
    }

    #[test]
    fn answers_are_the_dictionaries_of_the_python_client() {
        for (model, text) in ANSWERS {
            let expected = read(text);
            assert_has(&to_dictionary(model, &object(model, &expected)), &expected, "");
        }
    }

    #[test]
    fn times_have_an_offset_and_keys_of_maps_stay() {
        let job = json!({
            "metadata": {"creationTimestamp": "2026-11-21T03:27:06Z", "labels": {"jobName_x": "a"}, "managedFields": [{"manager": "x"}]},
            "status": {"startTime": "2026-11-21T03:27:06.000001Z", "conditions": [{"type": "Complete", "lastTransitionTime": "2026-11-21T03:28:00Z"}]},
        });
        let made = to_dictionary("V1Job", &job);
        assert_eq!(made["metadata"]["creation_timestamp"], "2026-11-21T03:27:06+00:00");
        assert_eq!(made["status"]["start_time"], "2026-11-21T03:27:06.000001+00:00");
        assert_eq!(made["status"]["conditions"][0]["last_transition_time"], "2026-11-21T03:28:00+00:00");
        assert_eq!(made["metadata"]["labels"], json!({"jobName_x": "a"}));
        assert_eq!((&made["metadata"]["managed_fields"], &made["spec"]), (&Value::Null, &Value::Null));
        assert_eq!(made["status"].as_object().unwrap().len(), 11);
    }

    #[test]
    fn a_member_with_a_value_that_is_not_known_or_does_not_fit_is_named() {
        let job = |change: fn(&mut Value)| {
            let mut job = read(SUBMISSIONS[0].1)["job"].clone();
            change(&mut job);
            without_nulls("V1Job", &job, "job").unwrap_err().to_string()
        };
        for (message, expected) in [
            (job(|job| job["spec"]["scheduling"] = json!({"a": 1})), "job.spec.scheduling: is not known"),
            (job(|job| job["spec"]["backoff_limit"] = json!("0")), "job.spec.backoff_limit: must be a whole number"),
            (job(|job| job["metadata"]["labels"] = json!({"a": 1})), "job.metadata.labels: must have only strings as values"),
            (job(|job| job["spec"]["template"]["spec"]["containers"] = json!({})), "job.spec.template.spec.containers: must be a list"),
            (
                job(|job| job["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "values": "1"}])),
                "job.spec.template.spec.containers[0].env[0].values: is not known",
            ),
            (job(|job| *job = json!([])), "job: must be a dictionary"),
        ] {
            assert_eq!(message, expected);
        }
    }
}
