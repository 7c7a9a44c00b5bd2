//! The pages of the documentation: the targets of their links exist.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test's helpers do not expect fails the test")]

use std::path::{Path, PathBuf};

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [root.to_owned(), root.join("docs"), root.join("build/environment")].into_iter().flat_map(|folder| {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md"))
    });
    files.collect()
}

/// The targets of the links and pictures in a page, without those that lead to other sites.
fn links(text: &str) -> Vec<&str> {
    let targets = [("](", ')'), ("src=\"", '"')]
        .into_iter()
        .flat_map(|(before, after)| text.split(before).skip(1).filter_map(move |rest| rest.split_once(after)).map(|(target, _)| target));
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchor that a heading gets: lower case, spaces as hyphens, other punctuation left out.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |heading: String| -> String {
        heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_')).map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{} links to {link}", page.display());
            if let Some(anchor) = anchor {
                let target = std::fs::read_to_string(target).unwrap();
                assert!(anchors(&target).iter().any(|known| known == anchor), "{} links to {link}", page.display());
            }
            seen += 1;
        }
    }
    assert!(seen > 15, "the links are not found: {seen}");
}

#[test]
fn every_page_of_the_documentation_can_be_reached_from_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |page: &str| std::fs::read_to_string(root.join(page)).unwrap();
    let (readme, contents) = (read("README.md"), read("docs/SUMMARY.md"));
    assert!(links(&readme).contains(&"docs/SUMMARY.md"), "README.md does not link to the contents of docs/");
    for page in pages().iter().filter(|page| page.parent() == Some(root.join("docs").as_path())) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || links(&contents).contains(&name), "docs/SUMMARY.md does not link to {name}");
    }
}

#[test]
fn each_script_of_the_measurements_explains_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/environment/bench");
    for name in ["run", "transfer", "jobs", "footprint", "mirror", "distance"] {
        let output = std::process::Command::new("bash").arg(folder.join(format!("{name}.sh"))).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && help.contains(&format!("{name}.sh")) && !help.contains("set -e"), "{name}: {output:?}");
    }
}

#[test]
fn the_page_of_jobs_has_each_state_that_a_request_may_name() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/jobs.md")).unwrap();
    let (_, section) = page.split_once("\n## States\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let refused = goldcrest::domain::check_state_name("DONE", false).unwrap_err();
    let (_, known) = refused.split_once("known are ").unwrap();
    for state in known.split(", ") {
        assert!(section.contains(&format!("`{state}`")), "{state}");
    }
}
