//! What is cut off, killed, lost, removed or full.

use super::*;

#[tokio::test]
async fn a_job_whose_runner_was_killed_is_not_running_and_does_not_run_on() {
    for host in Host::each(&Config { slots: 1, ..config() }) {
        let id = host.submit("#!/bin/sh\necho $$ >leader; setsid sleep 981 & sleep 980\n").await;
        let next = host.submit("#!/bin/sh\n").await;
        wait_for(LONG, || host.read("leader").ends_with('\n')).await;
        let entry = std::fs::read_to_string(host.shell.state().join("queue/1")).unwrap();
        kill_process(pid(entry.split(' ').nth(1).unwrap()), Signal::KILL).unwrap();
        let job = host.wait_for_state(&id, "NODE_FAIL").await;
        assert_eq!(job.status.reason.as_deref(), Some("RunnerLost"));
        assert!(job.times.start.is_some() && job.times.end.is_some());
        wait_for(LONG, || !lives(pid(&host.read("leader")))).await;
        host.wait_for_state(&next, "COMPLETED").await;
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_job_of_before_a_reboot_is_lost_and_its_slot_is_free() {
    for host in Host::each(&Config { slots: 1, ..config() }) {
        let id = host.submit("#!/bin/sh\n").await;
        host.wait_for_state(&id, "COMPLETED").await;
        wait_for(LONG, || host.shell.processes().is_empty()).await;
        let state = host.shell.state();
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
        let fixed = "job 1 name=a directory=/ user=ada submitted=1 state=RUNNING reason=None start=5 host=h\n";
        std::fs::write(state.join("jobs/1/status"), fixed).unwrap();
        // Process 1 lives, but it is not the one that this boot id and start time name.
        for entry in ["queue/1", "queue/slot-1"] {
            std::fs::write(state.join(entry), format!("1 1 4 an-earlier-boot {hostname}\n")).unwrap();
        }
        let jobs = host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap();
        assert_eq!((jobs[0].status.state.as_str(), jobs[0].times.start), ("NODE_FAIL", Some(5)));
        let next = host.submit("#!/bin/sh\n").await;
        host.wait_for_state(&next, "COMPLETED").await;
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn a_submission_returns_at_once_and_one_that_was_cut_off_submits_nothing() {
    for host in Host::each(&config()) {
        let started = Instant::now();
        let id = host.submit("#!/bin/sh\nsleep 979\n").await;
        assert!(started.elapsed() < Duration::from_secs(5), "the submission held the channel");
        for bytes in [3, 100, 5_000, 12_000, 20_000] {
            host.shell.cut_input_after(bytes);
            host.scheduler.submit(&host.ada, &host.description("#!/bin/sh\n")).await.unwrap_err();
        }
        host.shell.cut_input_after(usize::MAX);
        assert_eq!(host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap().len(), 1);
        host.scheduler.cancel(&host.ada, &id).await.unwrap();
        host.wait_for_state(&id, "CANCELLED").await;
        host.nothing_is_left().await;
    }
}

#[tokio::test]
async fn runners_whose_records_are_removed_end_with_their_jobs() {
    for host in Host::each(&Config { slots: 1, kill_wait: 1, ..config() }) {
        let running = host.submit("#!/bin/sh\nsleep 977\n").await;
        host.submit("#!/bin/sh\nsleep 976\n").await;
        host.wait_for_state(&running, "RUNNING").await;
        // A runner may write a file just then.
        wait_for(Duration::from_secs(10), || std::fs::remove_dir_all(host.shell.state()).is_ok()).await;
        wait_for(Duration::from_secs(60), || host.shell.processes().is_empty()).await;
    }
}

#[tokio::test]
async fn a_job_that_ends_while_the_file_system_is_full_is_not_running_any_more() {
    // At once, since a host takes the time after which a runner writes again.
    join_all(Host::each(&Config { slots: 2, ..config() }).into_iter().map(ends_on_a_full_file_system)).await;
}

async fn ends_on_a_full_file_system(host: Host) {
    let Some(disk) = SmallDisk::mount(host.shell.home().join(".local")) else {
        return skip("only root can mount a file system");
    };
    let ended = host.submit("#!/bin/sh\nuntil [ -e go ]; do sleep 0.1; done; exit 3\n").await;
    let cancelled = host.submit("#!/bin/sh\nexec sleep 600\n").await;
    for id in [&ended, &cancelled] {
        host.wait_for_state(id, "RUNNING").await;
    }
    disk.fill();
    std::fs::write(host.shell.home().join("work/go"), "").unwrap();
    let started = Instant::now();
    let job = host.wait_for_state(&ended, "FAILED").await;
    assert_eq!((job.status.exit_code, job.status.reason.as_deref()), (Some(3), Some("NonZeroExitCode")));
    assert!(job.times.start.is_some() && job.times.end.is_some());
    host.scheduler.cancel(&host.ada, &cancelled).await.unwrap();
    host.wait_for_state(&cancelled, "CANCELLED").await;
    assert!(started.elapsed() < Duration::from_secs(30), "it was recorded only after {:?}", started.elapsed());
    disk.empty();
    // Where even what is there cannot be written over, the end is not known, and nothing is said to run. The runner has noted no process of the
    // job either, as where it ends as soon as it begins.
    let lost = host.submit("#!/bin/sh\nuntil [ -e end ]; do sleep 0.1; done\n").await;
    host.wait_for_state(&lost, "RUNNING").await;
    let folder = host.shell.state().join(format!("jobs/{lost}"));
    std::fs::remove_file(folder.join("spare")).unwrap();
    let _ = std::fs::remove_file(folder.join("leader"));
    disk.fill();
    std::fs::write(host.shell.home().join("work/end"), "").unwrap();
    let job = host.wait_for_state(&lost, "UNKNOWN").await;
    assert_eq!((job.status.reason.as_deref(), job.status.has_ended()), (Some("EndNotRecorded"), false));
    let listed = host.scheduler.jobs(&host.ada, &JobQuery::default()).await.unwrap().value;
    assert_eq!(listed.iter().find(|job| job.id == lost).unwrap().status.state, "UNKNOWN");
    assert!(host.scheduler.attach(&host.ada, &lost, "true").await.is_err());
    disk.empty();
    host.wait_for_state(&lost, "COMPLETED").await;
    let next = host.submit("#!/bin/sh\n").await;
    host.wait_for_state(&next, "COMPLETED").await;
    host.nothing_is_left().await;
}

#[tokio::test]
async fn ping_tells_a_home_that_cannot_be_written() {
    for host in Host::each(&config()) {
        host.scheduler.ping(&host.ada).await.unwrap();
        std::fs::remove_dir_all(host.shell.home().join(".local")).unwrap();
        std::fs::write(host.shell.home().join(".local"), "not a directory").unwrap();
        let error = host.scheduler.ping(&host.ada).await.unwrap_err();
        assert!(matches!(error, SchedulerError::Down(_)), "{error:?}");
    }
}
