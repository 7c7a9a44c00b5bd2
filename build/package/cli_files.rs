//! Writes what a package has of the command line: manual pages and shell completions. No part of the program.
//!
//!     cargo run --example cli-files -- FOLDER

use std::io;
use std::path::PathBuf;

use clap_complete::Shell;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("usage: cli-files FOLDER"))?;
    let (manual, completions) = (folder.join("man"), folder.join("completions"));
    for each in [&manual, &completions] {
        std::fs::create_dir_all(each)?;
    }
    clap_mangen::generate_to(goldcrest::commands::command(), manual)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut goldcrest::commands::command(), "goldcrest", &completions)?;
    }
    Ok(())
}
