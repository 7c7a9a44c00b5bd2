use super::*;

const SUBMISSIONS: [&str; 2] = [include_str!("../testdata/submit-0.4.2-1.json"), include_str!("../testdata/submit-0.5.0a1-git-1.json")];
/// With a profile of kbatch-proxy, whose tolerations say nothing here.
const FOREIGN_PROFILE: &str = include_str!("../testdata/submit-0.5.0a1-git-2.json");
const SCHEDULES: [&str; 2] = [include_str!("../testdata/submit-0.4.2-2.json"), include_str!("../testdata/submit-0.5.0a1-git-3.json")];

fn written(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap()["job"].take()
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut written = written(SUBMISSIONS[1]);
    change(&mut written);
    written
}

fn pod(job: &mut Value) -> &mut Value {
    &mut job["spec"]["template"]["spec"]
}

fn container(job: &mut Value) -> &mut Value {
    &mut pod(job)["containers"][0]
}

/// The site adds nothing.
fn plain(job: &Value) -> Result<Submission, String> {
    let site = Additions { template: None, variables: &BTreeMap::new(), token: None };
    super::job(job, None, site).map_err(|error| error.to_string())
}

#[test]
fn what_the_clients_send_is_one_program_of_an_image() {
    for text in SUBMISSIONS {
        let (sent, submission) = (written(text), plain(&written(text)).unwrap());
        let container = &sent["spec"]["template"]["spec"]["containers"][0];
        let program = submission.program.unwrap();
        let words = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
        assert_eq!((words(&program.command), words(&program.arguments)), (container["command"].clone(), container["args"].clone()));
        assert_eq!(submission.options.container_image.as_deref(), container["image"].as_str());
        assert_eq!(submission.working_directory, "/code");
        let generated = sent["metadata"]["generate_name"].as_str().unwrap();
        assert_eq!(submission.name.as_deref(), Some(generated.trim_end_matches('-')));
        for variable in container["env"].as_array().into_iter().flatten() {
            assert_eq!(submission.environment[variable["name"].as_str().unwrap()], variable["value"].as_str().unwrap());
        }
        assert_eq!(submission.environment["JUPYTER_IMAGE"], container["image"].as_str().unwrap());
    }
}

#[test]
fn a_schedule_has_its_times_and_its_job() {
    for text in SCHEDULES {
        let mut sent = written(text);
        sent["spec"]["concurrency_policy"] = json!("Forbid");
        let site = Additions { template: None, variables: &BTreeMap::new(), token: None };
        let schedule = schedule(&sent, None, site).unwrap();
        assert_eq!(Some(schedule.cron.as_str()), sent["spec"]["schedule"].as_str());
        assert_eq!((schedule.overlap, schedule.suspended), (Overlap::Skip, false));
        assert_eq!(schedule.job.name, schedule.name);
        assert!(schedule.job.program.is_some());
    }
}

#[test]
fn resources_limits_and_the_partition_become_those_of_a_job() {
    let job = changed(|job| {
        container(job)["resources"] = json!({
            "limits": {"cpu": "1500m", "memory": "1.5Gi", "nvidia.com/gpu": 2}, "requests": {"cpu": 1, "memory": "512Mi"}
        });
        pod(job)["tolerations"] =
            json!([{"key": "goldcrest/partition", "operator": "Equal", "value": "big", "effect": null, "toleration_seconds": null}]);
        job["spec"]["active_deadline_seconds"] = json!(600);
        pod(job)["active_deadline_seconds"] = json!(300);
    });
    let submission = plain(&job).unwrap();
    let options = &submission.options;
    assert_eq!((options.cpus_per_task, options.gpus, options.time_limit), (Some(2), Some(2), Some(300)));
    assert_eq!(options.memory.map(Memory::mebibytes), Some(1536));
    assert_eq!(submission.partition.as_deref(), Some("big"));
}

#[test]
fn what_has_no_meaning_here_is_refused_by_name() {
    let foreign = plain(&written(FOREIGN_PROFILE)).unwrap_err();
    assert!(foreign.starts_with("job.spec.template.spec.tolerations[0].key: cannot be given here: choose a profile"), "{foreign}");
    for (change, expected) in [
        ((|job| pod(job)["host_network"] = json!(true)) as fn(&mut Value), "job.spec.template.spec.host_network: cannot be given here"),
        (|job| pod(job)["volumes"] = json!([{"name": "a", "host_path": {"path": "/"}}]), "job.spec.template.spec.volumes: cannot be"),
        (|job| pod(job)["service_account_name"] = json!("admin"), "job.spec.template.spec.service_account_name: cannot be"),
        (|job| pod(job)["restart_policy"] = json!("Always"), "job.spec.template.spec.restart_policy: can only be \"Never\" here"),
        (|job| pod(job)["containers"] = json!([]), "job.spec.template.spec.containers: a job has one container"),
        (|job| pod(job)["tolerations"] = json!([{"key": "gpu"}]), "job.spec.template.spec.tolerations[0].key: cannot be given here"),
        (|job| job["metadata"]["namespace"] = json!("kube-system"), "job.metadata.namespace: cannot be"),
        (|job| job["metadata"]["labels"] = json!({"a": "b"}), "job.metadata.labels.a: cannot be"),
        (|job| job["metadata"]["owner_references"] = json!([{"name": "a"}]), "job.metadata.owner_references: cannot be"),
        (|job| job["spec"]["backoff_limit"] = json!(6), "job.spec.backoff_limit: can only be 0 here"),
        (|job| job["spec"]["completions"] = json!(5), "job.spec.completions: can only be 1 here"),
        (|job| job["spec"]["active_deadline_seconds"] = json!(-1), "job.spec.active_deadline_seconds: is out of range"),
        (
            |job| container(job)["security_context"] = json!({"privileged": true}),
            "job.spec.template.spec.containers[0].security_context.privileged: cannot be",
        ),
        (
            |job| container(job)["env"] = json!([{"name": "A", "value_from": {"secret_key_ref": {"name": "x", "key": "y"}}}]),
            "job.spec.template.spec.containers[0].env[0].value_from.secret_key_ref.",
        ),
        (
            |job| container(job)["resources"] = json!({"limits": {"example.org/fpga": "1"}}),
            "job.spec.template.spec.containers[0].resources.limits.example.org/fpga: is no resource",
        ),
        (
            |job| container(job)["resources"] = json!({"limits": {"cpu": "0"}}),
            "job.spec.template.spec.containers[0].resources.limits.cpu: is no amount above 0",
        ),
    ] {
        let error = plain(&changed(change)).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_sites_template_and_variables_lie_over_those_of_the_user() {
    let template = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "spec": {"activeDeadlineSeconds": 60, "template": {"spec": {"tolerations": [{"key": "goldcrest/partition", "value": "site"}]}}},
    });
    check_template(&template).unwrap();
    let job = changed(|job| {
        container(job)["env"] = json!([{"name": "A", "value": "user", "value_from": null}, {"name": "B", "value": "b"}]);
        pod(job)["tolerations"] = json!([{"key": "goldcrest/partition", "value": "user"}]);
        job["spec"]["active_deadline_seconds"] = json!(600);
    });
    let (variables, token) = ([("A".to_owned(), "site".to_owned())].into(), Secret::from("t0ken".to_owned()));
    let site = Additions { template: Some(&template), variables: &variables, token: Some(&token) };
    let submission = super::job(&job, None, site).unwrap();
    assert_eq!((submission.partition.as_deref(), submission.options.time_limit), (Some("site"), Some(60)));
    let scheduled = schedule(&written(SCHEDULES[0]), None, site).unwrap().job;
    assert_eq!((scheduled.partition.as_deref(), scheduled.options.time_limit), (Some("site"), Some(60)));
    let environment = &submission.environment;
    assert_eq!(
        (environment["A"].as_str(), environment["B"].as_str(), environment["JUPYTERHUB_API_TOKEN"].as_str()),
        ("site", "b", "t0ken")
    );
}
