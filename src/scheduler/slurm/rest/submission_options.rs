//! The options of a job as members of slurmrestd's document.

use serde_json::{Map, Value, json};

use super::version::ApiVersion;
use crate::domain::JobOptions;
use crate::scheduler::SchedulerError;
use crate::scheduler::slurm::job_options::{dependency, gpus, mail_types};

/// Adds the members; those that are there already are replaced.
///
/// # Errors
/// [`SchedulerError::Members`] where this version has no such member.
pub(super) fn add(members: &mut Map<String, Value>, options: &JobOptions, version: ApiVersion) -> Result<(), SchedulerError> {
    refuse(options, version)?;
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    set("nodes", options.nodes.map(|count| nodes(&[count], version)));
    set("tasks", options.tasks.map(Value::from));
    set("tasks_per_node", options.tasks_per_node.map(Value::from));
    set("cpus_per_task", options.cpus_per_task.map(Value::from));
    set("memory_per_node", options.memory.map(|memory| memory.mebibytes().into()));
    set("memory_per_cpu", options.memory_per_cpu.map(|memory| memory.mebibytes().into()));
    set("time_limit", options.time_limit.map(|seconds| seconds.div_ceil(60).into()));
    set("qos", options.qos.clone().map(Value::from));
    set("array", options.array.as_ref().map(|array| array.as_str().into()));
    set("dependency", dependency(options)?.map(Value::from));
    set("mail_user", options.mail_user.clone().map(Value::from));
    let events = mail_types(options);
    set("mail_type", (!events.is_empty()).then(|| if version.lists_mail_events() { json!(events) } else { events.join(",").into() }));
    set("licenses", (!options.licenses.is_empty()).then(|| options.licenses.join(",").into()));
    set("hold", options.hold.then_some(Value::Bool(true)));
    if options.gpus.is_some() || options.gpus_per_node.is_some() {
        let tres = |count| {
            let separator = if options.gpu_type.is_some() { ':' } else { '=' };
            Value::from(format!("gres/gpu{separator}{}", gpus(options, count, '=')))
        };
        set("tres_per_job", options.gpus.map(tres));
        set("tres_per_node", options.gpus_per_node.map(tres));
    }
    if options.exclusive {
        set("shared", Some(json!(["none"])));
    }
    set("container", options.container.clone().map(Value::from));
    Ok(())
}

fn refuse(options: &JobOptions, version: ApiVersion) -> Result<(), SchedulerError> {
    const TOO_OLD: &str = "this version of slurmrestd's API does not take it";
    const NO_PLUGINS: &str = "connection_mode is rest, and slurmrestd passes on no options of plugins";
    SchedulerError::refuse_members([
        ("gpus", options.gpus.is_some() && !version.takes_tres(), TOO_OLD),
        ("gpusPerNode", options.gpus_per_node.is_some() && !version.takes_tres(), TOO_OLD),
        ("exclusive", options.exclusive && !version.takes_tres(), TOO_OLD),
        ("container", options.container.is_some() && !version.takes_container(), TOO_OLD),
        ("containerImage", options.container_image.is_some(), NO_PLUGINS),
    ])
}

/// A number of nodes, or the least and the most, in the form of the version. The list of the first versions has always two.
pub(super) fn nodes(numbers: &[u32], version: ApiVersion) -> Value {
    match numbers {
        _ if version.writes_nodes_as_text() => numbers.iter().map(u32::to_string).collect::<Vec<_>>().join("-").into(),
        [number] => json!([number, number]),
        numbers => json!(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ArrayIndices, MailEvent, Memory};

    fn members(options: &JobOptions, version: &str) -> Result<Value, SchedulerError> {
        let mut members = Map::new();
        add(&mut members, options, ApiVersion::parse(version).unwrap()).map(|()| members.into())
    }

    #[test]
    fn each_version_gets_its_form() {
        let options = JobOptions {
            nodes: Some(2),
            tasks: Some(4),
            memory: Memory::new("1G").ok(),
            time_limit: Some(61),
            array: ArrayIndices::new("0-3%1").ok(),
            mail_events: vec![MailEvent::Begin, MailEvent::End],
            hold: true,
            ..JobOptions::default()
        };
        let same = json!({"tasks": 4, "memory_per_node": 1024, "time_limit": 2, "array": "0-3%1", "hold": true});
        let with = |more: Value| {
            let mut all = same.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(members(&options, "0.0.38").unwrap(), with(json!({"nodes": [2, 2], "mail_type": "BEGIN,END"})));
        assert_eq!(members(&options, "0.0.42").unwrap(), with(json!({"nodes": "2", "mail_type": ["BEGIN", "END"]})));
        assert_eq!(members(&JobOptions::default(), "0.0.42").unwrap(), json!({}));
    }

    #[test]
    fn gpus_are_counted_with_their_type_and_refused_where_the_version_does_not_take_them() {
        let gpus = JobOptions { gpus: Some(2), ..JobOptions::default() };
        let typed = JobOptions { gpus: None, gpus_per_node: Some(1), gpu_type: Some("a100".to_owned()), ..JobOptions::default() };
        assert_eq!(members(&gpus, "0.0.42").unwrap(), json!({"tres_per_job": "gres/gpu=2"}));
        assert_eq!(members(&typed, "0.0.42").unwrap(), json!({"tres_per_node": "gres/gpu:a100=1"}));
        let exclusive = JobOptions { exclusive: true, ..JobOptions::default() };
        let image = JobOptions { container_image: Some("x".to_owned()), ..JobOptions::default() };
        for (options, version) in [(&gpus, "0.0.38"), (&exclusive, "0.0.38"), (&image, "0.0.42")] {
            assert!(matches!(members(options, version), Err(SchedulerError::Members(_))), "{options:?}");
        }
    }
}
