//! Tells the program of which commit it was built: `GOLDCREST_COMMIT` where it is set, as packagers do, or else what git says.
//! Builds from an archive without git, and builds for development, do not know it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=GOLDCREST_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("GOLDCREST_COMMIT").ok().filter(|commit| !commit.is_empty());
    // A build for development would be made anew after each commit for the sake of this line alone.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_release));
    if is_release && let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={log}");
    }
    println!("cargo:rustc-env=GOLDCREST_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
