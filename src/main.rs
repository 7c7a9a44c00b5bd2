//! The `goldcrest` program: see the library's `cli` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    goldcrest::cli::run()
}
