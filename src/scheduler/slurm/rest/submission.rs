//! The document of a job for slurmrestd.
//!
//! sbatch reads the `#SBATCH` lines of a script; slurmrestd does not, and would run the job without what they ask for. So the lines
//! are read here and become members of the job. A script with an option that has no such member is refused: see [`is_possible`].

use serde_json::{Map, Value, json};

use super::submission_options;
use super::version::ApiVersion;
use crate::domain::{JobDescription, JobScript, Principal};
use crate::scheduler::SchedulerError;
use crate::scheduler::directives::{DOS_LINE_BREAKS, option, sbatch_lines, seconds};

/// The default search path of a job's shell: slurmrestd gives a job only the environment that is sent.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a script by its path is not taken.
pub(super) const SCRIPT_PATH: &str = "connection_mode is rest, and slurmrestd takes no path of a script: send the script itself";
const NOT_TEXT: &str = "connection_mode is rest, and slurmrestd takes no working directory that is not UTF-8";

/// Whether the job can be expressed for slurmrestd.
pub(in super::super) fn is_possible(job: &JobDescription) -> bool {
    let JobScript::Inline(script) = &job.script else { return false };
    let has_options = || submission_options::add(&mut Map::new(), &job.options, ApiVersion::NEWEST).is_ok();
    std::str::from_utf8(job.working_directory.as_bytes()).is_ok() && members(script, ApiVersion::NEWEST).is_ok() && has_options()
}

/// The document that submits the job.
///
/// # Errors
/// [`SchedulerError::Unsupported`] and [`SchedulerError::Rejected`] where slurmrestd cannot be given the job as it is meant.
pub(super) fn document(principal: &Principal, job: &JobDescription, version: ApiVersion) -> Result<Value, SchedulerError> {
    let JobScript::Inline(script) = &job.script else { return Err(SchedulerError::Unsupported(SCRIPT_PATH)) };
    // sbatch says the same; slurmrestd takes such a script, and the job fails on its node.
    if !script.starts_with("#!") {
        let reason = "This does not look like a batch script. The first line must start with #! followed by the path to an interpreter.";
        return Err(SchedulerError::Rejected(reason.to_owned()));
    }
    if script.contains("\r\n") {
        return Err(SchedulerError::Rejected(DOS_LINE_BREAKS.to_owned()));
    }
    let directory = std::str::from_utf8(job.working_directory.as_bytes()).map_err(|_| SchedulerError::Unsupported(NOT_TEXT))?;
    let mut members = members(script, version).map_err(SchedulerError::Rejected)?;
    let mut set = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), json!(value));
        }
    };
    set("current_working_directory", Some(directory));
    for (name, value) in [
        ("name", &job.name),
        ("account", &job.account),
        ("reservation", &job.reservation),
        ("partition", &job.partition),
        ("constraints", &job.constraints),
        (stream("standard_input", version), &job.standard_input),
        (stream("standard_output", version), &job.standard_output),
        ("standard_error", &job.standard_error),
    ] {
        set(name, value.as_deref());
    }
    submission_options::add(&mut members, &job.options, version)?;
    let cpus = members.get("cpus_per_task").map(Value::to_string);
    members.insert("environment".to_owned(), environment(principal, job, version, cpus.as_deref()));
    if version.puts_script_into_job() {
        members.insert("script".to_owned(), json!(script));
        return Ok(json!({"job": members}));
    }
    Ok(json!({"job": members, "script": script}))
}

/// The document with a tag in the job's comment, after the comment of the script.
pub(super) fn with_tag(mut document: Value, tag: &str) -> Value {
    let job = &mut document["job"];
    job["comment"] = match job["comment"].as_str() {
        Some(own) => json!(format!("{own} {tag}")),
        None => json!(tag),
    };
    document
}

/// The variables of the job. sbatch sets the variable for CPUs per task; for jobs submitted by REST it is set here.
fn environment(principal: &Principal, job: &JobDescription, version: ApiVersion, cpus: Option<&str>) -> Value {
    let user = principal.username.as_str();
    let defaults = [("PATH", PATH), ("USER", user), ("LOGNAME", user)];
    let defaults =
        defaults.into_iter().chain(cpus.map(|cpus| ("SLURM_CPUS_PER_TASK", cpus))).filter(|(name, _)| !job.environment.contains_key(*name));
    let variables = defaults.chain(job.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if version.lists_environment() {
        variables.map(|(name, value)| Value::String(format!("{name}={value}"))).collect()
    } else {
        variables.map(|(name, value)| (name.to_owned(), json!(value))).collect::<Map<_, _>>().into()
    }
}

fn stream(name: &'static str, version: ApiVersion) -> &'static str {
    if version.shortens_streams() { name.trim_end_matches("put") } else { name }
}

/// The members that the script's `#SBATCH` lines ask for.
///
/// # Errors
/// With a message for the client, where an option has no member.
fn members(script: &str, version: ApiVersion) -> Result<Map<String, Value>, String> {
    let mut members = Map::new();
    for line in sbatch_lines(script) {
        let mut words = line.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (option, inline) = option(word).ok_or_else(|| no_member(word))?;
            let mut value = || inline.or_else(|| words.next()).filter(|value| !value.is_empty()).ok_or_else(|| no_value(option));
            let (name, value) = match option {
                "job-name" | "J" => ("name", json!(value()?)),
                "account" | "A" => ("account", json!(value()?)),
                "partition" | "p" => ("partition", json!(value()?)),
                "qos" | "q" => ("qos", json!(value()?)),
                "reservation" => ("reservation", json!(value()?)),
                "constraint" | "C" => ("constraints", json!(value()?)),
                "dependency" | "d" => ("dependency", json!(value()?)),
                "array" | "a" => ("array", json!(value()?)),
                "comment" => ("comment", json!(value()?)),
                "input" | "i" => (stream("standard_input", version), json!(value()?)),
                "output" | "o" => (stream("standard_output", version), json!(value()?)),
                "error" | "e" => ("standard_error", json!(value()?)),
                "ntasks" | "n" => ("tasks", count(option, value()?)?),
                "ntasks-per-node" => ("tasks_per_node", count(option, value()?)?),
                "cpus-per-task" | "c" => ("cpus_per_task", count(option, value()?)?),
                "nodes" | "N" => ("nodes", nodes(value()?, version)?),
                "mem" => ("memory_per_node", json!(mebibytes(value()?)?)),
                "time" | "t" => ("time_limit", json!(minutes(value()?)?)),
                "hold" | "H" => ("hold", json!(true)),
                "requeue" => ("requeue", json!(true)),
                "no-requeue" => ("requeue", json!(false)),
                // It is sbatch that waits; a submission by REST never does.
                "wait" | "W" => continue,
                // The request names the directory, and that comes first with sbatch too.
                "chdir" | "D" => {
                    value()?;
                    continue;
                }
                _ => return Err(no_member(word)),
            };
            members.insert(name.to_owned(), value);
        }
    }
    Ok(members)
}

fn count(option: &str, text: &str) -> Result<Value, String> {
    text.parse::<u32>().map(|number| json!(number)).map_err(|_| format!("#SBATCH --{option}: {text} is no number"))
}

fn nodes(text: &str, version: ApiVersion) -> Result<Value, String> {
    let numbers: Result<Vec<u32>, _> = text.split('-').map(str::parse).collect();
    match numbers {
        Ok(numbers) if numbers.len() <= 2 => Ok(submission_options::nodes(&numbers, version)),
        _ => Err(format!("#SBATCH --nodes: {text} is no number of nodes")),
    }
}

/// Mebibytes from `4096`, `4G` and the like.
fn mebibytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("#SBATCH --mem: {text} is no amount of memory");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let amount = match &text[digits.len()..] {
        "" | "M" | "m" | "MB" => Some(number),
        "K" | "k" | "KB" => Some(number.div_ceil(1024)),
        "G" | "g" | "GB" => number.checked_mul(1024),
        "T" | "t" | "TB" => number.checked_mul(1024 * 1024),
        _ => None,
    };
    amount.ok_or_else(wrong)
}

/// Whole minutes, rounded up as sbatch does.
fn minutes(text: &str) -> Result<u64, String> {
    match seconds(text) {
        Some(seconds) if seconds > 0 => Ok(seconds.div_ceil(60)),
        _ => Err(format!("#SBATCH --time: {text} cannot be passed on by Slurm's REST API")),
    }
}

fn no_value(option: &str) -> String {
    format!("#SBATCH --{option}: the value is missing")
}

fn no_member(word: &str) -> String {
    let word: String = word.chars().take(80).collect();
    format!(
        "#SBATCH {word}: this system passes jobs on by Slurm's REST API, which does not read #SBATCH lines, and this option cannot be passed on for them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{JobOptions, RemotePath, Secret, Username};

    fn principal() -> Principal {
        Principal {
            username: Username::new("jane").unwrap(),
            subject: String::new(),
            client_id: None,
            email: None,
            groups: Vec::new(),
            scopes: Vec::new(),
            expires_at: jiff::Timestamp::now(),
            token: Secret::from(String::new()),
            is_service_account: false,
            validator: None,
        }
    }

    fn job(script: &str) -> JobDescription {
        JobDescription {
            environment: [("A".to_owned(), "1,2\n\"3".to_owned()), ("PATH".to_owned(), "/opt".to_owned())].into(),
            ..JobDescription::new(RemotePath::from_text("/home/jane").unwrap(), JobScript::Inline(script.to_owned()))
        }
    }

    fn version(text: &str) -> ApiVersion {
        ApiVersion::parse(text).unwrap()
    }

    fn sent(job: &JobDescription, text: &str) -> Value {
        document(&principal(), job, version(text)).unwrap()
    }

    #[test]
    fn each_version_gets_its_form_of_script_environment_and_streams() {
        let job = JobDescription { standard_output: Some("o".to_owned()), ..job("#!/bin/sh\n") };
        let old = sent(&job, "0.0.36");
        assert_eq!(old["script"], "#!/bin/sh\n");
        assert_eq!(old["job"]["environment"], json!({"A": "1,2\n\"3", "PATH": "/opt", "USER": "jane", "LOGNAME": "jane"}));
        assert_eq!((&old["job"]["standard_out"], &old["job"]["standard_output"]), (&json!("o"), &Value::Null));
        let middle = sent(&job, "0.0.40");
        assert_eq!((&middle["script"], &middle["job"]["script"]), (&json!("#!/bin/sh\n"), &Value::Null));
        assert_eq!(middle["job"]["environment"], json!(["USER=jane", "LOGNAME=jane", "A=1,2\n\"3", "PATH=/opt"]));
        let new = sent(&job, "0.0.42");
        assert_eq!((&new["script"], &new["job"]["script"]), (&Value::Null, &json!("#!/bin/sh\n")));
        assert_eq!(new["job"]["standard_output"], "o");
    }

    #[test]
    fn the_cpus_of_a_task_are_a_variable_of_the_job_as_with_sbatch() {
        let asked = JobDescription { options: JobOptions { cpus_per_task: Some(3), ..JobOptions::default() }, ..job("#!/bin/sh\n") };
        for job in [asked, job("#!/bin/sh\n#SBATCH -c 3\n")] {
            assert_eq!(sent(&job, "0.0.36")["job"]["environment"]["SLURM_CPUS_PER_TASK"], "3");
        }
    }

    #[test]
    fn the_lines_of_a_script_become_members_and_the_request_comes_first() {
        let script =
            "#!/bin/sh\n#SBATCH -J mine --time=1:30 -N2-4\n#SBATCH --mem 2G --array=0-2 # all\n#SBATCH -D/tmp -H\ntrue\n#SBATCH --qos=x\n";
        let job = JobDescription { name: Some("ours".to_owned()), ..job(script) };
        let sent = |version| sent(&job, version)["job"].clone();
        let new = sent("0.0.42");
        assert_eq!((&new["name"], &new["time_limit"], &new["nodes"]), (&json!("ours"), &json!(2), &json!("2-4")));
        assert_eq!((&new["memory_per_node"], &new["array"], &new["hold"]), (&json!(2048), &json!("0-2"), &json!(true)));
        assert_eq!((&new["current_working_directory"], &new["qos"]), (&json!("/home/jane"), &Value::Null));
        assert_eq!(sent("0.0.38")["nodes"], json!([2, 4]));
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        for line in ["--gres=gpu:1", "--exclusive", "-N all", "--mem=1X", "--time=UNLIMITED", "hetjob", "--time", "-n few"] {
            let job = job(&format!("#!/bin/sh\n#SBATCH {line}\n"));
            assert!(!is_possible(&job), "{line}");
            assert!(matches!(document(&principal(), &job, version("0.0.42")), Err(SchedulerError::Rejected(_))), "{line}");
        }
        assert!(is_possible(&job("#!/bin/sh\n#SBATCH -n 2\n#SBATCH --wait\n")));
    }

    #[test]
    fn a_path_of_a_script_is_not_supported_and_a_script_without_an_interpreter_is_refused() {
        let path = JobDescription { script: JobScript::Path(RemotePath::from_text("/home/jane/x").unwrap()), ..job("") };
        assert!(matches!(document(&principal(), &path, ApiVersion::NEWEST), Err(SchedulerError::Unsupported(_))));
        assert!(!is_possible(&path));
        assert!(matches!(document(&principal(), &job("true\n"), ApiVersion::NEWEST), Err(SchedulerError::Rejected(_))));
    }
}
