//! sacct(1): the resources that jobs have used.

use super::sacct::{STATES, Span};
use super::slurm_command;
use super::squeue::Selection;
use crate::domain::{JobUsage, ResourceUsage, bytes_to_text};
use crate::scheduler::slurm::job_ref::shown_id;
use crate::ssh::{CommandError, CommandLine, RawOutput, RemoteCommand};

/// Reads the resources that jobs have used from accounting, with their steps, which have the memory and the energy.
pub(super) struct SacctUsage<'a> {
    pub(super) selection: Selection<'a>,
    pub(super) span: Span,
}

/// Names and numbers of Slurm's own, none of which holds the separator.
const FIELDS: &str = "JobID,User,Account,ElapsedRaw,NNodes,CPUTimeRAW,TotalCPU,MaxRSS,ConsumedEnergyRaw,AllocTRES";

impl RemoteCommand for SacctUsage<'_> {
    type Output = Vec<JobUsage>;

    fn command_line(&self) -> CommandLine {
        let line = slurm_command("sacct").flag("--noheader").flag("--parsable2").flag("--duplicates").option("--format", FIELDS);
        let line = match self.selection {
            Selection::Filter { user: None, .. } => line.flag("--allusers"),
            _ => line,
        };
        self.selection.options(self.span.options(line).option("--state", STATES))
    }

    fn idempotent(&self) -> bool {
        true
    }

    fn parse(&self, raw: RawOutput) -> Result<Self::Output, CommandError> {
        raw.success()?;
        let mut jobs: Vec<JobUsage> = Vec::new();
        for line in bytes_to_text(&raw.stdout).lines() {
            let fields: Vec<&str> = line.split('|').collect();
            // Other lines are a greeting of the login shell.
            let &[id, user, account, elapsed, nodes, cpus, used, memory, energy, tres] = fields.as_slice() else { continue };
            let (memory, energy) = (bytes(memory), energy.parse::<u64>().ok());
            if id.contains('.') {
                let Some(job) = jobs.last_mut() else { continue };
                job.resources.peak_memory = job.resources.peak_memory.max(memory);
                job.resources.energy = job.resources.energy.max(energy);
                continue;
            }
            let Ok(id) = shown_id(id) else { continue };
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let elapsed = elapsed.parse::<u64>().ok();
            let times = |count: Option<u64>| Some(elapsed?.saturating_mul(count?));
            let resources = ResourceUsage {
                elapsed,
                node_seconds: times(nodes.parse().ok()),
                cpu_seconds: cpus.parse().ok(),
                cpu_seconds_used: cpu_time(used),
                gpu_seconds: times(gpus(tres)),
                peak_memory: memory,
                energy,
            };
            jobs.push(JobUsage { id, user: given(user), account: given(account), resources });
        }
        Ok(jobs)
    }
}

/// `[days-][hours:]minutes:seconds[.fraction]`. Where accounting gathers nothing, it is zero for every job: that is not known.
fn cpu_time(text: &str) -> Option<f64> {
    let (days, clock) = text.split_once('-').unwrap_or(("0", text));
    let seconds = clock.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?;
    Some(days.parse::<f64>().ok()? * 86400.0 + seconds).filter(|seconds| *seconds > 0.0)
}

/// `1234K`, `1.5M` and the like in bytes.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    match digits.split_once('.') {
        None => digits.parse::<u64>().ok()?.checked_mul(factor),
        // One decimal digit is enough, because Slurm rounds too.
        Some((whole, part)) => {
            let tenth = part.get(..1)?.parse::<u64>().ok()?.checked_mul(factor)? / 10;
            whole.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(tenth)
        }
    }
    .filter(|bytes| *bytes > 0)
}

/// The GPUs in `cpu=4,gres/gpu=2,gres/gpu:a100=2`, which names them as a whole and by type.
fn gpus(tres: &str) -> Option<u64> {
    tres.split(',').find_map(|entry| entry.strip_prefix("gres/gpu=")).and_then(|count| count.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::golden::recorded;
    use super::*;

    fn parse(raw: RawOutput) -> Vec<JobUsage> {
        let selection = Selection::Filter { user: Some("fireuser"), account: None, name: None };
        SacctUsage { selection, span: Span::Points(Some(1_000_000), None) }.parse(raw).unwrap()
    }

    #[test]
    fn recorded_jobs_are_read_from_every_release() {
        for release in ["22.05", "24.11", "26.05"] {
            let jobs = parse(recorded(release, "usage.sacct"));
            let job = jobs.iter().find(|job| job.resources.elapsed.is_some_and(|elapsed| elapsed > 0)).unwrap();
            let seconds = job.resources.elapsed;
            assert_eq!((job.user.as_deref(), job.account.as_deref()), (Some("fireuser"), Some("fireuser")), "{release}");
            assert_eq!((job.resources.cpu_seconds, job.resources.node_seconds), (seconds, seconds), "{release}: {job:?}");
            assert_eq!((job.resources.gpu_seconds, job.resources.cpu_seconds_used), (None, None), "{release}: nothing is gathered there");
        }
    }

    #[test]
    fn memory_and_energy_come_from_the_steps_and_gpus_from_the_allocation() {
        let output = "7|ada|g1|100|2|800|01:02.500|||billing=8,cpu=8,gres/gpu=4,gres/gpu:a100=4,mem=8G,node=2\n\
                      7.batch||g1|100|1|400|00:30.000|1024K|500|cpu=4\n7.0||g1|100|2|800|00:32.500|2.5M|900|cpu=8\n";
        let jobs = parse(RawOutput { stdout: output.into(), ..RawOutput::default() });
        let expected = ResourceUsage {
            elapsed: Some(100),
            node_seconds: Some(200),
            cpu_seconds: Some(800),
            cpu_seconds_used: Some(62.5),
            gpu_seconds: Some(400),
            peak_memory: Some(2_621_440),
            energy: Some(900),
        };
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].resources, expected);
    }

    #[test]
    fn times_are_read_in_every_form() {
        for (text, expected) in
            [("1-00:00:01", Some(86401.0)), ("01:00:00", Some(3600.0)), ("00:01.250", Some(1.25)), ("00:00:00", None), ("", None)]
        {
            assert_eq!(cpu_time(text), expected, "{text}");
        }
    }
}
