//! The local scheduler end to end: real shells, real processes, real files, with each kind of `sh` that is installed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod faults;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use goldcrest::domain::{Job, JobChange, JobDescription, JobId, JobOptions, JobQuery, JobScript, NodeState, Principal, RemotePath};
use goldcrest::error::{Classify, Kind};
use goldcrest::scheduler::local::{Config, Local};
use goldcrest::scheduler::{Scheduler, SchedulerError};
use rustix::process::{Pid, Signal, kill_process};

use crate::files::full::SmallDisk;
use crate::support::local_shell::LocalShell;
use crate::support::{principal, skip, wait_for};

const SHELLS: [&str; 3] = ["dash", "busybox", "bash"];
const LONG: Duration = Duration::from_secs(150);

struct Host {
    shell: Arc<LocalShell>,
    scheduler: Local,
    ada: Principal,
}

impl Host {
    fn with(shell: &str, config: Config) -> Option<Self> {
        let shell = LocalShell::new(shell)?;
        std::fs::create_dir(shell.home().join("work")).unwrap();
        Some(Self { scheduler: Local::new(shell.clone(), config), shell, ada: principal("ada") })
    }

    /// One host for each shell that is installed.
    fn each(config: &Config) -> Vec<Self> {
        let hosts: Vec<Self> = SHELLS.iter().filter_map(|shell| Self::with(shell, config.clone())).collect();
        assert!(!hosts.is_empty(), "none of {SHELLS:?} is installed");
        hosts
    }

    fn description(&self, script: &str) -> JobDescription {
        JobDescription::new(
            RemotePath::from_text(self.shell.home().join("work").to_str().unwrap()).unwrap(),
            JobScript::Inline(script.to_owned()),
        )
    }

    async fn submit(&self, script: &str) -> JobId {
        self.scheduler.submit(&self.ada, &self.description(script)).await.unwrap().value
    }

    async fn job(&self, id: &JobId) -> Job {
        self.scheduler.job(&self.ada, id).await.unwrap().value.remove(0)
    }

    async fn wait_for_state(&self, id: &JobId, state: &str) -> Job {
        let started = Instant::now();
        loop {
            let job = self.job(id).await;
            if job.status.state == state {
                return job;
            }
            assert!(started.elapsed() < LONG, "job {id} is {:?} and not {state}", job.status);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.shell.home().join("work").join(file)).unwrap_or_default()
    }

    async fn nothing_is_left(self) {
        wait_for(LONG, || self.shell.processes().is_empty()).await;
        let queue = std::fs::read_dir(self.shell.state().join("queue")).unwrap().count();
        assert_eq!(queue, 0, "entries are left in the queue");
    }
}

fn config() -> Config {
    Config { slots: 4, kill_wait: 2, ..Config::default() }
}

fn pid(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

fn lives(pid: Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

#[tokio::test]
async fn a_job_runs_completes_and_leaves_its_output_and_metadata() {
    for host in Host::each(&config()) {
        let script = "#!/bin/sh\necho out $GOLDCREST_JOB_ID; echo err >&2; pwd; sleep 1\n";
        let id = host.submit(script).await;
        assert_eq!(id.as_str(), "1");
        let running = host.wait_for_state(&id, "RUNNING").await;
        assert!(running.times.start.is_some() && running.times.end.is_none());
        let job = host.wait_for_state(&id, "COMPLETED").await;
        assert_eq!((job.status.exit_code, job.status.signal), (Some(0), None));
        assert_eq!((job.name.as_str(), job.user.as_deref(), job.partition.as_str()), ("job", Some("ada"), "local"));
        assert!(job.times.elapsed.unwrap() >= 1 && job.times.end >= job.times.start);
        let work = host.shell.home().join("work");
        assert_eq!(job.working_directory, work.to_str().unwrap());
        assert_eq!(host.read("job-1.out"), format!("out 1\nerr\n{}\n", work.display()));
        let metadata = host.scheduler.metadata(&host.ada, &id).await.unwrap().value.remove(0);
        assert_eq!(metadata.script.as_deref(), Some(script));
        assert_eq!(metadata.standard_output.unwrap(), work.join("job-1.out").to_str().unwrap());
        assert_eq!(metadata.standard_input.as_deref(), Some("/dev/null"));
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn exit_codes_and_signals_are_told() {
    for host in Host::each(&config()) {
        let failing = host.submit("#!/bin/sh\nexit 7\n").await;
        let killed = host.submit("#!/bin/sh\nkill -KILL $$\n").await;
        let like_a_signal = host.submit("#!/bin/sh\nexit 143\n").await;
        let no_interpreter = host.submit("#!/no/such/interpreter\n").await;
        let no_shebang = host.submit("exit 3\n").await;
        let job = host.wait_for_state(&failing, "FAILED").await;
        assert_eq!((job.status.exit_code, job.status.reason.as_deref()), (Some(7), Some("NonZeroExitCode")));
        assert_eq!(host.wait_for_state(&killed, "FAILED").await.status.signal, Some(9));
        // Whether `wait` told of the job's end or of a signal to the runner is asked a second time.
        assert_eq!(host.wait_for_state(&like_a_signal, "FAILED").await.status.exit_code, Some(143));
        assert!(matches!(host.wait_for_state(&no_interpreter, "FAILED").await.status.exit_code, Some(126 | 127)));
        assert_eq!(host.wait_for_state(&no_shebang, "FAILED").await.status.exit_code, Some(3));
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn input_output_and_error_go_where_they_are_asked_to() {
    for host in Host::each(&config()) {
        std::fs::write(host.shell.home().join("work/in put"), "hello").unwrap();
        let mut job = host.description("#!/bin/sh\n#SBATCH --job-name=directive --output=ignored\ncat; echo oops >&2\n");
        job.standard_input = Some("in put".to_owned());
        job.standard_output = Some("%x-%j-100%%.out".to_owned());
        job.standard_error = Some(host.shell.home().join("absolute'err").to_str().unwrap().to_owned());
        let id = host.scheduler.submit(&host.ada, &job).await.unwrap();
        assert_eq!(host.wait_for_state(&id, "COMPLETED").await.name, "directive");
        assert_eq!(host.read("directive-1-100%.out"), "hello");
        assert_eq!(host.read("../absolute'err"), "oops\n");

        for (target, reason) in [("/no/such/file", "StandardInput"), ("", "StandardOutput")] {
            let mut job = host.description("#!/bin/sh\n");
            if target.is_empty() {
                job.standard_output = Some("no-%j/such-directory".to_owned());
            } else {
                job.standard_input = Some(target.to_owned());
            }
            let id = host.scheduler.submit(&host.ada, &job).await.unwrap();
            assert_eq!(host.wait_for_state(&id, "FAILED").await.status.reason.as_deref(), Some(reason));
        }
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn cancelling_a_running_job_kills_its_children_wherever_they_hide() {
    for host in Host::each(&config()) {
        let id = host
            .submit("#!/bin/sh\ntrap '' TERM\nsleep 987 & echo $! >plain\nsetsid sleep 988 & echo $! >session\necho $$ >leader\nwait; wait; sleep 989\n")
            .await;
        wait_for(LONG, || host.read("leader").ends_with('\n')).await;
        host.wait_for_state(&id, "RUNNING").await;
        let pids = ["plain", "session", "leader"].map(|file| pid(&host.read(file)));
        assert!(pids.into_iter().all(lives));
        host.scheduler.cancel(&host.ada, &id).await.unwrap();
        let job = host.wait_for_state(&id, "CANCELLED").await;
        assert_eq!(job.kill_request_user.as_deref(), Some("ada"));
        assert_eq!(pids.map(lives), [false; 3], "a child outlived the job: {} {pids:?}", host.shell.home().display());
        host.scheduler.cancel(&host.ada, &id).await.unwrap();
        assert_eq!(host.job(&id).await.status.state, "CANCELLED");
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_right_after_its_submission_does_not_run_on() {
    for host in Host::each(&config()) {
        for _ in 0..5 {
            let id = host.submit("#!/bin/sh\nexec sleep 986\n").await;
            host.scheduler.cancel(&host.ada, &id).await.unwrap();
            host.wait_for_state(&id, "CANCELLED").await;
        }
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn children_that_a_job_leaves_behind_end_with_it() {
    for host in Host::each(&config()) {
        let id = host.submit("#!/bin/sh\nsleep 985 & echo $! >child\n").await;
        host.wait_for_state(&id, "COMPLETED").await;
        assert!(!lives(pid(&host.read("child"))));
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_signal_reaches_the_script_and_what_it_started() {
    for host in Host::each(&config()) {
        let script = "#!/bin/sh\ntrap 'echo shell >>seen' USR1\n(trap 'echo child >>seen; exit' USR1; : >ready; while :; do sleep 1; done) &\nwait\nwait\n";
        let id = host.submit(script).await;
        wait_for(LONG, || host.shell.home().join("work/ready").exists()).await;
        let signal = JobChange::Signal(goldcrest::domain::Signal::new("USR1").unwrap());
        host.scheduler.alter(&host.ada, &id, signal).await.unwrap();
        wait_for(LONG, || host.read("seen").contains("shell") && host.read("seen").contains("child")).await;
        host.wait_for_state(&id, "COMPLETED").await;
        let error = host.scheduler.alter(&host.ada, &id, signal).await.unwrap_err();
        assert!(matches!(&error, SchedulerError::Rejected(words) if words == "the job is not running"), "{error:?}");
        let held = host.scheduler.alter(&host.ada, &id, JobChange::Hold).await.unwrap_err();
        assert_eq!(held.kind(), Kind::Unsupported);
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn the_time_limit_of_the_request_comes_before_that_of_the_script_and_what_one_host_lacks_is_refused() {
    for host in Host::each(&config()) {
        let script = "#!/bin/sh\n#SBATCH --time=99:00\nsleep 983\n";
        let options = JobOptions { time_limit: Some(2), nodes: Some(1), ..JobOptions::default() };
        let job = JobDescription { options, ..host.description(script) };
        let id = host.scheduler.submit(&host.ada, &job).await.unwrap().value;
        assert_eq!(host.wait_for_state(&id, "TIMEOUT").await.times.limit, Some(2));
        let options = JobOptions { qos: Some("x".to_owned()), hold: true, ..JobOptions::default() };
        let refused = JobDescription { options, ..host.description("#!/bin/sh\n") };
        let error = host.scheduler.validate(&host.ada, &refused).await.unwrap_err();
        let SchedulerError::Members(refused) = error else { panic!("{error:?}") };
        assert_eq!(refused.iter().map(|member| member.name).collect::<Vec<_>>(), ["qos", "hold"]);
        host.scheduler.validate(&host.ada, &host.description("#!/bin/sh\n")).await.unwrap();
        assert_eq!(host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap().value.len(), 1);
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn the_time_limit_ends_a_job() {
    for host in Host::each(&config()) {
        let id = host.submit("#!/bin/sh\n#SBATCH --time=0:02\nsleep 984\n").await;
        let running = host.wait_for_state(&id, "RUNNING").await;
        assert_eq!(running.times.limit, Some(2));
        assert_eq!(running.times.expected_end, running.times.start.map(|start| start + 2));
        let job = host.wait_for_state(&id, "TIMEOUT").await;
        assert_eq!(job.status.reason.as_deref(), Some("TimeLimit"));
        assert!((2..60).contains(&job.times.elapsed.unwrap()), "{:?}", job.times);
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn more_jobs_than_slots_wait_and_run_in_order() {
    for host in Host::each(&Config { slots: 2, ..config() }) {
        let gate = "#!/bin/sh\necho $GOLDCREST_JOB_ID >>order\nuntil [ -e go ]; do sleep 1; done\n";
        let mut ids = Vec::new();
        for _ in 0..6 {
            ids.push(host.submit(gate).await);
        }
        for id in &ids[..2] {
            host.wait_for_state(id, "RUNNING").await;
        }
        let cancelled = ids.remove(3);
        host.scheduler.cancel(&host.ada, &cancelled).await.unwrap();
        host.wait_for_state(&cancelled, "CANCELLED").await;
        for id in &ids[2..] {
            assert_eq!(host.job(id).await.status.state, "PENDING");
        }
        let node = host.scheduler.nodes(&host.ada).await.unwrap().value.remove(0);
        assert_eq!(node.state, [NodeState::Allocated]);
        assert!(node.cpus > 0 && node.free_memory.unwrap() > 0);
        std::fs::write(host.shell.home().join("work/go"), "").unwrap();
        for id in &ids {
            host.wait_for_state(id, "COMPLETED").await;
        }
        let order: Vec<u32> = host.read("order").lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(order.len(), 5, "{order:?}");
        // Two start at once: neighbours may swap, no more.
        for (place, id) in [1, 2, 3, 5, 6].into_iter().enumerate() {
            assert!(order.iter().position(|found| *found == id).unwrap().abs_diff(place) <= 1, "{order:?}");
        }
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_script_on_the_host_is_run_as_it_was_at_submission() {
    for host in Host::each(&config()) {
        let path = host.shell.home().join("it's a script");
        std::fs::write(&path, "#!/bin/sh\n#SBATCH -J listed\necho first\n").unwrap();
        let mut job = host.description("");
        job.script = JobScript::Path(RemotePath::from_text(path.to_str().unwrap()).unwrap());
        let id = host.scheduler.submit(&host.ada, &job).await.unwrap();
        std::fs::write(&path, "#!/bin/sh\necho second\n").unwrap();
        assert_eq!(host.wait_for_state(&id, "COMPLETED").await.name, "listed");
        assert_eq!(host.read("job-1.out"), "first\n");
        job.script = JobScript::Path(RemotePath::from_text("/no/such/script").unwrap());
        let error = host.scheduler.submit(&host.ada, &job).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("/no/such/script: No such file or directory"), "{error}");
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn another_proxy_sees_and_cancels_the_same_jobs() {
    for host in Host::each(&config()) {
        let id = host.submit("#!/bin/sh\nsleep 982\n").await;
        host.wait_for_state(&id, "RUNNING").await;
        let restarted = Local::new(host.shell.clone(), config());
        let before = host.shell.execs();
        let jobs = restarted.jobs(&host.ada, &JobQuery::default()).await.unwrap();
        assert_eq!(host.shell.execs() - before, 1, "a list is one command");
        assert_eq!((jobs[0].id.clone(), jobs[0].status.state.as_str()), (id.clone(), "RUNNING"));
        restarted.cancel(&host.ada, &id).await.unwrap();
        host.wait_for_state(&id, "CANCELLED").await;
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn fifty_submissions_at_once_run_once_each() {
    for host in Host::each(&Config { slots: 3, ..config() }) {
        let script = "#!/bin/sh\nmkdir running.$GOLDCREST_JOB_ID; set -- running.*; echo $# >>width; echo $GOLDCREST_JOB_ID >>ran; rmdir running.$GOLDCREST_JOB_ID\n";
        let mut ids: Vec<u32> =
            join_all((0..50).map(|_| host.submit(script))).await.iter().map(|id| id.as_str().parse().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (1..=50).collect::<Vec<_>>());
        for id in &ids {
            host.wait_for_state(&JobId::new(&id.to_string()).unwrap(), "COMPLETED").await;
        }
        let mut ran: Vec<u32> = host.read("ran").lines().map(|line| line.parse().unwrap()).collect();
        ran.sort_unstable();
        assert_eq!(ran, ids);
        assert!(host.read("width").lines().all(|width| width.parse::<u32>().unwrap() <= 3), "more jobs than slots ran");
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn an_attached_command_sees_the_job_and_its_output_comes_back() {
    for host in Host::each(&config()) {
        let mut job = host.description("#!/bin/sh\nsleep 978\n");
        job.environment.insert("COLOUR".to_owned(), "blue".to_owned());
        let id = host.scheduler.submit(&host.ada, &job).await.unwrap();
        host.wait_for_state(&id, "RUNNING").await;
        let output =
            host.scheduler.attach(&host.ada, &id, "pwd; echo $COLOUR $GOLDCREST_JOB_ID; echo no >&2; exit 65").await.unwrap().value;
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\nblue 1\n", host.shell.home().join("work").display()));
        assert_eq!((output.stderr, output.exit), (b"no\n".to_vec(), 65));
        host.scheduler.cancel(&host.ada, &id).await.unwrap();
        host.wait_for_state(&id, "CANCELLED").await;
        let error = host.scheduler.attach(&host.ada, &id, "true").await.unwrap_err();
        assert_eq!(error.to_string(), "the job is not running");
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_thousand_finished_jobs_are_listed_quickly_and_old_ones_are_removed() {
    for host in Host::each(&config()) {
        let id = host.submit("#!/bin/sh\n").await;
        host.wait_for_state(&id, "COMPLETED").await;
        let jobs = host.shell.state().join("jobs");
        let status = std::fs::read_to_string(jobs.join("1/status")).unwrap();
        for id in 2..=1001 {
            std::fs::create_dir(jobs.join(id.to_string())).unwrap();
            std::fs::write(jobs.join(format!("{id}/status")), status.replacen("job 1 ", &format!("job {id} "), 1)).unwrap();
        }
        let started = Instant::now();
        assert_eq!(host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap().len(), 1001);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert!(std::process::Command::new("touch").args(["-d", "9 days ago"]).arg(jobs.join("5")).status().unwrap().success());
        assert_eq!(host.submit("#!/bin/sh\n").await.as_str(), "1002");
        wait_for(LONG, || !jobs.join("5").exists()).await;
        assert!(jobs.join("6").exists());
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_job_that_was_cancelled_before_it_started_has_no_start() {
    for host in Host::each(&Config { slots: 1, ..config() }) {
        let running = host.submit("#!/bin/sh\nsleep 975\n").await;
        host.wait_for_state(&running, "RUNNING").await;
        let waiting = host.submit("#!/bin/sh\n").await;
        assert_eq!((host.job(&waiting).await.times.start, host.job(&waiting).await.times.end), (None, None));
        host.scheduler.cancel(&host.ada, &waiting).await.unwrap();
        assert_eq!(host.wait_for_state(&waiting, "CANCELLED").await.times.start, None);
        host.scheduler.cancel(&host.ada, &running).await.unwrap();
        host.wait_for_state(&running, "CANCELLED").await;
        host.nothing_is_left().await;
    }
}
