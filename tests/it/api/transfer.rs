//! `/filesystem/{system_name}/transfer`: submissions and answers, early refusals, and whole jobs of the local
//! scheduler.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use goldcrest::cluster::{self, Capabilities, Cluster};
use goldcrest::domain::{ClusterHealth, RemotePath, ServiceType};
use goldcrest::filesystem::{self, Settings};
use goldcrest::scheduler::SchedulerError;
use goldcrest::scheduler::local::{Config, Local};
use goldcrest::transfer::s3::ObjectStore;
use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::doubles::{Reply, Script, ScriptedFiles, ScriptedScheduler, Step};
use super::{Answer, Api, cluster_config, whole};
use crate::support::local_shell::LocalShell;
use crate::support::scripted::ScriptedTransport;

/// `daint` set up in another way, with a scheduler that does just this.
fn set_up(scheduler: Vec<Step>, change: impl FnOnce(&mut cluster::Config)) -> Api {
    let mut config = cluster_config();
    change(&mut config);
    let (_, health) = watch::channel(ClusterHealth::default());
    let scheduler = Arc::new(ScriptedScheduler(Script::new("scheduler", scheduler)));
    let files = Arc::new(ScriptedFiles(Script::new("file system", [])));
    Api::over(Cluster::new(config, whole(Arc::new(ScriptedTransport::new([])), scheduler, files), health))
}

fn wanting_an_account(config: &mut cluster::Config) {
    config.data_operation.datatransfer_jobs_directives = vec!["#SBATCH --account={account}".to_owned()];
}

pub(super) async fn ask(api: &Api, operation: &str, body: Value) -> Answer {
    api.call(Method::POST, &format!("/filesystem/daint/transfer/{operation}"), Some(body)).await
}

/// The answer with the ids in the names of logs, which differ each time, left out.
pub(super) fn without_ids(answer: &Answer) -> String {
    const ID: usize = "01234567-89ab-4def-8123-456789abcdef".len();
    let mut text = answer.to_string();
    for name in [".f7t_file_handling_job_error_", ".f7t_file_handling_job_"] {
        let mut from = 0;
        while let Some(found) = text[from..].find(name) {
            let id = from + found + name.len();
            if text[id..].get(..ID).is_some_and(|id| !id.contains('_')) {
                text.replace_range(id..id + ID, "ID");
            }
            from = id;
        }
    }
    text
}

#[tokio::test]
async fn a_job_that_moves_is_answered_with_every_member_of_the_contract() {
    let call = r#"alice: submit JobDescription { name: Some("MoveFiles"), account: None, reservation: None, partition: None, working_directory: "/home/alice", standard_input: None, standard_output: Some(".f7t_file_handling_job_..."#;
    let api = Api::new(vec![(call, Reply::Id("42"))], vec![]);
    let answer = ask(&api, "mv", json!({"sourcePath": "/home/alice/a", "targetPath": "/scratch/b", "account": "project"})).await;
    assert_snapshot!(without_ids(&answer));
}

#[tokio::test]
async fn every_operation_is_submitted_once_under_its_name() {
    for (operation, name, body) in [
        ("cp", "CopyFiles", json!({"source_path": "/home/a", "target_path": "/home/b", "dereference": "true"})),
        ("compress", "CompressFiles", json!({"path": "/home/a", "targetPath": "/home/b", "match_pattern": ".*", "compression": "xz"})),
        ("extract", "ExtractFiles", json!({"sourcePath": "/home/a", "targetPath": "/home/b", "compression": "none", "account": null})),
    ] {
        let call: &'static str = format!(r#"alice: submit JobDescription {{ name: Some("{name}"),..."#).leak();
        let answer = ask(&Api::new(vec![(call, Reply::Id("42"))], vec![]), operation, body).await;
        assert_eq!((answer.status, &answer.json()["transferJob"]["jobId"]), (201, &json!("42")), "{}", answer.everything());
    }
    let call = r#"alice: submit JobDescription { name: Some("DeleteFiles"),..."#;
    let api = Api::new(vec![(call, Reply::Id("42"))], vec![]);
    let answer = api.call(Method::DELETE, "/filesystem/daint/transfer/rm?path=/home/alice/a&account=project", None).await;
    assert_eq!((answer.status, &answer.json()["transferJob"]["jobId"]), (200, &json!("42")), "{}", answer.everything());
}

#[tokio::test]
async fn a_submission_of_unknown_fate_is_told_as_such() {
    let failure = SchedulerError::Unanswered("the answer was cut off".to_owned());
    let api = Api::new(vec![("alice: submit ...", Reply::SchedulerFails(failure))], vec![]);
    let answer = ask(&api, "mv", json!({"sourcePath": "/home/a", "targetPath": "/home/b"})).await;
    assert_eq!((answer.status, &answer.json()["maybeEffected"]), (503, &json!(true)), "{}", answer.everything());
}

#[tokio::test]
async fn nothing_is_submitted_for_a_path_that_breaks_the_policy() {
    let api = Api::new(vec![], vec![]);
    for (operation, source, target) in [
        ("mv", "/home/a", "/etc/b"),
        ("mv", "/etc/a", "/home/b"),
        ("mv", "/home/../etc/a", "/home/b"),
        ("mv", "a", "/home/b"),
        ("cp", "/homes/a", "/home/b"),
        ("cp", "/home/a", "/home/../b"),
        ("compress", "/", "/home/b"),
        ("compress", "/home/a", "b"),
        ("extract", "/etc/a", "/home/b"),
        ("extract", "/home/a", "/home/\0"),
        // Onto itself, or into itself.
        ("cp", "/home/alice/a", "/home/alice"),
        ("cp", "/home/alice/a", "/home/alice//a"),
        ("cp", "/home/alice/a", "/home/alice/a/b"),
        ("mv", "/home/alice/a", "/home/alice"),
        ("mv", "/home/alice/a", "/home/alice/a/b"),
        // It would take a file system with it.
        ("mv", "/home", "/scratch/b"),
    ] {
        let answer = ask(&api, operation, json!({"sourcePath": source, "targetPath": target})).await;
        assert_eq!(answer.status, 400, "{operation} {source} {target}: {}", answer.everything());
    }
    for path in ["/etc/a", "/home", "/home/..", "a"] {
        let answer = api.call(Method::DELETE, &format!("/filesystem/daint/transfer/rm?path={path}"), None).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.everything());
    }
}

#[tokio::test]
async fn a_pattern_that_cannot_be_one_and_an_unknown_compression_are_refused() {
    let api = Api::new(vec![], vec![]);
    for (body, field) in [
        (json!({"sourcePath": "/home/a", "targetPath": "/home/b", "matchPattern": "a\nb"}), "matchPattern"),
        (json!({"sourcePath": "/home/a", "targetPath": "/home/b", "compression": "zip"}), "compression"),
        (json!({"sourcePath": "/home/a"}), "targetPath"),
        (json!({"targetPath": "/home/a"}), "sourcePath"),
    ] {
        let answer = ask(&api, "compress", body).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(field)), "{}", answer.everything());
    }
}

#[tokio::test]
async fn an_account_is_wanted_where_a_directive_names_it() {
    let call = r#"alice: submit JobDescription { name: Some("MoveFiles"), account: None,..."#;
    let api = set_up(vec![(call, Reply::Id("7"))], wanting_an_account);
    let body = |account: Value| json!({"sourcePath": "/home/a", "targetPath": "/home/b", "account": account});
    for account in [Value::Null, json!("")] {
        let answer = ask(&api, "mv", body(account)).await;
        assert_eq!(answer.status, 400);
        assert!(answer.json()["message"].as_str().unwrap().contains("Account parameter is required on this system."), "{answer}");
    }
    for account in ["a b", "a\n#SBATCH --uid=0", "--uid=0"] {
        let answer = ask(&api, "mv", body(json!(account))).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!("account")), "{}", answer.everything());
    }
    let answer = api.call(Method::DELETE, "/filesystem/daint/transfer/rm?path=/home/a", None).await;
    assert_eq!(answer.status, 400);
    assert_eq!(ask(&api, "mv", body(json!("project"))).await.status, 201);
}

#[tokio::test]
async fn a_scheduler_or_file_system_that_is_unhealthy_is_not_asked() {
    for (service, path) in [(ServiceType::Scheduler, None), (ServiceType::Filesystem, Some("/home"))] {
        let answer = ask(&Api::unhealthy(service, path), "mv", json!({"sourcePath": "/scratch/a", "targetPath": "/scratch/b"})).await;
        assert_eq!(answer.status, 503, "{}", answer.everything());
    }
}

#[tokio::test]
async fn a_system_without_a_place_for_jobs_answers_501_and_says_so_in_its_status() {
    let api = set_up(vec![], |config| config.file_systems.iter_mut().for_each(|file_system| file_system.default_work_dir = false));
    let answer = ask(&api, "mv", json!({"sourcePath": "/home/a", "targetPath": "/home/b"})).await;
    assert_eq!(answer.status, 501, "{}", answer.everything());
    let expected = ["mv", "cp", "rm", "compress", "extract", "upload", "download"].map(
        |operation| json!({"operations": format!("/filesystem/{{system_name}}/transfer/{operation}"), "reason": answer.json()["message"]}),
    );
    let status = api.get("/status/systems").await.json();
    let unsupported = status["systems"][0]["unsupported"].as_array().unwrap();
    let of_files = unsupported.iter().filter(|entry| entry["operations"].as_str().unwrap().starts_with("/filesystem"));
    assert!(of_files.eq(expected.iter()), "{unsupported:?}");
}

#[tokio::test]
async fn jobs_run_where_the_configuration_says() {
    let call = r#"alice: submit JobDescription { name: Some("MoveFiles"), account: None, reservation: None, partition: None, working_directory: "/scratch/jobs/alice/x",..."#;
    let api = set_up(vec![(call, Reply::Id("7"))], |config| {
        config.data_operation.datatransfer_jobs_directory = Some("/scratch/jobs/{username}/x".to_owned());
    });
    let answer = ask(&api, "mv", json!({"sourcePath": "/home/a", "targetPath": "/home/b"})).await;
    assert_eq!(answer.json()["transferJob"]["workingDirectory"], "/scratch/jobs/alice/x");
}

#[tokio::test]
async fn a_user_name_of_dots_leads_nowhere_else() {
    for token in ["token-of-.", "token-of-.."] {
        let api = Api::new(vec![], vec![]);
        let body = json!({"sourcePath": "/home/a", "targetPath": "/home/b"});
        let answer = api.send(super::request(Method::POST, "/filesystem/daint/transfer/mv", Some(token), Some(body))).await;
        assert_eq!(answer.status, 401, "{}", answer.everything());
    }
}

#[tokio::test]
async fn a_place_for_jobs_outside_the_file_systems_is_refused() {
    let api = set_up(vec![], |config| {
        config.data_operation.datatransfer_jobs_directory = Some("/elsewhere/{username}".to_owned());
    });
    let answer = ask(&api, "mv", json!({"sourcePath": "/home/a", "targetPath": "/home/b"})).await;
    assert_eq!(answer.status, 400, "{}", answer.everything());
}

/// A machine with the local scheduler, behind the whole API: its file system is `work` in the home directory.
pub(super) struct Machine {
    pub(super) shell: Arc<LocalShell>,
    pub(super) api: Api,
}

impl Machine {
    fn new() -> Self {
        Self::set_up(|_| {}, None)
    }

    /// A machine that is configured further, with an object store.
    pub(super) fn set_up(change: impl FnOnce(&mut cluster::Config), store: Option<ObjectStore>) -> Self {
        let shell = LocalShell::new("dash").or_else(|| LocalShell::new("bash")).unwrap();
        std::fs::create_dir_all(shell.home().join("work/alice")).unwrap();
        let mut config = cluster_config();
        config.file_systems.truncate(1);
        config.file_systems[0].path = RemotePath::from_text(shell.home().join("work").to_str().unwrap()).unwrap();
        config.data_operation.datatransfer_jobs_directives = vec!["#SBATCH --time=5".to_owned()];
        change(&mut config);
        let scheduler = Local::new(shell.clone(), Config { slots: 4, ..Config::default() });
        let files = filesystem::ClusterFiles::open(shell.clone(), filesystem::FileAccess::Exec, Settings::default());
        let (_, health) = watch::channel(ClusterHealth::default());
        let capabilities = Capabilities { objects: store.map(Arc::new), ..whole(shell.clone(), Arc::new(scheduler), files) };
        Self { shell, api: Api::over(Cluster::new(config, capabilities, health)) }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.shell.home().join("work/alice").join(name)
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// Waits for the job of an answer to end, and gives its state with both its logs, read through the API where the answer says.
    pub(super) async fn end(&self, answer: &Answer) -> (String, String, String) {
        assert!([200, 201].contains(&answer.status), "{}", answer.everything());
        let job = &answer.json()["transferJob"];
        assert_eq!(
            (&job["system"], &job["workingDirectory"]),
            (&json!("daint"), &json!(self.at("").to_str().unwrap().trim_end_matches('/')))
        );
        let uri = format!("/compute/daint/jobs/{}", job["jobId"].as_str().unwrap());
        let mut state = String::new();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !["COMPLETED", "FAILED"].contains(&&*state) {
            assert!(std::time::Instant::now() < deadline, "the job is {state}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            state = self.api.get(&uri).await.json()["jobs"][0]["status"]["state"].as_str().unwrap().to_owned();
        }
        let mut logs = Vec::new();
        for log in ["outputLog", "errorLog"] {
            let view = self.api.get(&format!("/filesystem/daint/ops/view?path={}", job["logs"][log].as_str().unwrap())).await;
            assert_eq!(view.status, 200, "{}", view.everything());
            logs.push(view.json()["output"].as_str().unwrap().to_owned());
        }
        let error = logs.pop().unwrap();
        (state, logs.pop().unwrap(), error)
    }

    async fn done(&self, operation: &str, body: Value) {
        let (state, output, error) = self.end(&ask(&self.api, operation, body).await).await;
        assert_eq!((&*state, &*error), ("COMPLETED", ""), "{output}");
        assert!(output.contains("Files were successfully"), "{output}");
    }
}

#[tokio::test]
async fn files_are_copied_moved_packed_unpacked_and_removed_by_jobs() {
    let machine = Machine::new();
    let odd = "it's \"odd\"\n$(id) \u{efff}";
    let tree = machine.at("").join(std::ffi::OsStr::new("tree"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), "content").unwrap();
    symlink("file", tree.join("link")).unwrap();
    let odd_path = goldcrest::domain::text_to_bytes(&machine.text(odd));
    let odd_path = PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(odd_path));

    machine.done("cp", json!({"sourcePath": machine.text("tree"), "targetPath": machine.text(odd)})).await;
    assert!(tree.join("file").exists() && odd_path.join("link").is_symlink());
    machine.done("cp", json!({"sourcePath": machine.text("tree"), "targetPath": machine.text("followed"), "dereference": true})).await;
    assert!(!machine.at("followed/link").is_symlink() && machine.at("followed/link").is_file());

    machine.done("mv", json!({"sourcePath": machine.text(odd), "targetPath": machine.text("moved")})).await;
    assert!(!odd_path.exists() && machine.at("moved/file").exists());

    for compression in ["none", "gzip", "bzip2", "xz"] {
        let (archive, out) = (machine.text(&format!("{compression}.archive")), format!("out-{compression}"));
        let pack = json!({"sourcePath": machine.text("moved"), "targetPath": archive, "compression": compression});
        machine.done("compress", pack).await;
        std::fs::create_dir(machine.at(&out)).unwrap();
        let unpack = json!({"sourcePath": archive, "targetPath": machine.text(&out), "compression": compression});
        machine.done("extract", unpack).await;
        assert_eq!(std::fs::read_to_string(machine.at(&out).join("moved/link")).unwrap(), "content");
    }

    let removed = machine.api.call(Method::DELETE, &format!("/filesystem/daint/transfer/rm?path={}", machine.text("moved")), None).await;
    assert_eq!(machine.end(&removed).await.0, "COMPLETED");
    assert!(!machine.at("moved").exists());
}

#[tokio::test]
async fn a_job_that_fails_says_why_in_its_error_log() {
    let machine = Machine::new();
    let answer = ask(&machine.api, "mv", json!({"sourcePath": machine.text("missing"), "targetPath": machine.text("b")})).await;
    let (state, output, error) = machine.end(&answer).await;
    assert_eq!(state, "FAILED");
    assert!(error.contains("No such file or directory") && error.contains("exit status:1"), "{error}");
    assert!(!output.contains("successfully"), "{output}");
}
