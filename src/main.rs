//! The `goldcrest` program: see the library's `commands` module.

use std::process::ExitCode;

fn main() -> ExitCode {
    goldcrest::commands::run()
}
