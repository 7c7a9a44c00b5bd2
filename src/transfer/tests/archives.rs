//! What real shells pack, and what they refuse to pack.

use super::*;

#[test]
fn an_expression_chooses_what_is_packed() {
    let host = Host::new();
    std::fs::create_dir_all(host.path(b"tree/sub")).unwrap();
    for name in ["tree/a.txt", "tree/a.log", "tree/sub/b.txt"] {
        std::fs::write(host.path(name.as_bytes()), name).unwrap();
    }
    std::fs::create_dir(host.path(b"out")).unwrap();
    let (source, archive, out) = (host.remote(b"tree"), host.remote(b"archive"), host.remote(b"out"));
    let options = CompressOptions { match_pattern: Some(r".*\.txt".to_owned()), ..CompressOptions::default() };
    succeeded(&host.run(&Operation::Compress { source: &source, target: &archive, options: &options }), "compressed");
    succeeded(&host.run(&Operation::Extract { source: &archive, target: &out, compression: Compression::Gzip }), "extracted");
    assert!(host.path(b"out/tree/a.txt").exists() && host.path(b"out/tree/sub/b.txt").exists());
    assert!(!host.path(b"out/tree/a.log").exists());
    let options = CompressOptions { match_pattern: Some(r"\(".to_owned()), ..CompressOptions::default() };
    failed(&host.run(&Operation::Compress { source: &source, target: &host.remote(b"other"), options: &options }), "find: ");
    assert_eq!(host.names(), [&b"archive"[..], b"out", b"tree"]);
}

#[test]
fn an_archive_replaces_a_file_and_never_a_directory() {
    let host = Host::new();
    std::fs::write(host.path(b"file"), "content").unwrap();
    std::fs::write(host.path(b"old"), "old").unwrap();
    std::fs::create_dir(host.path(b"directory")).unwrap();
    let options = CompressOptions::default();
    let source = host.remote(b"file");
    succeeded(&host.run(&Operation::Compress { source: &source, target: &host.remote(b"old"), options: &options }), "compressed");
    assert_ne!(std::fs::read(host.path(b"old")).unwrap(), b"old");
    failed(&host.run(&Operation::Compress { source: &source, target: &host.remote(b"directory"), options: &options }), "directory");
    assert_eq!(host.names(), [&b"directory"[..], b"file", b"old"]);
}

#[test]
fn an_archive_does_not_take_the_place_of_what_it_packs_nor_a_link_that_of_its_file() {
    let host = Host::new();
    std::fs::create_dir(host.path(b"d")).unwrap();
    std::fs::write(host.path(b"d/file"), "content").unwrap();
    symlink("d", host.path(b"to-d")).unwrap();
    symlink("file", host.path(b"d/link")).unwrap();
    let (file, same, link) = (host.remote(b"d/file"), host.remote(b"to-d/file"), host.remote(b"d/link"));
    let options = CompressOptions::default();
    let matching = CompressOptions { match_pattern: Some(".*".to_owned()), ..CompressOptions::default() };
    for shell in &host.shells {
        for options in [&options, &matching] {
            let packed = host.run_with(shell, &Operation::Compress { source: &file, target: &same, options });
            failed(&packed, "the archive would replace its own source");
            failed(&host.run_with(shell, &Operation::Compress { source: &link, target: &file, options }), "are the same file");
        }
        failed(&host.run_with(shell, &Operation::Copy { source: &link, target: &file, dereference: false }), "are the same file");
        failed(&host.run_with(shell, &Operation::Move { source: &link, target: &file }), "are the same file");
        assert_eq!(std::fs::read(host.path(b"d/file")).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(host.path(b"d")).unwrap().count(), 2);
    }
}

#[test]
fn an_archive_that_would_lie_in_what_it_packs_or_have_nothing_in_it_is_refused() {
    let host = Host::new();
    std::fs::create_dir(host.path(b"a[1]*\\b")).unwrap();
    std::fs::write(host.path(b"a[1]*\\b/big"), "big").unwrap();
    std::fs::write(host.path(b"old"), "old").unwrap();
    let (source, old) = (host.remote(b"a[1]*\\b"), host.remote(b"old"));
    let matching = |pattern: &str| CompressOptions { match_pattern: Some(pattern.to_owned()), ..CompressOptions::default() };
    for shell in &host.shells {
        let own = source.join(b"own");
        let whole = Operation::Compress { source: &source, target: &own, options: &CompressOptions::default() };
        failed(&host.run_with(shell, &whole), "the target is inside the directory to pack");
        // The second time there is an archive, which matches too.
        for _ in 0..2 {
            succeeded(
                &host.run_with(shell, &Operation::Compress { source: &source, target: &own, options: &matching(".*") }),
                "compressed",
            );
        }
        let listed = Command::new("tar").arg("tf").arg(host.path(b"a[1]*\\b/own")).arg("--quoting-style=literal").output().unwrap();
        assert_eq!(str::from_utf8(&listed.stdout).unwrap(), "./a[1]*\\b/big\n");
        std::fs::remove_file(host.path(b"a[1]*\\b/own")).unwrap();
        let nothing = Operation::Compress { source: &source, target: &old, options: &matching("x") };
        failed(&host.run_with(shell, &nothing), "nothing matches the pattern");
        assert_eq!(std::fs::read(host.path(b"old")).unwrap(), b"old");
        assert_eq!((host.names().len(), std::fs::read_dir(host.path(b"a[1]*\\b")).unwrap().count()), (2, 1));
    }
}

#[test]
fn a_job_that_is_told_to_end_leaves_no_half_archive() {
    use std::io::Read;
    let host = Host::new();
    std::fs::create_dir(host.path(b"tree")).unwrap();
    std::fs::create_dir(host.path(b"bin")).unwrap();
    // A tar that writes a part and then takes its time.
    let tar = "#!/bin/sh\nfor word; do case $word in --file=*) echo part >\"${word#--file=}\";; esac; done\necho begun\nsleep 30\n";
    std::fs::write(host.path(b"bin/tar"), tar).unwrap();
    std::fs::set_permissions(host.path(b"bin/tar"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (source, target, options) = (host.remote(b"tree"), host.remote(b"archive"), CompressOptions::default());
    std::fs::write(host.path(b".script"), text(&Operation::Compress { source: &source, target: &target, options: &options })).unwrap();
    let search = format!("{}:/usr/bin:/bin", host.path(b"bin").display());
    let mut command = Command::new("sh");
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.arg(host.path(b".script")).env("PATH", search).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut said = Vec::new();
    let mut byte = [0];
    while !said.ends_with(b"begun\n") {
        assert_eq!(child.stdout.as_mut().unwrap().read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(host.names(), [&b"bin"[..], b"tree"]);
}
