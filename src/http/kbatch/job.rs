//! A job of kbatch's as it goes into the cluster: the code that it brings, its variables, and what the site adds.
//!
//! Pure: objects of Kubernetes in, objects out. Whether they may be created is decided behind this, as for every job.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The label and annotation with the user's name.
const USERNAME: &str = "kbatch.jupyter.org/username";
const CODE_SOURCE: &str = "code-source-volume";
const CODE: &str = "code-volume";

/// Where the members of a Job are in the object that is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    CronJob,
}

impl Kind {
    /// The template of the pods.
    fn template<'a>(self, object: &'a mut Value) -> &'a mut Value {
        let spec = self.job_spec(object);
        &mut spec["template"]
    }

    /// The specification of the Job.
    fn job_spec<'a>(self, object: &'a mut Value) -> &'a mut Value {
        match self {
            Self::Job => &mut object["spec"],
            Self::CronJob => &mut object["spec"]["jobTemplate"]["spec"],
        }
    }
}

/// The site's values lie over those of the user; lists are put together.
pub(super) fn merge(user: &mut Value, site: &Value) {
    match (user, site) {
        (Value::Object(user), Value::Object(site)) => {
            for (name, value) in site {
                match user.get_mut(name) {
                    Some(present) => merge(present, value),
                    None => _ = user.insert(name.clone(), value.clone()),
                }
            }
        }
        (Value::Array(user), Value::Array(site)) => user.extend(site.iter().cloned()),
        (user, site) => *user = site.clone(),
    }
}

/// Takes the literal values of all containers' variables out of the object, after adding those of the site to the first container. Returns the
/// values, which go into the Secret of this name.
pub(super) fn move_variables(kind: Kind, object: &mut Value, further: &BTreeMap<String, String>, secret: &str) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let pod = &mut kind.template(object)["spec"];
    if let Some(first) = pod["containers"].as_array_mut().and_then(|containers| containers.first_mut()) {
        let variables = list(first, "env");
        for (name, value) in further {
            variables.retain(|variable| variable["name"] != name.as_str());
            variables.push(json!({"name": name, "value": value}));
        }
    }
    for containers in ["containers", "initContainers"] {
        for (index, container) in pod[containers].as_array_mut().into_iter().flatten().enumerate() {
            for variable in container["env"].as_array_mut().into_iter().flatten() {
                let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) else { continue };
                // Two containers may give one name two values.
                let key = match (containers, index) {
                    ("containers", 0) => name.to_owned(),
                    _ => format!("{containers}.{index}.{name}"),
                };
                values.insert(key.clone(), value.to_owned());
                *variable = json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}});
            }
        }
    }
    values
}

/// Adds the unpacking of the code that lies in the ConfigMap of this name.
pub(super) fn add_code(kind: Kind, object: &mut Value, config_map: &str, image: &str) {
    let pod = &mut kind.template(object)["spec"];
    list(pod, "volumes").extend([
        json!({"name": CODE_SOURCE, "configMap": {"name": config_map, "items": [{"key": "code", "path": "code.b64"}]}}),
        json!({"name": CODE, "emptyDir": {}}),
    ]);
    list(pod, "initContainers").push(json!({
        "name": "unpack-code",
        "image": image,
        "command": ["unzip", "-d", "/code/", "/code-zipped/code.b64"],
        "volumeMounts": [{"name": CODE_SOURCE, "mountPath": "/code-zipped"}, {"name": CODE, "mountPath": "/code"}],
    }));
    if let Some(first) = pod["containers"].as_array_mut().and_then(|containers| containers.first_mut()) {
        list(first, "volumeMounts").push(json!({"name": CODE, "mountPath": "/code"}));
    }
}

/// Marks the object and its pods as the user's, and sets what the site decides.
pub(super) fn claim(kind: Kind, object: &mut Value, username: &str, ttl: u32) {
    kind.job_spec(object)["ttlSecondsAfterFinished"] = json!(ttl);
    mark(&mut object["metadata"], username);
    if kind == Kind::CronJob {
        mark(&mut object["spec"]["jobTemplate"]["metadata"], username);
    }
    mark(&mut kind.template(object)["metadata"], username);
}

fn mark(metadata: &mut Value, username: &str) {
    for (kind, value) in [("labels", label_value(username)), ("annotations", username.to_owned())] {
        if !metadata[kind].is_object() {
            metadata[kind] = Value::Object(Map::new());
        }
        metadata[kind][USERNAME] = value.into();
    }
    // The namespace is that of the user, whatever was sent.
    if let Some(members) = metadata.as_object_mut() {
        members.remove("namespace");
    }
}

/// A user's name as a label can hold it: every byte but small letters and digits by its number.
pub(super) fn label_value(username: &str) -> String {
    let mut value = String::new();
    for byte in username.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => value.push(char::from(byte)),
            _ => value.push_str(&format!("-{byte:02X}")),
        }
    }
    value
}

/// A Job before the controller has seen it counts as active: clients take one without any counter for a mistake.
pub(super) fn count_new_as_active(job: &mut Value) {
    let counted = ["active", "ready", "succeeded", "failed"].iter().any(|name| job["status"][name].as_i64().is_some_and(|count| count > 0));
    if !counted && job["status"]["conditions"].as_array().is_none_or(Vec::is_empty) {
        if !job["status"].is_object() {
            job["status"] = Value::Object(Map::new());
        }
        job["status"]["active"] = json!(1);
    }
}

/// The list of this name, made where it is absent.
fn list<'a>(object: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    if !object[name].is_array() {
        object[name] = Value::Array(Vec::new());
    }
    match &mut object[name] {
        Value::Array(list) => list,
        _ => unreachable!("it was made above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Value {
        json!({
            "metadata": {"generateName": "demo-", "namespace": "kube-system", "labels": {}},
            "spec": {"template": {"metadata": {"name": "demo-pod"}, "spec": {"containers": [
                {"name": "job", "image": "alpine", "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
                {"name": "other", "image": "alpine", "env": [{"name": "A", "value": "2"}]},
            ]}}},
        })
    }

    #[test]
    fn literal_values_of_variables_move_into_the_secret_and_the_sites_are_added() {
        let mut object = job();
        let further = BTreeMap::from([("JUPYTERHUB_API_TOKEN".to_owned(), "t0k".to_owned()), ("A".to_owned(), "site".to_owned())]);
        let values = move_variables(Kind::Job, &mut object, &further, "demo-secret");
        assert_eq!(values["JUPYTERHUB_API_TOKEN"], "t0k");
        assert_eq!((values["A"].as_str(), values["containers.1.A"].as_str()), ("site", "2"));
        let text = object.to_string();
        assert!(!text.contains("t0k") && !text.contains("\"value\""), "{text}");
        let variables = &object["spec"]["template"]["spec"]["containers"][0]["env"];
        assert_eq!(variables[0]["valueFrom"]["fieldRef"]["fieldPath"], "x", "what is no literal stays");
        assert_eq!(variables[1]["valueFrom"]["secretKeyRef"], json!({"name": "demo-secret", "key": "A"}));
    }

    #[test]
    fn code_is_unpacked_before_the_first_container_starts() {
        let mut object = job();
        add_code(Kind::Job, &mut object, "demo-code", "registry/busybox");
        let pod = &object["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"][0]["configMap"]["name"], "demo-code");
        assert_eq!(pod["initContainers"][0]["image"], "registry/busybox");
        assert_eq!(pod["containers"][0]["volumeMounts"], json!([{"name": "code-volume", "mountPath": "/code"}]));
        assert_eq!(pod["containers"][1].get("volumeMounts"), None);
    }

    #[test]
    fn the_users_name_is_on_the_job_and_its_pods_and_the_namespace_is_not_theirs_to_choose() {
        let mut object = json!({"metadata": {}, "spec": {"jobTemplate": job()}});
        claim(Kind::CronJob, &mut object, "alice@example.org", 60);
        let template = &object["spec"]["jobTemplate"];
        for metadata in [&object["metadata"], &template["metadata"], &template["spec"]["template"]["metadata"]] {
            assert_eq!(metadata["labels"][USERNAME], "alice-40example-2Eorg");
            assert_eq!(metadata["annotations"][USERNAME], "alice@example.org");
            assert_eq!(metadata.get("namespace"), None);
        }
        assert_eq!(template["spec"]["ttlSecondsAfterFinished"], 60);
    }

    #[test]
    fn the_sites_template_lies_over_the_users_job_and_lists_are_put_together() {
        let mut user = json!({"spec": {"backoffLimit": 3, "template": {"spec": {"tolerations": [{"key": "a"}]}}}});
        merge(
            &mut user,
            &json!({"metadata": {"labels": {"x": "y"}}, "spec": {"backoffLimit": 0, "template": {"spec": {"tolerations": [{"key": "b"}]}}}}),
        );
        assert_eq!(
            user,
            json!({"metadata": {"labels": {"x": "y"}}, "spec": {"backoffLimit": 0, "template": {"spec": {"tolerations": [{"key": "a"}, {"key": "b"}]}}}})
        );
    }

    #[test]
    fn a_job_that_the_controller_has_not_seen_counts_as_active() {
        for (status, active) in [
            (json!(null), json!(1)),
            (json!({"active": null, "ready": 0}), json!(1)),
            (json!({"active": 2}), json!(2)),
            (json!({"succeeded": 1}), json!(null)),
            (json!({"conditions": [{"type": "Suspended"}]}), json!(null)),
        ] {
            let mut job = json!({"status": status});
            count_new_as_active(&mut job);
            assert_eq!(job["status"]["active"], active, "{status}");
        }
    }
}
