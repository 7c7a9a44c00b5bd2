//! The section for kbatch's clients.

use super::*;

/// A site with a Kubernetes system and this section.
fn with_kbatch(section: &str) -> String {
    let kubernetes = "\
\x20 - name: k8s
    scheduler: {type: kubernetes, version: '1.34', kubernetes: {profiles: [{name: small}, {name: gpu}]}}
    service_account: {client_id: a, secret: s}
    probing: {}
";
    format!("{}{kubernetes}compat:\n  kbatch: {section}\n", site())
}

#[test]
fn the_section_names_a_system_of_kubernetes_and_its_profiles() {
    let loaded = read(&with_kbatch("{system: K8s, profiles: {large: {partition: gpu}}, extra_env: {SITE_Name: x, COUNT: 1}}")).unwrap();
    let kbatch = loaded.config.compat.kbatch.unwrap();
    assert_eq!((kbatch.prefix.as_str(), kbatch.system.as_str(), kbatch.enabled), ("/services/kbatch", "k8s", true));
    assert_eq!(kbatch.extra_env, [("COUNT".to_owned(), "1".to_owned()), ("SITE_Name".to_owned(), "x".to_owned())].into());
    assert!(read(&site()).unwrap().config.compat.kbatch.is_none());
    for (section, expected) in [
        ("{}", "compat.kbatch.system: is missing"),
        ("{system: other}", "compat.kbatch.system: is the name of no cluster: `other`"),
        ("{system: daint}", "compat.kbatch.system: is a system without Kubernetes"),
        ("{system: k8s, prefix: kbatch}", "compat.kbatch.prefix: is no path for the routes: kbatch"),
        ("{system: k8s, profiles: {a: {partition: big}}}", "compat.kbatch.profiles.a.partition: is no profile of the system: `big`"),
        (
            "{system: k8s, job_template: {spec: {template: {spec: {hostPID: true}}}}}",
            "compat.kbatch.job_template.spec.template.spec.host_pid",
        ),
    ] {
        let text = mistakes(&with_kbatch(section));
        assert!(text.contains(expected), "{section}: {text}");
    }
    assert!(read(&with_kbatch("{system: other, enabled: false}")).is_ok(), "what is switched off is not checked");
}

#[test]
fn the_variables_of_kbatch_proxy_fill_in_what_the_file_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "profiles.yaml", "large:\n  resources: {limits: {cpu: '2'}}\n");
    write(folder.path(), "template.yaml", "apiVersion: batch/v1\nkind: Job\nspec: {activeDeadlineSeconds: 60}\n");
    let manifest = |name: &str| format!("apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: {name}}}\nspec: {{hard: {{pods: '9'}}}}\n");
    write(folder.path(), "manifests.yaml", &format!("{}---\n{}", manifest("a"), manifest("b")));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (profiles, template, manifests) = (file("profiles.yaml"), file("template.yaml"), file("manifests.yaml"));
    let variables = || {
        env([
            ("KBATCH_PREFIX", "/services/own/"),
            ("KBATCH_PROFILE_FILE", &profiles),
            ("KBATCH_JOB_TEMPLATE_FILE", &template),
            ("KBATCH_JOB_EXTRA_ENV", r#"{"ADDRESS": "https://x", "IMAGE": "{JUPYTER_IMAGE_SPEC}"}"#),
            ("KBATCH_JOB_TTL_SECONDS_AFTER_FINISHED", "90"),
            ("KBATCH_CREATE_USER_NAMESPACE", "false"),
            ("KBATCH_NAMESPACE_MANIFESTS_FILE", &manifests),
        ])
    };
    let loaded = config::from_yaml(&with_kbatch("{system: K8S}"), variables()).unwrap();
    let kbatch = loaded.config.compat.kbatch.unwrap();
    assert_eq!((kbatch.prefix.as_str(), kbatch.profiles["large"].resources.limits["cpu"].as_str()), ("/services/own", "2"));
    assert_eq!(kbatch.extra_env["IMAGE"], "{JUPYTER_IMAGE_SPEC}");
    assert_eq!(kbatch.job_template.unwrap()["spec"]["activeDeadlineSeconds"], 60);
    let goldcrest::scheduler::Config::Kubernetes { kubernetes, .. } = loaded.config.clusters[1].scheduler.as_ref().unwrap() else {
        panic!("it is Kubernetes")
    };
    assert_eq!((kubernetes.finished_job_ttl, kubernetes.create_namespaces, kubernetes.namespace_manifests.len()), (90, false, 2));

    let own = config::from_yaml(&with_kbatch("{system: k8s, prefix: /own, extra_env: {IMAGE: mine}}"), variables()).unwrap();
    let kbatch = own.config.compat.kbatch.unwrap();
    assert_eq!(
        (kbatch.prefix.as_str(), kbatch.extra_env["IMAGE"].as_str(), kbatch.extra_env["ADDRESS"].as_str()),
        ("/own", "mine", "https://x")
    );
    assert!(config::from_yaml(&site(), variables()).unwrap().config.compat.kbatch.is_none(), "without the section they mean nothing");
    let error =
        config::from_yaml(&with_kbatch("{system: k8s}"), env([("KBATCH_PROFILE_FILE", "/none/of/that/name")])).unwrap_err().to_string();
    assert!(error.contains("/none/of/that/name: cannot be read"), "{error}");
}
