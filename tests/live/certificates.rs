//! Logins by certificates that Goldcrest signs itself, on the system `ca`.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::environment::{Live, wait_for};
use crate::processes;

pub async fn one_certificate_follows_the_other_and_each_is_in_both_logs(live: &Live) {
    let api = live.api("fireuser").await;
    // What it let in under a Goldcrest that ran before is not in this one's log.
    let before = serials(&log_of_sshd(live), "goldcrest,user=fireuser,");
    let begun = Instant::now();
    // One ends after 20 seconds, so that two follow the first.
    while begun.elapsed() < Duration::from_secs(32) {
        api.file("ca", "ls", "/home/fireuser").await.expect(200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let theirs: Vec<String> = serials(&log_of_sshd(live), "goldcrest,user=fireuser,").difference(&before).cloned().collect();
    assert!(theirs.len() >= 2, "sshd saw {theirs:?}");
    let ours = std::fs::read_to_string(live.text("goldcrest", "/log")).unwrap();
    for serial in &theirs {
        for action in ["credential.issue", "ssh.login"] {
            let told = ours.lines().any(|line| line.contains("audit") && line.contains(action) && line.contains(serial.as_str()));
            assert!(told, "no audit line {action} with the serial {serial}");
        }
    }
    assert!(!ours.contains("PRIVATE KEY"), "a key is in the log");
}

pub async fn a_revoked_certificate_is_named_and_the_next_one_works(live: &Live) {
    let api = live.api("otheruser").await;
    api.file("ca", "ls", "/home/otheruser").await.expect(200);
    let known = serials(&log_of_sshd(live), "goldcrest,user=otheruser,");
    let text = |pointer| live.text("openssh", pointer);
    let folder = tempfile::tempdir().unwrap();
    let revoked = folder.path().join("revoked");
    std::fs::write(&revoked, known.iter().map(|serial| format!("serial: {serial}\n")).collect::<String>()).unwrap();
    let keygen = Command::new("ssh-keygen")
        .args(["-q", "-k", "-u", "-f", &text("/revokedKeys"), "-s", &format!("{}.pub", text("/userCa"))])
        .arg(&revoked)
        .output()
        .unwrap();
    assert!(keygen.status.success(), "{}", String::from_utf8_lossy(&keygen.stderr));
    processes::signal(&processes::sessions(live.pid("openssh", "/instances/ca/pidFile"), "otheruser"), Signal::KILL);

    let refused = wait_for("the revoked certificate is refused", Duration::from_secs(10), || async {
        let answer = api.file("ca", "ls", "/home/otheruser").await;
        (answer.status != 200).then_some(answer)
    })
    .await
    .expect(424);
    let message = refused.message();
    assert!(known.iter().any(|serial| message.contains(serial.as_str())) && message.contains("revoked"), "{message}");
    wait_for("the next certificate lets the user in", Duration::from_secs(30), || async {
        (api.file("ca", "ls", "/home/otheruser").await.status == 200).then_some(())
    })
    .await;
}

fn log_of_sshd(live: &Live) -> String {
    std::fs::read_to_string(live.text("openssh", "/instances/ca/log")).unwrap()
}

/// The serial numbers of the certificates with this in their key id that a server let in.
fn serials(log: &str, id: &str) -> BTreeSet<String> {
    let accepted = log.lines().filter(|line| line.contains("Accepted publickey") && line.contains(id));
    accepted.filter_map(|line| Some(line.split_once("(serial ")?.1.split_once(')')?.0.to_owned())).collect()
}
