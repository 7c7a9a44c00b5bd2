//! The scripts as they are, and what real shells make of them.

mod archives;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;

use super::*;

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);

fn path(text: &str) -> RemotePath {
    RemotePath::from_text(text).unwrap()
}

fn directives() -> Directives {
    let lines = ["#SBATCH --nodes=1", "#SBATCH --account={account}"].map(str::to_owned);
    Directives::new(&lines, Some("project")).unwrap()
}

fn text(operation: &Operation<'_>) -> String {
    let job = job(operation, &directives(), &path("/scratch/ada"), ID);
    match job.script {
        JobScript::Inline(script) => script,
        JobScript::Path(path) => panic!("{path}"),
    }
}

#[test]
fn a_job_is_named_and_leaves_its_logs_in_its_directory() {
    let (source, target) = (path("/home/ada/a"), path("/home/ada/b"));
    let job = job(&Operation::Move { source: &source, target: &target }, &directives(), &path("/scratch/ada"), ID);
    insta::assert_debug_snapshot!(JobDescription { script: JobScript::Inline(String::new()), ..job });
}

#[test]
fn the_script_of_a_move() {
    let (source, target) = (path("/home/ada/it's here"), path("/home/ada/gr\u{fc}n"));
    insta::assert_snapshot!(text(&Operation::Move { source: &source, target: &target }));
}

#[test]
fn the_script_of_a_copy_of_what_links_point_to() {
    let (source, target) = (path("/home/ada/a"), path("/home/ada/b"));
    insta::assert_snapshot!(text(&Operation::Copy { source: &source, target: &target, dereference: true }));
}

#[test]
fn the_script_of_a_removal_of_a_name_with_line_breaks() {
    let path = RemotePath::from_bytes(b"/home/ada/a\r\n#SBATCH --uid=0\\\n\xff'\n").unwrap();
    insta::assert_snapshot!(text(&Operation::Remove { path: &path }));
}

#[test]
fn the_script_of_an_archive() {
    let (source, target) = (path("/home/ada/-dir"), path("/home/ada/dir.tar.xz"));
    let options = CompressOptions { compression: Compression::Xz, dereference: true, match_pattern: None };
    insta::assert_snapshot!(text(&Operation::Compress { source: &source, target: &target, options: &options }));
}

#[test]
fn the_script_of_an_archive_of_what_matches() {
    let (source, target) = (path("/home/ada/dir"), path("/home/ada/dir.tar"));
    let options = CompressOptions { compression: Compression::None, dereference: false, match_pattern: Some(r".*\.txt".to_owned()) };
    insta::assert_snapshot!(text(&Operation::Compress { source: &source, target: &target, options: &options }));
}

#[test]
fn the_script_of_an_extraction() {
    let (source, target) = (path("/home/ada/dir.tar.gz"), path("/home/ada/out"));
    insta::assert_snapshot!(text(&Operation::Extract { source: &source, target: &target, compression: Compression::Gzip }));
}

/// A directory of a test's own, and the shells that are installed.
struct Host {
    root: tempfile::TempDir,
    shells: Vec<PathBuf>,
}

impl Host {
    fn new() -> Self {
        let found = |name: &str| ["/bin", "/usr/bin"].iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
        let shells: Vec<PathBuf> = ["dash", "bash"].into_iter().filter_map(found).collect();
        assert!(!shells.is_empty(), "neither dash nor bash is installed");
        Self { root: tempfile::tempdir().unwrap(), shells }
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.root.path().join(OsString::from_vec(name.to_vec()))
    }

    fn remote(&self, name: &[u8]) -> RemotePath {
        RemotePath::from_bytes(self.path(name).as_os_str().as_bytes()).unwrap()
    }

    /// Runs the script from a file, as a scheduler does, with this shell.
    fn run_with(&self, shell: &Path, operation: &Operation<'_>) -> Output {
        let script = self.path(b".script");
        std::fs::write(&script, text(operation)).unwrap();
        Command::new(shell).arg(&script).current_dir(self.root.path()).output().unwrap()
    }

    fn run(&self, operation: &Operation<'_>) -> Output {
        self.run_with(&self.shells[0], operation)
    }

    /// Names below the root but for the script's.
    fn names(&self) -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_vec()).filter(|name| name != b".script").collect();
        names.sort();
        names
    }
}

fn succeeded(output: &Output, word: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(&format!("Files were successfully {word}.")), "{output:?}");
}

fn failed(output: &Output, reason: &str) {
    assert!(!output.status.success() && output.status.code().is_some(), "{output:?}");
    assert!(!String::from_utf8_lossy(&output.stdout).contains("successfully"), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(reason) && said.contains("exit status:"), "{output:?}");
}

/// A name that a file can have: any byte but NUL and the slash, with those favoured that a shell or a scheduler reads as more.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(b"\n\r'\"\\$`%*?[]!#~ -;&|<>(){}\t=:\x7f\x01\xff\xc3\xee".to_vec());
    let byte = prop_oneof![3 => nasty, 1 => 1_u8..];
    prop::collection::vec(byte, 1..20)
        .prop_filter("a name of a directory's own", |name| !name.contains(&b'/') && name != b"." && name != b".." && name != b".script")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_script_has_no_line_that_is_not_ours(source in name(), target in name()) {
        let root = path("/home/ada");
        let script = text(&Operation::Move { source: &root.join(&source), target: &root.join(&target) });
        prop_assert!(!script.contains(|c: char| c.is_control() && c != '\n'));
        prop_assert_eq!(script.lines().filter(|line| line.starts_with("#SBATCH")).count(), 2);
        let plain = text(&Operation::Move { source: &path("/a"), target: &path("/b") }).lines().count();
        prop_assert!(script.lines().count() <= plain + 2);
    }

    #[test]
    fn any_names_are_copied_moved_and_removed(source in name(), copy in name(), moved in name()) {
        prop_assume!(source != copy && source != moved && copy != moved);
        let host = Host::new();
        for shell in &host.shells {
            std::fs::create_dir(host.path(&source)).unwrap();
            std::fs::write(host.path(&source).join("content"), &source).unwrap();
            std::fs::set_permissions(host.path(&source).join("content"), std::fs::Permissions::from_mode(0o640)).unwrap();
            let (from, to, end) = (host.remote(&source), host.remote(&copy), host.remote(&moved));
            succeeded(&host.run_with(shell, &Operation::Copy { source: &from, target: &to, dereference: false }), "copied");
            succeeded(&host.run_with(shell, &Operation::Move { source: &to, target: &end }), "moved");
            prop_assert_eq!(std::fs::read(host.path(&moved).join("content")).unwrap(), &source[..]);
            prop_assert_eq!(host.path(&moved).join("content").metadata().unwrap().permissions().mode() & 0o777, 0o640);
            succeeded(&host.run_with(shell, &Operation::Remove { path: &end }), "deleted");
            succeeded(&host.run_with(shell, &Operation::Remove { path: &from }), "deleted");
            prop_assert_eq!(host.names(), Vec::<Vec<u8>>::new());
        }
    }

    #[test]
    fn any_names_are_packed_and_unpacked(source in name(), inner in name(), archive in name(), compression in 0_usize..4, matching: bool) {
        let target = b"out".to_vec();
        prop_assume!(source != archive && source != target && archive != target);
        let compression = [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Xz][compression];
        let host = Host::new();
        for shell in &host.shells {
            std::fs::create_dir(host.path(&source)).unwrap();
            std::fs::write(host.path(&source).join(OsString::from_vec(inner.clone())), &inner).unwrap();
            std::fs::create_dir(host.path(&target)).unwrap();
            let (from, to, out) = (host.remote(&source), host.remote(&archive), host.remote(&target));
            let options = CompressOptions { compression, dereference: false, match_pattern: matching.then(|| r"\(.\|\n\)*".to_owned()) };
            let packed = host.run_with(shell, &Operation::Compress { source: &from, target: &to, options: &options });
            // In the C locale `.` matches no byte above 127 everywhere; only that nothing is left is a failure.
            if !(matching && String::from_utf8_lossy(&packed.stderr).contains("nothing matches the pattern")) {
                succeeded(&packed, "compressed");
                prop_assert_eq!(host.names().len(), 3);
                succeeded(&host.run_with(shell, &Operation::Extract { source: &to, target: &out, compression }), "extracted");
            }
            if !matching {
                let unpacked = host.path(&target).join(OsString::from_vec(source.clone())).join(OsString::from_vec(inner.clone()));
                prop_assert_eq!(std::fs::read(unpacked).unwrap(), &inner[..]);
            }
            for name in host.names() {
                let path = host.path(&name);
                if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
            }
        }
    }
}

#[test]
fn what_does_not_exist_fails_with_the_words_of_the_tool() {
    let host = Host::new();
    let (missing, other) = (host.remote(b"missing"), host.remote(b"other"));
    let options = CompressOptions::default();
    let matching = CompressOptions { match_pattern: Some(".*".to_owned()), ..CompressOptions::default() };
    for operation in [
        Operation::Move { source: &missing, target: &other },
        Operation::Copy { source: &missing, target: &other, dereference: false },
        Operation::Remove { path: &missing },
        Operation::Compress { source: &missing, target: &other, options: &options },
        Operation::Compress { source: &missing, target: &other, options: &matching },
        Operation::Extract { source: &missing, target: &other, compression: Compression::None },
    ] {
        for shell in &host.shells {
            failed(&host.run_with(shell, &operation), "No such file or directory");
            assert!(host.names().is_empty(), "{:?} is left by {operation:?}", host.names());
        }
    }
}

#[test]
fn a_link_is_copied_and_packed_as_it_is_or_as_what_it_points_to() {
    for dereference in [false, true] {
        let host = Host::new();
        std::fs::create_dir(host.path(b"tree")).unwrap();
        std::fs::write(host.path(b"file"), "content").unwrap();
        symlink("../file", host.path(b"tree/link")).unwrap();
        let (source, copy, archive) = (host.remote(b"tree"), host.remote(b"copy"), host.remote(b"archive"));
        succeeded(&host.run(&Operation::Copy { source: &source, target: &copy, dereference }), "copied");
        assert_eq!(host.path(b"copy/link").is_symlink(), !dereference);

        std::fs::write(host.path(b"tree/a link"), "").unwrap();
        for (number, match_pattern) in [None, Some(".*link".to_owned())].into_iter().enumerate() {
            let matching = match_pattern.is_some();
            let options = CompressOptions { dereference, match_pattern, ..CompressOptions::default() };
            succeeded(&host.run(&Operation::Compress { source: &source, target: &archive, options: &options }), "compressed");
            let out = [b"out".to_vec(), vec![b'0' + u8::try_from(number).unwrap()]].concat();
            std::fs::create_dir(host.path(&out)).unwrap();
            let compression = Compression::Gzip;
            succeeded(&host.run(&Operation::Extract { source: &archive, target: &host.remote(&out), compression }), "extracted");
            let link = host.path(&out).join("tree/link");
            // Only files are matched, and a link is one only when it is followed.
            assert_eq!(link.symlink_metadata().is_ok(), dereference || !matching);
            assert_eq!(link.is_symlink(), !dereference && !matching);
        }
    }
}

#[test]
fn a_directory_as_the_target_takes_what_is_moved_or_copied() {
    let host = Host::new();
    std::fs::write(host.path(b"a"), "a").unwrap();
    std::fs::create_dir(host.path(b"d")).unwrap();
    let (source, target) = (host.remote(b"a"), host.remote(b"d"));
    succeeded(&host.run(&Operation::Copy { source: &source, target: &target, dereference: false }), "copied");
    std::fs::write(host.path(b"a"), "newer").unwrap();
    succeeded(&host.run(&Operation::Move { source: &source, target: &target }), "moved");
    assert_eq!(std::fs::read(host.path(b"d/a")).unwrap(), b"newer");
}

/// Bytes that no compression makes fewer.
#[test]
fn what_does_not_fit_into_a_directory_is_named_and_nothing_in_it_is_changed() {
    let host = Host::new();
    for name in ["tree/a", "out/tree/f", "real"] {
        std::fs::create_dir_all(host.path(name.as_bytes())).unwrap();
    }
    for name in ["tree/a/x", "tree/f", "tree/g"] {
        std::fs::write(host.path(name.as_bytes()), "new").unwrap();
    }
    std::fs::write(host.path(b"out/tree/g"), "gold").unwrap();
    let (source, archive, out) = (host.remote(b"tree"), host.remote(b"archive"), host.remote(b"out"));
    let options = CompressOptions { compression: Compression::None, ..CompressOptions::default() };
    succeeded(&host.run(&Operation::Compress { source: &source, target: &archive, options: &options }), "compressed");
    let extract = Operation::Extract { source: &archive, target: &out, compression: Compression::None };
    let copy = Operation::Copy { source: &source, target: &out, dereference: false };
    let names = |directory: &[u8]| {
        let mut names: Vec<_> = std::fs::read_dir(host.path(directory)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for shell in &host.shells {
        for operation in [&extract, &copy] {
            let place = format!("This cannot be put in its place, and nothing was changed: {}", host.path(b"out/tree/f").display());
            failed(&host.run_with(shell, operation), &place);
            assert_eq!(names(b"out"), ["tree"], "{operation:?}");
            assert_eq!(names(b"out/tree"), ["f", "g"], "{operation:?}");
            assert_eq!(std::fs::read(host.path(b"out/tree/g")).unwrap(), b"gold", "{operation:?}");
        }
    }
    // A link to a directory is kept, and what goes below it arrives there.
    std::fs::remove_dir_all(host.path(b"out/tree")).unwrap();
    symlink("../real", host.path(b"out/tree")).unwrap();
    for shell in &host.shells {
        for operation in [&extract, &copy] {
            succeeded(&host.run_with(shell, operation), if let Operation::Copy { .. } = operation { "copied" } else { "extracted" });
            assert!(host.path(b"out/tree").is_symlink());
            assert_eq!(names(b"real"), ["a", "f", "g"], "{operation:?}");
        }
    }
}

#[test]
fn a_file_is_not_moved_onto_another_name_of_itself() {
    let host = Host::new();
    std::fs::write(host.path(b"file"), "content").unwrap();
    std::fs::hard_link(host.path(b"file"), host.path(b"hard")).unwrap();
    let (source, target) = (host.remote(b"file"), host.remote(b"hard"));
    for shell in &host.shells {
        failed(&host.run_with(shell, &Operation::Move { source: &source, target: &target }), "another name of the same file");
        assert_eq!(host.names(), [&b"file"[..], b"hard"]);
    }
}

#[test]
fn nothing_is_copied_onto_itself_by_another_path() {
    use std::os::unix::fs::MetadataExt;
    let host = Host::new();
    std::fs::create_dir_all(host.path(b"d/sub")).unwrap();
    std::fs::write(host.path(b"d/sub/file"), "content").unwrap();
    symlink("d", host.path(b"to-d")).unwrap();
    std::fs::create_dir(host.path(b"other")).unwrap();
    symlink("../d/sub", host.path(b"other/sub")).unwrap();
    let inode = || host.path(b"d/sub/file").metadata().unwrap().ino();
    let before = inode();
    for shell in &host.shells {
        for (source, target) in [("d/sub/file", "to-d/sub/file"), ("d/sub/file", "to-d/sub"), ("d/sub", "to-d"), ("d/sub", "other")] {
            for dereference in [false, true] {
                let (source, target) = (host.remote(source.as_bytes()), host.remote(target.as_bytes()));
                let copied = host.run_with(shell, &Operation::Copy { source: &source, target: &target, dereference });
                failed(&copied, "another name of the same file");
                assert_eq!((inode(), std::fs::read_dir(host.path(b"d/sub")).unwrap().count()), (before, 1), "{target}");
            }
        }
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn where_there_is_no_room_for_the_whole_what_was_there_stays() {
    let host = Host::new();
    // Elsewhere, so that a move has to copy.
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    assert_ne!(
        std::os::unix::fs::MetadataExt::dev(&elsewhere.path().metadata().unwrap()),
        std::os::unix::fs::MetadataExt::dev(&host.root.path().metadata().unwrap()),
        "/dev/shm is no file system of its own"
    );
    let far = |name: &str| RemotePath::from_bytes(elsewhere.path().join(name).as_os_str().as_bytes()).unwrap();
    std::fs::create_dir(elsewhere.path().join("tree")).unwrap();
    for name in ["old", "tree/old"] {
        std::fs::write(elsewhere.path().join(name), noise(200_000)).unwrap();
    }
    let mut tar = Command::new("tar");
    tar.arg("-cf").arg(elsewhere.path().join("archive")).arg("-C").arg(elsewhere.path()).arg("old");
    assert!(tar.status().unwrap().success());
    std::fs::write(host.path(b"old"), "old").unwrap();
    std::fs::create_dir(host.path(b"tree")).unwrap();
    std::fs::write(host.path(b"tree/old"), "old").unwrap();
    let (file, tree, archive, root) = (far("old"), far("tree"), far("archive"), host.remote(b""));
    let (old, options) = (host.remote(b"old"), CompressOptions::default());
    for operation in [
        Operation::Move { source: &file, target: &old },
        Operation::Move { source: &file, target: &root },
        Operation::Copy { source: &file, target: &old, dereference: false },
        Operation::Copy { source: &tree, target: &root, dereference: false },
        Operation::Compress { source: &file, target: &old, options: &options },
        Operation::Extract { source: &archive, target: &root, compression: Compression::None },
    ] {
        for shell in &host.shells {
            std::fs::write(host.path(b".script"), text(&operation)).unwrap();
            // A file of more than some 100 KiB cannot be written.
            let limited = ["-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "sh"];
            let output = Command::new("bash").args(limited).arg(shell).arg(host.path(b".script")).output().unwrap();
            failed(&output, "Unable to");
            assert_eq!(host.names(), [&b"old"[..], b"tree"], "{operation:?}");
            assert_eq!(std::fs::read(host.path(b"old")).unwrap(), b"old", "{operation:?}");
            assert_eq!(std::fs::read(host.path(b"tree/old")).unwrap(), b"old", "{operation:?}");
            assert!(elsewhere.path().join("old").exists(), "{operation:?}");
        }
    }
    for operation in [Operation::Copy { source: &tree, target: &root, dereference: false }, Operation::Move { source: &file, target: &old }]
    {
        succeeded(&host.run(&operation), if matches!(operation, Operation::Move { .. }) { "moved" } else { "copied" });
    }
    assert_eq!(std::fs::read(host.path(b"old")).unwrap(), noise(200_000));
    assert_eq!(std::fs::read(host.path(b"tree/old")).unwrap(), noise(200_000));
    assert!(!elsewhere.path().join("old").exists() && host.names() == [&b"old"[..], b"tree"]);
}

#[test]
fn what_replaces_a_file_is_not_open_to_more_people() {
    let host = Host::new();
    let mode = |name: &[u8]| host.path(name).metadata().unwrap().permissions().mode() & 0o777;
    std::fs::write(host.path(b"file"), "content").unwrap();
    std::fs::write(host.path(b"old"), "old").unwrap();
    for match_pattern in [None, Some(".*".to_owned())] {
        std::fs::set_permissions(host.path(b"old"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let options = CompressOptions { match_pattern, ..CompressOptions::default() };
        let operation = Operation::Compress { source: &host.remote(b"file"), target: &host.remote(b"old"), options: &options };
        succeeded(&host.run(&operation), "compressed");
        assert_eq!(mode(b"old"), 0o600);
    }
    std::fs::set_permissions(host.path(b"file"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let operation = Operation::Copy { source: &host.remote(b"file"), target: &host.remote(b"old"), dereference: false };
    succeeded(&host.run(&operation), "copied");
    assert_eq!(mode(b"old"), 0o640, "a copy has the rights of its source");
}
