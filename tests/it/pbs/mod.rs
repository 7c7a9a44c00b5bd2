//! PBS end to end: real lanes, a real SSH server, and programs on its `PATH` that behave as those of PBS do.

mod answers;
mod api;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use goldcrest::credentials::{Credential, CredentialError, CredentialProvider};
use goldcrest::demo::ssh_server::{Account, Options, RunningServer, Server};
use goldcrest::domain::{
    Job, JobChange, JobDescription, JobId, JobQuery, JobScript, NodeState, Principal, RemotePath, SystemName, TimeWindow, Username,
};
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::pbs::{Config, Pbs};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use goldcrest::ssh::{self, HostKeys, Lanes, Timeouts};
use tokio_util::sync::CancellationToken;

use crate::support::principal;

const PROGRAMS: [&str; 11] = ["qsub", "qstat", "qselect", "qdel", "pbsnodes", "pbs_rstat", "qhold", "qrls", "qrerun", "qsig", "qalter"];

/// A login node with PBS, reached through lanes.
struct Node {
    pbs: Pbs,
    ada: Principal,
    home: PathBuf,
    server: RunningServer,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

struct OneKey(Arc<Credential>);

#[async_trait]
impl CredentialProvider for OneKey {
    async fn credential(&self, _: &Principal) -> Result<Arc<Credential>, CredentialError> {
        Ok(Arc::clone(&self.0))
    }

    fn needs_token(&self) -> bool {
        false
    }
}

impl Node {
    async fn start() -> Self {
        Self::of("ada").await
    }

    /// The login node of a user of this name.
    async fn of(user: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let bin = home.join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(home.join("my work")).unwrap();
        let script = bin.join("pbs.sh");
        std::fs::write(&script, include_str!("pbs.sh")).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for program in PROGRAMS {
            std::os::unix::fs::symlink(&script, bin.join(program)).unwrap();
        }
        let stop = CancellationToken::new();
        let account = Account {
            name: Username::new(user).unwrap(),
            home: home.clone(),
            shell: PathBuf::from("/bin/sh"),
            search_path: format!("{}:/usr/bin:/bin", bin.display()).into(),
        };
        let server = Server::start(Options { port: 0, account, subsystems: HashMap::new(), stop: stop.clone() }).await.unwrap();
        Self { pbs: Pbs::new(lanes(&server), Config::default()), ada: principal(user), home, server, stop, _folder: folder }
    }

    fn mode(&self, mode: &str) {
        std::fs::create_dir_all(self.home.join("pbs")).unwrap();
        std::fs::write(self.home.join("pbs/mode"), mode).unwrap();
    }

    fn description(&self, name: &str, script: &str) -> JobDescription {
        JobDescription {
            name: Some(name.to_owned()),
            ..JobDescription::new(
                RemotePath::from_text(self.home.join("my work").to_str().unwrap()).unwrap(),
                JobScript::Inline(script.to_owned()),
            )
        }
    }

    async fn submit(&self, name: &str, script: &str) -> JobId {
        self.pbs.submit(&self.ada, &self.description(name, script)).await.unwrap().value
    }

    async fn job(&self, id: &JobId) -> Job {
        self.pbs.job(&self.ada, id).await.unwrap().value.remove(0)
    }

    async fn listed(&self, query: JobQuery) -> Vec<(String, String)> {
        let jobs = self.pbs.jobs(&self.ada, &query).await.unwrap();
        jobs.value.into_iter().map(|job| (job.id.to_string(), job.status.state)).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn lanes(server: &RunningServer) -> Arc<Lanes> {
    let config = ssh::Config {
        host: "127.0.0.1".to_owned(),
        port: server.addr.port(),
        proxy_host: None,
        proxy_port: None,
        max_clients: 10,
        max_channels: 8,
        max_connections_per_user: 2,
        max_startups: 8,
        max_output: 1 << 20,
        keep_shells: false,
        host_keys: Some(HostKeys::Pinned(vec![server.host_public_key.clone()])),
        credentials: None,
        timeout: Timeouts { connection: 20, login: 20, command_execution: 20, idle_timeout: 60, keep_alive: 5 },
    };
    let private_key = server.client_private_key.clone();
    let key = OneKey(Arc::new(Credential { private_key, passphrase: None, certificate: None, not_after: None, caller: None }));
    Arc::new(Lanes::new(SystemName::new("test").unwrap(), config, Arc::new(key)).unwrap())
}

fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(id, state)| ((*id).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn a_job_is_held_released_requeued_signalled_and_given_another_limit() {
    let node = Node::start().await;
    let submitted = node.submit("waits", "sleep 600\n").await;
    let signal = JobChange::Signal(goldcrest::domain::Signal::new("USR1").unwrap());
    for change in [JobChange::Hold, JobChange::Release, JobChange::Requeue, signal, JobChange::TimeLimit(3600)] {
        node.pbs.alter(&node.ada, &submitted, change).await.unwrap();
    }
    let changes = std::fs::read_to_string(node.home.join("pbs/0/changes")).unwrap();
    assert_eq!(changes, "qhold\nqrls\nqrerun\nqsig -s SIGUSR1\nqalter -l walltime=1:00:00\n");
    assert!(matches!(node.pbs.alter(&node.ada, &id("77"), JobChange::Hold).await, Err(SchedulerError::JobNotFound)));
    node.pbs.cancel(&node.ada, &submitted).await.unwrap();
    let error = node.pbs.alter(&node.ada, &submitted, JobChange::Hold).await.unwrap_err();
    assert!(matches!(&error, SchedulerError::Rejected(words) if words.contains("Job has finished")), "{error:?}");
}

#[tokio::test]
async fn a_job_is_submitted_listed_described_cancelled_and_stays_in_the_history() {
    let node = Node::start().await;
    let submitted = node.submit("waits", "sleep 600\n").await;
    assert_eq!(submitted, id("0"));
    assert_eq!(node.listed(JobQuery::default()).await, pairs(&[("0", "RUNNING")]));

    let job = node.job(&submitted).await;
    assert_eq!((job.name.as_str(), job.user.as_deref(), job.partition.as_str()), ("waits", Some("ada"), "workq"));
    assert_eq!((job.nodes.as_str(), job.allocation_nodes, job.cluster.as_str()), ("n1,n2", 2, "srv"));
    assert_eq!(job.working_directory, node.home.join("my work").to_str().unwrap());
    assert_eq!((job.times.limit, job.times.end), (Some(3600), None));
    // With the server's name an id means the same job.
    assert_eq!(node.job(&id("0.srv")).await, job);

    let files = node.pbs.metadata(&node.ada, &submitted).await.unwrap().value.remove(0);
    assert_eq!(files.standard_output.as_deref(), node.home.join("my work/waits.o0").to_str());
    assert_eq!((files.script, files.standard_input), (None, None));

    node.pbs.cancel(&node.ada, &submitted).await.unwrap();
    node.pbs.cancel(&node.ada, &submitted).await.unwrap();
    let job = node.job(&submitted).await;
    assert_eq!((job.status.state.as_str(), job.status.exit_code, job.status.signal), ("CANCELLED", Some(271), Some(15)));
    let window = |window| JobQuery { window, ..JobQuery::default() };
    assert_eq!(node.listed(window(TimeWindow::OneHour)).await, pairs(&[("0", "CANCELLED")]));

    // It ended, but longer ago than the window reaches.
    let end = node.home.join("pbs/0/end");
    let told = std::fs::read_to_string(&end).unwrap();
    let old: String = told
        .lines()
        .map(|line| if line.contains("obittime") { "    obittime = Thu Jan  1 10:00:00 2026\n".to_owned() } else { format!("{line}\n") })
        .collect();
    std::fs::write(&end, old).unwrap();
    assert_eq!(node.listed(window(TimeWindow::SevenDays)).await, []);
    assert_eq!(node.job(&submitted).await.times.end, Some(1_767_261_600));
}

#[tokio::test]
async fn a_job_gets_its_variables_runs_in_its_directory_and_leaves_its_exit_status() {
    let node = Node::start().await;
    let value = "1,2\n3 '\"$(id)`\\ -- ü";
    let mut job = node.description("runs", "pwd; printf '%s' \"$GIVEN\"; echo err >&2; exit 3\n");
    job.environment = [("GIVEN".to_owned(), value.to_owned())].into();
    job.standard_output = Some("out".to_owned());
    job.account = Some("proj".to_owned());
    job.constraints = Some("select=1".to_owned());
    let submitted = node.pbs.submit(&node.ada, &job).await.unwrap();
    let ended = node.job(&submitted).await;
    assert_eq!((ended.status.state.as_str(), ended.status.exit_code, ended.account.as_deref()), ("FAILED", Some(3), Some("proj")));
    let work = node.home.join("my work");
    assert_eq!(std::fs::read_to_string(work.join("out")).unwrap(), format!("{}\n{value}", work.display()));
    assert_eq!(std::fs::read_to_string(work.join("runs.e0")).unwrap(), "err\n");
}

#[tokio::test]
async fn a_script_on_the_cluster_is_submitted_by_its_path() {
    let node = Node::start().await;
    let path = node.home.join("my work/-it's.sh");
    std::fs::write(&path, "echo from a file\n").unwrap();
    let script = JobScript::Path(RemotePath::from_text(path.to_str().unwrap()).unwrap());
    let job = JobDescription { script, ..node.description("file", "") };
    let submitted = node.pbs.submit(&node.ada, &job).await.unwrap();
    assert_eq!(node.job(&submitted).await.status.state, "COMPLETED");
    assert_eq!(std::fs::read_to_string(node.home.join("my work/file.o0")).unwrap(), "from a file\n");
}

#[tokio::test]
async fn an_array_is_one_job_in_lists_and_shows_its_subjobs_when_it_is_asked_for() {
    let node = Node::start().await;
    let array = node.submit("array", "#PBS -J 1-2\nsleep 600\n").await;
    assert_eq!(array, id("0[]"));
    assert_eq!(node.listed(JobQuery::default()).await, pairs(&[("0[]", "RUNNING")]));
    let shown = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>();
    assert_eq!(shown(node.pbs.job(&node.ada, &array).await.unwrap().value), ["0[]", "0[1]", "0[2]"]);
    assert_eq!(shown(node.pbs.job(&node.ada, &id("0[1].srv")).await.unwrap().value), ["0[1]"]);

    // More subjobs than an answer may hold: the summary is left.
    node.mode("large");
    assert_eq!(shown(node.pbs.job(&node.ada, &array).await.unwrap().value), ["0[]"]);
    node.mode("");

    node.pbs.cancel(&node.ada, &array).await.unwrap();
    assert_eq!(node.job(&array).await.status.state, "CANCELLED");
}

#[tokio::test]
async fn lists_hold_what_was_asked_for() {
    let node = Node::start().await;
    node.submit("waits", "\n").await;
    let mut of_project = node.description("done", "true\n");
    of_project.account = Some("proj".to_owned());
    node.pbs.submit(&node.ada, &of_project).await.unwrap();
    let attributes = node.home.join("pbs/0/attributes");
    std::fs::write(&attributes, std::fs::read_to_string(&attributes).unwrap().replace("ada@", "eve@")).unwrap();
    assert_eq!(node.listed(JobQuery::default()).await, pairs(&[("1", "COMPLETED")]));
    let all = JobQuery { all_users: true, ..JobQuery::default() };
    assert_eq!(node.listed(all.clone()).await, pairs(&[("0", "RUNNING"), ("1", "COMPLETED")]));
    assert_eq!(node.listed(JobQuery { account: Some("proj".to_owned()), ..all.clone() }).await, pairs(&[("1", "COMPLETED")]));
    assert_eq!(node.listed(JobQuery { name: Some("waits".to_owned()), ..all }).await, pairs(&[("0", "RUNNING")]));

    let error = node.pbs.cancel(&node.ada, &id("0")).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Forbidden, "Unauthorized Request  0"));
}

#[tokio::test]
async fn a_server_without_history_still_shows_what_goes_on() {
    let node = Node::start().await;
    node.submit("waits", "\n").await;
    node.submit("done", "true\n").await;
    node.mode("nohistory");
    assert_eq!(node.listed(JobQuery::default()).await, pairs(&[("0", "RUNNING")]));
    assert_eq!(node.job(&id("0")).await.status.state, "RUNNING");
    let error = node.pbs.job(&node.ada, &id("1")).await.unwrap_err();
    assert_eq!(error.to_string(), "Job not found");
}

#[tokio::test]
async fn a_server_that_is_down_is_never_taken_for_a_job_that_is_gone() {
    let node = Node::start().await;
    let job = node.submit("waits", "\n").await;
    node.mode("down");
    let (pbs, ada) = (&node.pbs, &node.ada);
    let errors = [
        pbs.submit(ada, &node.description("x", "\n")).await.unwrap_err(),
        pbs.jobs(ada, &JobQuery::default()).await.unwrap_err(),
        pbs.job(ada, &job).await.unwrap_err(),
        pbs.job(ada, &id("99")).await.unwrap_err(),
        pbs.metadata(ada, &job).await.unwrap_err(),
        pbs.cancel(ada, &job).await.unwrap_err(),
        pbs.nodes(ada).await.unwrap_err(),
        pbs.partitions(ada, false).await.unwrap_err(),
        pbs.reservations(ada).await.unwrap_err(),
        pbs.ping(ada).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
        assert_eq!((error.kind(), error.maybe_effected()), (Kind::Unavailable, Some(false)));
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told_apart() {
    let node = Node::start().await;
    for unknown in ["99", "99[].srv", "123_4", "R7"] {
        assert_eq!(node.pbs.job(&node.ada, &id(unknown)).await.unwrap_err().to_string(), "Job not found", "{unknown}");
        assert_eq!(node.pbs.cancel(&node.ada, &id(unknown)).await.unwrap_err().to_string(), "Job not found", "{unknown}");
    }
    let refused = async |change: &dyn Fn(&mut JobDescription)| {
        let mut job = node.description("x", "\n");
        change(&mut job);
        let error = node.pbs.submit(&node.ada, &job).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
        error.to_string()
    };
    assert_eq!(refused(&|job| job.partition = Some("nope".to_owned())).await, "Unknown queue");
    assert_eq!(refused(&|job| job.constraints = Some("foo=3".to_owned())).await, "Unknown resource Resource_List.foo=3");
    assert_eq!(
        refused(&|job| job.working_directory = RemotePath::from_text("/no/such").unwrap()).await,
        "the working directory does not exist: /no/such"
    );
    let error = node.pbs.attach(&node.ada, &id("0"), "hostname").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported);
}

#[tokio::test]
async fn nodes_queues_and_reservations_are_told() {
    let node = Node::start().await;
    let nodes = node.pbs.nodes(&node.ada).await.unwrap();
    assert_eq!((nodes[0].cpus, nodes[0].alloc_cpus, nodes[0].free_memory), (4, Some(1), Some(7168)));
    assert_eq!((nodes[0].state.as_slice(), nodes[1].state.as_slice()), (&[NodeState::Mixed][..], &[NodeState::Down][..]));
    let names = |queues: Vec<goldcrest::domain::Partition>| queues.into_iter().map(|queue| queue.name).collect::<Vec<_>>();
    assert_eq!(names(node.pbs.partitions(&node.ada, false).await.unwrap().value), ["workq"]);
    assert_eq!(names(node.pbs.partitions(&node.ada, true).await.unwrap().value), ["workq", "R7"]);
    let reservations = node.pbs.reservations(&node.ada).await.unwrap();
    assert_eq!((reservations[0].name.as_str(), reservations[0].node_list.as_str()), ("R7", "n1,n2"));
    assert_eq!(reservations[0].state.as_deref(), Some("active"));
    node.pbs.ping(&node.ada).await.unwrap();
    assert_eq!(node.pbs.accounts(&node.ada).await.unwrap().value, None);
}

#[tokio::test]
async fn a_transfer_job_works_on_odd_names_and_leaves_its_logs_in_its_directory() {
    use goldcrest::transfer::{Directives, Operation, job};
    let node = Node::start().await;
    let work = RemotePath::from_text(node.home.join("my work").to_str().unwrap()).unwrap();
    let (source, target) = (work.join(b"it's\n#PBS -l x"), work.join(b"moved"));
    std::fs::write(node.home.join("my work/it's\n#PBS -l x"), "content").unwrap();
    let directives = Directives::new(&["#PBS -l walltime=00:15:00".to_owned()], None).unwrap();
    for (operation, succeeds) in
        [(Operation::Move { source: &source, target: &target }, true), (Operation::Remove { path: &source }, false)]
    {
        let job = job(&operation, &directives, &work, uuid::Uuid::new_v4());
        let id = node.pbs.submit(&node.ada, &job).await.unwrap();
        assert_eq!(node.job(&id).await.status.state, if succeeds { "COMPLETED" } else { "FAILED" });
        let log = |name: Option<String>| std::fs::read_to_string(node.home.join("my work").join(name.unwrap())).unwrap();
        assert_eq!(log(job.standard_output).contains("Files were successfully moved."), succeeds);
        assert_eq!(log(job.standard_error).contains("No such file or directory"), !succeeds);
    }
    assert_eq!(std::fs::read_to_string(node.home.join("my work/moved")).unwrap(), "content");
}
