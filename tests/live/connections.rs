//! `check-config --connect`: a tick for each step that works, and for each fault a cross with what to do and an exit status.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tokio::process::Command;

use crate::environment::Live;
use crate::instance::free_port;

/// Checks the environment's configuration with its first cluster alone, after `edit`. Answers with the exit status and what was printed.
pub async fn connect(live: &Live, edit: impl FnOnce(String) -> String) -> (Option<i32>, String) {
    let rendered = Command::new(live.text("goldcrest", "/render")).stdin(Stdio::null()).output().await.unwrap();
    assert!(rendered.status.success(), "the configuration could not be rendered");
    let text = String::from_utf8(rendered.stdout).unwrap();
    let (first, _) = text.split_once("  - name: slurm-tight\n").expect("the second cluster");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), edit(first.to_owned())).unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_goldcrest"));
    let output = command.args(["check-config", "--connect", "--config"]).arg(file.path()).output().await.unwrap();
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.code(), printed)
}

/// The text with another value for the first key of this name.
fn set(text: &str, key: &str, value: &str) -> String {
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key}:"))).unwrap_or_else(|| panic!("{key}: {text}"));
    let indent = &line[..line.len() - line.trim_start().len()];
    text.replacen(line, &format!("{indent}{key}: {value}"), 1)
}

pub async fn each_step_that_works_has_a_tick(live: &Live) {
    let (status, printed) = connect(live, |text| text).await;
    assert_eq!(status, Some(0), "{printed}");
    for step in [
        "site: signing keys (",
        "site: authorization",
        "slurm: TCP to 127.0.0.1:",
        "slurm: token of the service account (user ",
        "slurm: authorization of the service account (",
        "slurm: SSH login as ",
        "slurm: scheduler\n",
        "slurm: scheduler version (it says \"slurm",
        "slurm: file system /home",
    ] {
        assert!(printed.contains(&format!("  \u{2713} {step}")), "{step}: {printed}");
    }
    assert!(!printed.contains('\u{2717}') && !printed.contains("not tried"), "{printed}");
}

pub async fn each_fault_has_a_cross_with_what_to_do(live: &Live) {
    let closed = free_port().await;
    let nowhere = format!("http://127.0.0.1:{closed}");
    let (port, closed_port) = (format!("127.0.0.1:{closed}"), closed.to_string());
    let key = live.path("openssh", "keys/otheruser").display().to_string();
    let (jwks, issuer) = (format!("[{nowhere}/jwks]"), format!("{nowhere}/realm"));
    // What is changed, the step with the cross, and words of the reason and of what to do.
    let faults: [(&str, &str, &str, [&str; 2]); 14] = [
        ("issuer", &issuer, "slurm: token of the service account", ["it comes from another issuer", "auth.authentication.issuer"]),
        ("audience", "[elsewhere]", "slurm: token of the service account", ["this service takes tokens for elsewhere", "audience and"]),
        ("username_claim", "nobodys", "slurm: token of the service account", ["in the claim `nobodys`", "username_claim must fit"]),
        ("version", "\"21.08\"", "slurm: scheduler version", ["configured is 21.08", "scheduler.version"]),
        (
            "    firesrv:\n      private_key: ",
            "    somebody:\n      private_key: ",
            "slurm: SSH login as firesrv",
            ["no SSH credential is configured for user firesrv", "ssh_credentials must have a key"],
        ),
        ("public_certs", &jwks, "site: signing keys", [&port, "auth.authentication.public_certs"]),
        ("token_url", &nowhere, "slurm: token of the service account", [&port, "service_account"]),
        ("secret", "wrong", "slurm: token of the service account", ["invalid_client", "service_account"]),
        ("url", &nowhere, "site: authorization", [&port, "auth.authorization"]),
        ("store", "nobodys", "site: authorization", ["no store named \"nobodys\"", "auth.authorization"]),
        ("port", &closed_port, "slurm: TCP to", ["Connection refused", "ssh.host and ssh.port"]),
        ("known_hosts", "/nowhere/known_hosts", "slurm: SSH login as", ["/nowhere/known_hosts", "ssh.host_keys"]),
        ("type: slurm", "type: pbs", "slurm: scheduler", ["qstat", "scheduler.type"]),
        ("- path", "/nowhere", "slurm: file system /nowhere", ["/nowhere", "the path must exist"]),
    ];
    for (what, value, step, words) in faults {
        let (status, printed) =
            connect(live, |text| if what.contains(": ") { text.replacen(what, value, 1) } else { set(&text, what, value) }).await;
        assert_eq!(status, Some(1), "{what}: {printed}");
        let crosses: Vec<&str> = printed.split("  \u{2717} ").skip(1).collect();
        let [cross] = crosses[..] else { panic!("{what}: {printed}") };
        assert!(cross.starts_with(step), "{what}: {printed}");
        assert!(words.iter().all(|word| cross.contains(word)), "{what}, {words:?}: {printed}");
        assert!(printed.trim_end().ends_with("1 step failed"), "{what}: {printed}");
    }
    // Another user's key, which has a passphrase, and then the same with it: the cluster does not take it.
    for (more, word) in [("", "cannot be used"), ("\n      passphrase: secret_file:KEY.passphrase", "refused the login of firesrv")] {
        let other = |text: String| {
            let own = live.path("openssh", "keys/firesrv").display().to_string();
            text.replacen(&format!("secret_file:{own}\n"), &format!("secret_file:{key}{}\n", more.replace("KEY", &key)), 1)
        };
        let (status, printed) = connect(live, other).await;
        assert_eq!(status, Some(1), "{printed}");
        assert!(printed.contains("\u{2717} slurm: SSH login as firesrv") && printed.contains(word), "{printed}");
        assert!(printed.contains("  - slurm: scheduler and files: not tried"), "{printed}");
    }
}
