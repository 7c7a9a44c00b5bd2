//! Shared parts of the tests of this suite.

pub mod local_shell;
pub mod records;
pub mod script;
pub mod scripted;
pub mod service;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::Location;
use std::process::Command;
use std::time::Duration;

use goldcrest::domain::{Principal, Secret, Username};
use tokio::time::Instant;

/// The time for which a test waits for an event: long enough for a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Reports that a test cannot run here. In CI, where all prerequisites are installed, this is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI is set");
    eprintln!("skipped: {reason}");
}

/// Runs the test that asks once more as `nobody` where it runs as root, to whom nothing is forbidden. True where it did.
pub fn was_run_as_nobody() -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let name = std::thread::current().name().map(ToOwned::to_owned);
    let test = name.filter(|name| name.contains("::")).expect("the thread of a test has its name, unless --test-threads=1");
    // As an open file, since the folders above it may be closed.
    let program = File::open("/proc/self/exe").unwrap();
    rustix::io::fcntl_setfd(&program, rustix::io::FdFlags::empty()).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(format!("/proc/self/fd/{}", program.as_raw_fd())).args(["--exact", &test]).current_dir("/");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// Waits until `predicate` holds.
///
/// # Panics
/// When it does not within `deadline`; the message names the line that waits.
#[track_caller]
pub fn wait_for(deadline: Duration, mut predicate: impl FnMut() -> bool) -> impl Future<Output = ()> {
    wait_until(deadline, async move || predicate())
}

/// As [`wait_for`], for an asynchronous predicate.
#[track_caller]
pub fn wait_until(deadline: Duration, mut predicate: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let start = Instant::now();
        while !predicate().await {
            assert!(start.elapsed() < deadline, "{caller} waited in vain for {deadline:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A person with an hour left on the token.
pub fn principal(username: &str) -> Principal {
    Principal {
        username: Username::new(username).unwrap(),
        subject: format!("subject-of-{username}"),
        client_id: Some("test-client".to_owned()),
        email: Some(format!("{username}@example.org")),
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at: jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1),
        token: Secret::from("test-token".to_owned()),
        is_service_account: false,
        validator: Some(goldcrest::domain::TokenValidator::Jwt),
    }
}
