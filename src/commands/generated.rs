//! Generated files of the source tree: writes them, checks that they are up to date, or prints the first of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where to, and whether to write.
#[derive(clap::Args)]
pub(super) struct Target {
    /// Compare instead of writing.
    #[arg(long, conflicts_with = "print")]
    check: bool,
    /// Print instead of writing.
    #[arg(long)]
    print: bool,
    /// The root of the source tree to write into. If absent, the current directory if it is that; elsewhere the document is printed.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

/// Writes or compares the files, or prints the first. `command` generates them.
pub(super) fn run<const N: usize>(command: &str, target: &Target, files: [(&'static str, String); N]) -> ExitCode {
    let Some((name, document)) = files.first() else { return ExitCode::SUCCESS };
    match source_tree(target.root.as_deref(), name) {
        Some(root) if !target.print => write(command, &root, target.check, files),
        None if target.check => super::failed("--check compares with the files of a source tree: name its root with --root"),
        _ => {
            super::print(document);
            ExitCode::SUCCESS
        }
    }
}

/// Writes the files below `root`, or with `check` compares them and names the command that writes them anew.
fn write(command: &str, root: &Path, check: bool, files: impl IntoIterator<Item = (&'static str, String)>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, text) in files {
        let path = root.join(name);
        if check {
            if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                super::eprint(&format!("{name} is out of date: run `goldcrest {command}`"));
                code = ExitCode::FAILURE;
            }
        } else if let Err(error) = std::fs::write(&path, text) {
            super::eprint(&format!("{} cannot be written: {error}", path.display()));
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// Where generated files are written: below the given folder, or in the source tree if the process runs at its root. None elsewhere.
fn source_tree(root: Option<&Path>, name: &str) -> Option<PathBuf> {
    let is_root = |folder: &Path| folder.join("Cargo.toml").is_file() && folder.join(name).is_file();
    root.map(Path::to_owned).or_else(|| Some(PathBuf::from(".")).filter(|here| is_root(here)))
}
