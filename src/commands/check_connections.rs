//! Tries everything that a configuration names, and prints each step with a tick or a cross and what to do.

use crate::app::{self, Step};
use crate::config::Config;
use crate::error::ErrorChain;

/// Tries it all. An error is the text to show at the end.
pub(super) async fn run(config: Config) -> Result<(), String> {
    super::print("\n");
    let mut failed = 0;
    let show = |step: Step| {
        failed += usize::from(matches!(step.outcome, Some(Err(_))));
        super::print(&line(&step));
    };
    app::try_connections(config, show).await.map_err(|error| ErrorChain(&error).to_string())?;
    match failed {
        0 => Ok(()),
        1 => Err("1 step failed".to_owned()),
        _ => Err(format!("{failed} steps failed")),
    }
}

fn line(step: &Step) -> String {
    match &step.outcome {
        None => format!("  - {}: {}: not tried, since a step that it needs failed\n", step.subject, step.name),
        Some(Ok(found)) if found.is_empty() => format!("  \u{2713} {}: {}\n", step.subject, step.name),
        Some(Ok(found)) => format!("  \u{2713} {}: {} ({found})\n", step.subject, step.name),
        Some(Err(reason)) => format!("  \u{2717} {}: {}: {reason}\n      {}\n", step.subject, step.name, step.advice),
    }
}
