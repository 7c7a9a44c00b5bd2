//! The values of a request: which are refused, and that the others reach the job as they were given.

use super::*;
use crate::support::was_run_as_nobody;

#[tokio::test]
async fn a_job_is_validated_by_what_its_submission_checks() {
    for host in Host::each(&Config { queue_limit: 1, ..config() }) {
        let at = |directory: &str| JobDescription {
            working_directory: RemotePath::from_text(host.shell.home().join(directory).to_str().unwrap()).unwrap(),
            ..host.description("#!/bin/sh\nsleep 974\n")
        };
        std::fs::write(host.shell.home().join("file"), "").unwrap();
        let kept = JobDescription { environment: BTreeMap::from([("PPID".to_owned(), "1".to_owned())]), ..at("work") };
        let refused_by_both = async |job: &JobDescription| {
            let validated = host.scheduler.validate(&host.ada, job).await.map(drop);
            let submitted = host.scheduler.submit(&host.ada, job).await.map(drop);
            match (validated, submitted) {
                (Err(validated), Err(submitted)) => assert_eq!(validated.to_string(), submitted.to_string()),
                (Ok(()), Ok(())) => return false,
                outcomes => panic!("{:?}: {outcomes:?}", job.working_directory),
            }
            true
        };
        assert!(refused_by_both(&at("none")).await && refused_by_both(&at("file")).await);
        assert_eq!(host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap().value.len(), 0);
        // Whether this shell lets the variable go or not.
        if !refused_by_both(&kept).await {
            let id = JobId::new("1").unwrap();
            host.scheduler.cancel(&host.ada, &id).await.unwrap();
            host.wait_for_state(&id, "CANCELLED").await;
            wait_for(LONG, || host.shell.processes().is_empty()).await;
        }
        for (file, words) in [
            ("none/out", "a directory that does not exist"),
            ("../file/out", "a directory that does not exist"),
            ("/proc/none/%j", "a directory that does not exist"),
            (".", "cannot be written there: ."),
        ] {
            let output = JobDescription { standard_output: Some(file.to_owned()), ..at("work") };
            let error = JobDescription { standard_error: Some(file.to_owned()), ..at("work") };
            let directive = JobDescription { script: JobScript::Inline(format!("#!/bin/sh\n#SBATCH -o {file}\n")), ..at("work") };
            for job in [output, error, directive] {
                assert!(refused_by_both(&job).await, "{file}");
                let refusal = host.scheduler.validate(&host.ada, &job).await.unwrap_err();
                assert!(refusal.kind() == Kind::Invalid && refusal.to_string().contains(words), "{file}: {refusal}");
            }
        }
        for file in ["/dev/null", "../file", "out-%j", "%j/out", "%x/../out"] {
            let job = JobDescription { standard_output: Some(file.to_owned()), name: Some("..".to_owned()), ..at("work") };
            host.scheduler.validate(&host.ada, &job).await.unwrap();
        }
        host.scheduler.validate(&host.ada, &at("work")).await.unwrap();
        let id = host.submit("#!/bin/sh\nsleep 973\n").await;
        let full = host.scheduler.validate(&host.ada, &at("work")).await.unwrap_err();
        let words = "the queue is full: your pending and running jobs have reached the limit of 1 for one user (scheduler.local.queue_limit): wait until one ends, or cancel one";
        assert_eq!((full.kind(), full.to_string().as_str()), (Kind::TooManyRequests, words));
        host.scheduler.cancel(&host.ada, &id).await.unwrap();
        host.wait_for_state(&id, "CANCELLED").await;
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_job_whose_output_may_not_be_written_is_refused_by_validation_and_submission() {
    if was_run_as_nobody() {
        return;
    }
    for host in Host::each(&config()) {
        for file in ["/job-%j", "/new", "/etc/passwd"] {
            let job = JobDescription { standard_output: Some(file.to_owned()), ..host.description("#!/bin/sh\n") };
            let refused = [
                host.scheduler.validate(&host.ada, &job).await.map(drop).unwrap_err(),
                host.scheduler.submit(&host.ada, &job).await.map(drop).unwrap_err(),
            ];
            for error in refused {
                let expected = format!("the output of the job cannot be written there: {file}");
                assert!(error.kind() == Kind::Invalid && error.to_string().contains(&expected), "{file}: {error}");
            }
        }
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn hostile_values_reach_the_job_unchanged_and_forge_nothing() {
    let values = ["a b'c\"d$(id)`id`\\", "line\njob 99 name=x\nend\n", "\u{EFFF}\u{EF81}grün", "$HOME;%j%%", "", "-n"];
    for host in Host::each(&config()) {
        let mut job = host.description("#!/bin/sh\nfor n in 0 1 2 3 4 5; do eval \"printf '%s\\0' \\\"\\$V$n\\\"\"; done; printf '%s' \"$GOLDCREST_JOB_NAME\" >name; printf %s \"$root$id\" >ours\n");
        for (index, value) in values.iter().enumerate() {
            job.environment.insert(format!("V{index}"), (*value).to_owned());
        }
        for name in ["root", "id", "IFS", "PATH", "ENV", "cookie", "runner_cookie"] {
            job.environment.insert(name.to_owned(), "x".to_owned());
        }
        job.name = Some(values[1].to_owned());
        let work = host.shell.home().join("work/it's a $(dir)\nwith a newline");
        std::fs::create_dir(&work).unwrap();
        job.working_directory = RemotePath::from_text(work.to_str().unwrap()).unwrap();
        job.standard_output = Some("out\n$(x) '%j'".to_owned());
        let id = host.scheduler.submit(&host.ada, &job).await.unwrap();
        let done = host.wait_for_state(&id, "COMPLETED").await;
        assert_eq!(done.name, values[1]);
        assert_eq!(done.working_directory, work.to_str().unwrap());
        let jobs = host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap();
        assert_eq!(jobs.len(), 1, "a name forged a job");
        let expected: Vec<u8> = values.iter().flat_map(|value| goldcrest::domain::text_to_bytes(value).into_iter().chain([0])).collect();
        assert_eq!(std::fs::read(work.join("out\n$(x) '1'")).unwrap(), expected);
        assert_eq!(std::fs::read_to_string(work.join("name")).unwrap(), values[1]);
        assert_eq!(std::fs::read_to_string(work.join("ours")).unwrap(), "xx");
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn what_cannot_be_honoured_is_refused_with_a_reason() {
    for host in Host::each(&Config { queue_limit: 1, default_time_limit: 90, max_time_limit: 60, ..config() }) {
        let refused = async |change: fn(&mut JobDescription), words: &str| {
            let mut job = host.description("#!/bin/sh\n");
            change(&mut job);
            let error = host.scheduler.submit(&host.ada, &job).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
        };
        refused(|job| job.working_directory = RemotePath::from_text("/no/such/dir").unwrap(), "/no/such/dir").await;
        refused(|job| job.working_directory = RemotePath::from_text("/etc/passwd").unwrap(), "is not a directory: /etc/passwd").await;
        refused(|job| job.partition = Some("gpu".to_owned()), "partition").await;
        refused(|job| job.script = JobScript::Inline("#!/bin/sh\n#SBATCH -a 1-3\n".to_owned()), "arrays").await;
        refused(|job| job.script = JobScript::Inline("#!/bin/sh\n#SBATCH -t 2\n".to_owned()), "60 s").await;
        refused(|job| job.script = JobScript::Inline("#!/bin/sh\n\0".to_owned()), "NUL").await;
        refused(|job| job.script = JobScript::Inline("#!/bin/sh\r\ntrue\r\n".to_owned()), "DOS line breaks").await;
        refused(|job| drop(job.environment.insert("A;id".to_owned(), String::new())), "A;id").await;
        // The longest limit is that of a job that names none.
        let id = host.submit("#!/bin/sh\nsleep 983\n").await;
        let full = host.scheduler.submit(&host.ada, &host.description("#!/bin/sh\n")).await.unwrap_err();
        assert_eq!((full.kind(), full.maybe_effected()), (Kind::TooManyRequests, Some(false)), "{full}");
        host.scheduler.cancel(&host.ada, &id).await.unwrap();
        host.wait_for_state(&id, "CANCELLED").await;
        for unknown in ["77", "1_2", "x"] {
            let unknown = JobId::new(unknown).unwrap();
            assert!(matches!(host.scheduler.job(&host.ada, &unknown).await, Err(SchedulerError::JobNotFound)));
            assert!(matches!(host.scheduler.cancel(&host.ada, &unknown).await, Err(SchedulerError::JobNotFound)));
            assert!(matches!(host.scheduler.metadata(&host.ada, &unknown).await, Err(SchedulerError::JobNotFound)));
            assert!(matches!(host.scheduler.attach(&host.ada, &unknown, "true").await, Err(SchedulerError::JobNotFound)));
        }
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_variable_reaches_the_job_as_it_was_given_or_is_refused_by_name() {
    for host in Host::each(&config()) {
        let script = "#!/bin/sh\n/usr/bin/tr '\\0' '\\n' </proc/self/environ\n";
        for name in [
            "UID",
            "EUID",
            "PPID",
            "SHELLOPTS",
            "BASHOPTS",
            "RANDOM",
            "SECONDS",
            "LINENO",
            "GROUPS",
            "FUNCNAME",
            "OPTIND",
            "PS4",
            "LD_LIBRARY_PATH",
        ] {
            let mut job = host.description(script);
            job.environment.insert(name.to_owned(), "1000".to_owned());
            job.standard_output = Some(format!("{name}.out"));
            match host.scheduler.submit(&host.ada, &job).await {
                Ok(id) => {
                    host.wait_for_state(&id, "COMPLETED").await;
                    let output = host.read(&format!("{name}.out"));
                    // The job's own shell sets some anew.
                    let own = ["PPID", "OPTIND", "PS4"].contains(&name);
                    assert!(own || output.lines().any(|line| line == format!("{name}=1000")), "{name}: {output}");
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
                    assert!(error.to_string().ends_with(&format!(": {name}")), "{error}");
                }
            }
        }
        host.nothing_is_left().await;
    }
}

/// Whether this is in the arguments of any process of this machine now. Those of other users are seen too, as `ps` sees them.
fn is_an_argument(secret: &str) -> bool {
    let holds = |bytes: Vec<u8>| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok()).any(holds)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_the_environment_is_an_argument_of_any_process() {
    for host in Host::each(&config()) {
        let secret = format!("secret-{}", uuid::Uuid::new_v4());
        let pattern = host.shell.home().join("pattern");
        std::fs::write(&pattern, &secret).unwrap();
        let mut job = host.description(&format!(
            "#!/bin/sh\n[ \"$TOKEN\" = '' ] && exit 3\n/bin/grep -a -l -s -f {} /proc/[0-9]*/cmdline\nexit 0\n",
            pattern.display()
        ));
        job.environment = BTreeMap::from(["TOKEN", "LD_LIBRARY_PATH"].map(|name| (name.to_owned(), secret.clone())));
        // Looked at all the time from the submission to the end of the job, and by the job itself.
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let watch = std::thread::spawn({
            let (stop, secret) = (Arc::clone(&stop), secret.clone());
            move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    if is_an_argument(&secret) {
                        return true;
                    }
                }
                false
            }
        });
        let id = host.scheduler.submit(&host.ada, &job).await.unwrap().value;
        let ended = host.wait_for_state(&id, "COMPLETED").await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(!watch.join().unwrap(), "a value was seen among the arguments");
        assert_eq!((ended.status.exit_code, host.read(&format!("job-{id}.out"))), (Some(0), String::new()));
        host.nothing_is_left().await;
    }
}
