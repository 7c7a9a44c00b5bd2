//! Commands on the login node, of those that the site allows.
//!
//! A command is a list of words, never a line for a shell: each word is quoted, and compared with the word of a pattern at its place.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::audit::Change;
use super::counts::Action;
use super::limits::UserPermit;
use super::text::{MAX_ARGUMENT_BYTES, pattern_error, whole_match};
use super::{Access, InvalidRequest, ServiceError};
use crate::cluster::{Cluster, Commands, NO_LOGIN};
use crate::domain::excerpt;
use crate::ssh::{CommandLimits, CommandLine, CommandOutput, Environment, Exec, OutputStream, TransportError};

/// Why a system runs no commands.
const NONE_ALLOWED: &str = "This system runs no commands on its login node: `clusters[].commands` allows none";

/// The maximum number of words of a command.
const MAX_WORDS: usize = 256;

/// The maximum number of patterns that a refusal names, and of the characters of each.
const MAX_NAMED: usize = 20;
const MAX_PATTERN: usize = 120;

/// How long after the time limit the end is awaited, in seconds. The login takes its time too.
const END_MARGIN_SECONDS: u64 = 10;

/// The shell's function that runs a command with its time limit.
const RUN: &str = concat!(include_str!("commands.sh"), "goldcrest_run");

/// A command to run for a caller.
#[derive(Clone, Debug, Default)]
pub struct CommandRequest {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The standard input of the command.
    pub stdin: Option<String>,
    /// The time limit in seconds; the system's limit if absent.
    pub time_limit: Option<u64>,
}

/// The output of a command, and its exit status as the last piece. Dropping it ends the command.
pub type RunningCommand = BoxStream<'static, Result<CommandOutput, ServiceError>>;

/// The commands of a system, or the reason why it runs none.
///
/// # Errors
/// The reason.
pub fn support(cluster: &Cluster) -> Result<&Commands, &'static str> {
    if cluster.config().ssh.is_none() {
        return Err(NO_LOGIN);
    }
    cluster.config().commands.as_ref().ok_or(NONE_ALLOWED)
}

/// The commands that the system offers.
///
/// # Errors
/// If it offers none.
pub fn offered(access: &Access) -> Result<&Commands, ServiceError> {
    support(access.cluster()).map_err(ServiceError::Unsupported)
}

/// Runs a command as the caller.
///
/// # Errors
/// If no pattern of the system allows it, it breaks a rule, the caller has reached the limit, or it could not be started.
pub async fn run(access: &Access, request: CommandRequest) -> Result<RunningCommand, ServiceError> {
    let program = request.argv.first().map(|program| excerpt(program, MAX_PATTERN)).unwrap_or_default();
    let arguments = request.argv.len().saturating_sub(1);
    let change = Change::begin(access, Action::CommandsRun, format!("{program} with {arguments} arguments"));
    match start(access, request).await {
        Ok((output, permit)) => Ok(watched(output, change, permit)),
        Err(error) => change.end(Err(error)),
    }
}

async fn start(access: &Access, request: CommandRequest) -> Result<(OutputStream, UserPermit), ServiceError> {
    let commands = offered(access)?;
    let seconds = check(&request, commands)?;
    let permit = permit(access, commands.max_per_user)?;
    access.cluster().files()?;
    let exec = Exec {
        line: line(&request.argv, seconds),
        stdin: Bytes::from(request.stdin.unwrap_or_default()),
        idempotent: false,
        limits: Some(CommandLimits { execution: Duration::from_secs(seconds + END_MARGIN_SECONDS), output: commands.max_output }),
        environment: Environment::Login,
    };
    let transport = &access.cluster().files_without_health_check()?.transport;
    Ok((transport.run_streamed(access.principal(), exec).await.map_err(stopped)?, permit))
}

/// The program that runs a command.
fn line(argv: &[String], seconds: u64) -> CommandLine {
    argv.iter().fold(CommandLine::new(RUN).number(seconds), CommandLine::arg)
}

/// Its time limit in seconds.
fn check(request: &CommandRequest, commands: &Commands) -> Result<u64, ServiceError> {
    let wrong = |name, message: String| Err(InvalidRequest::new(name, message).into());
    let CommandRequest { argv, stdin, time_limit } = request;
    if argv.is_empty() || argv.len() > MAX_WORDS {
        return wrong("command", format!("it should be the program and its arguments, 1 to {MAX_WORDS} words"));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return wrong("command", "it holds a NUL character".to_owned());
    }
    if argv.iter().map(|word| word.len() + 1).sum::<usize>() > MAX_ARGUMENT_BYTES {
        return wrong("command", format!("it is longer than {MAX_ARGUMENT_BYTES} bytes"));
    }
    if stdin.as_ref().is_some_and(|stdin| stdin.len() > commands.max_input) {
        let message = format!("`stdin` is longer than {} bytes, the limit of this system (commands.max_input)", commands.max_input);
        return Err(ServiceError::TooMuch(message.into()));
    }
    let seconds = time_limit.unwrap_or(commands.time_limit);
    if !(1..=commands.time_limit).contains(&seconds) {
        return wrong("time_limit", format!("it should be from 1 to {} seconds", commands.time_limit));
    }
    if !commands.allow.iter().any(|pattern| allows(pattern, argv)) {
        return Err(ServiceError::Forbidden(refusal(&commands.allow)));
    }
    Ok(seconds)
}

fn permit(access: &Access, max_per_user: u64) -> Result<UserPermit, ServiceError> {
    let limit = access.state().limits.commands.with_bound(max_per_user);
    limit.take(&access.principal().username, 1).ok_or_else(|| {
        let message = format!(
            "your commands under way are {max_per_user}, the limit of one user (commands.max_per_user): wait for one of them to end"
        );
        ServiceError::TooMany(message.into())
    })
}

/// The output, with its audit line at the end.
fn watched(output: OutputStream, change: Change, permit: UserPermit) -> RunningCommand {
    let state = Some((output, change, permit));
    let pieces = stream::unfold(state, |state| async move {
        let (mut output, change, permit) = state?;
        match output.next().await {
            Some(Ok(CommandOutput::Exit(exit))) => {
                // A command that failed did run.
                let ended: Result<_, ServiceError> = change.end(Ok(CommandOutput::Exit(exit)));
                Some((ended, None))
            }
            Some(Ok(piece)) => Some((Ok(piece), Some((output, change, permit)))),
            Some(Err(error)) => Some((change.end(Err(stopped(error))), None)),
            None => Some((change.end(Err(TransportError::Broken { sent: true }.into())), None)),
        }
    });
    pieces.boxed()
}

fn stopped(error: TransportError) -> ServiceError {
    match error {
        TransportError::Output(limit) => {
            let message =
                format!("the command printed more than {limit} bytes, the limit of this system (commands.max_output), and was ended");
            ServiceError::TooMuch(message.into())
        }
        error => error.into(),
    }
}

/// A word of a pattern.
enum Word<'a> {
    Exact(&'a str),
    Matching(&'a str),
    /// Any number of words that each match.
    Rest(&'a str),
}

impl<'a> Word<'a> {
    fn read(text: &'a str) -> Self {
        match (text.strip_prefix("~*"), text.strip_prefix('~')) {
            (Some(pattern), _) => Self::Rest(pattern),
            (None, Some(pattern)) => Self::Matching(pattern),
            (None, None) => Self::Exact(text),
        }
    }

    fn pattern(&self) -> Option<&'a str> {
        match self {
            Self::Exact(_) => None,
            Self::Matching(pattern) | Self::Rest(pattern) => Some(pattern),
        }
    }
}

/// Whether a pattern allows a command. An invalid pattern allows nothing.
fn allows(pattern: &[String], argv: &[String]) -> bool {
    let mut words = argv.iter();
    for word in pattern {
        let matches = match Word::read(word) {
            Word::Exact(exact) => words.next().is_some_and(|word| word == exact),
            Word::Matching(pattern) => words.next().is_some_and(|word| whole_match(pattern).is_ok_and(|regex| regex.is_match(word))),
            Word::Rest(pattern) => whole_match(pattern).is_ok_and(|regex| words.by_ref().all(|word| regex.is_match(word))),
        };
        if !matches {
            return false;
        }
    }
    words.next().is_none()
}

/// The message that lists the allowed commands.
fn refusal(patterns: &[Vec<String>]) -> String {
    let named: Vec<String> =
        patterns.iter().take(MAX_NAMED).map(|pattern| format!("`{}`", excerpt(&pattern.join(" "), MAX_PATTERN))).collect();
    let more = if patterns.len() > MAX_NAMED { ", and others" } else { "" };
    format!("this command is not among those that the system allows: {}{more} (`~` stands for a regular expression)", named.join(", "))
}

/// The errors in the `commands` of a cluster: the place in the section and the reason.
pub fn mistakes(commands: &Commands) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |place: String, message: String| found.push((place, message));
    if commands.allow.is_empty() {
        add("allow".to_owned(), "must hold a pattern: without any, no command could be run".to_owned());
    }
    for (index, pattern) in commands.allow.iter().enumerate() {
        match pattern.first() {
            None => add(format!("allow[{index}]"), "must have the name of a program as its first word".to_owned()),
            Some(program) if program.is_empty() || program.starts_with(['~', '-']) => {
                add(
                    format!("allow[{index}][0]"),
                    "must be the name of a program as it stands, not a regular expression nor an option".to_owned(),
                );
            }
            Some(_) => {}
        }
        for (at, word) in pattern.iter().map(|word| Word::read(word)).enumerate() {
            let place = || format!("allow[{index}][{at}]");
            if let Some(error) = word.pattern().and_then(pattern_error) {
                add(place(), format!("must be a regular expression behind `~` or `~*`: {error}"));
            }
            if matches!(word, Word::Rest(_)) && at + 1 < pattern.len() {
                add(place(), "must be the last word of its pattern, as every word that begins with `~*`".to_owned());
            }
        }
    }
    for (key, is_wrong, allowed) in [
        ("time_limit", !(1..=3600).contains(&commands.time_limit), "from 1 to 3600"),
        ("max_output", commands.max_output == 0, "at least 1"),
        ("max_per_user", commands.max_per_user == 0, "at least 1"),
    ] {
        if is_wrong {
            add(key.to_owned(), format!("must be {allowed}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use serde_json::{Value, json};

    use super::*;

    fn commands(allow: &Value) -> Commands {
        serde_json::from_value(json!({"allow": allow})).unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_command_is_allowed_by_a_pattern_that_matches_all_of_its_words() {
        let patterns = commands(&json!([["squeue", "--me"], ["lfs", "quota", "-u", "~[a-z0-9]+"], ["ls", "~*[^-].*|--"], ["id", "~"],]));
        for (argv, allowed) in [
            (&["squeue", "--me"][..], true),
            (&["squeue"], false),
            (&["squeue", "--me", "--all"], false),
            (&["lfs", "quota", "-u", "ada"], true),
            (&["lfs", "quota", "-u", "ada;id"], false),
            (&["lfs", "quota", "-u", "ada\n"], false),
            (&["lfs", "quota", "-u"], false),
            (&["ls"], true),
            (&["ls", "/home", "$(id)"], true),
            (&["ls", "-l"], false),
            (&["ls", "--", "a"], true),
            (&["id", ""], true),
            (&["id", "x"], false),
            (&["sh", "-c", "squeue --me"], false),
            (&["squeue --me"], false),
            (&[""], false),
        ] {
            let argv = words(argv);
            assert_eq!(patterns.allow.iter().any(|pattern| allows(pattern, &argv)), allowed, "{argv:?}");
        }
    }

    #[test]
    fn no_word_reaches_a_shell_unquoted() {
        let line = line(&words(&["ls", "$(id)", "it's", "a b", ""]), 7).to_string();
        assert!(line.ends_with("\n}\ngoldcrest_run 7 'ls' '$(id)' 'it'\\''s' 'a b' ''"), "{line}");
    }

    /// Runs a command with `/bin/sh`; returns its exit status, its output and how long its streams were open.
    fn run(seconds: u64, argv: &[&str]) -> (Option<i32>, String, Duration) {
        let began = std::time::Instant::now();
        let mut program = std::process::Command::new("/bin/sh");
        program.arg("-c").arg(std::ffi::OsStr::from_bytes(line(&words(argv), seconds).as_bytes()));
        let output = program.stdin(std::process::Stdio::null()).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(printed).unwrap(), began.elapsed())
    }

    #[test]
    fn at_the_limit_all_processes_of_a_command_end_and_its_status_is_124() {
        for script in [
            "echo begun; sleep 40",
            "echo begun; sleep 40 & wait",
            "trap '' TERM; echo begun; sleep 40; sleep 40",
            // A child that goes on without its parent.
            "(trap '' TERM; sleep 40; sleep 40) & echo begun; sleep 40",
        ] {
            let (exit, printed, time) = run(1, &["sh", "-c", script]);
            assert_eq!((exit, printed.as_str()), (Some(124), "begun\n"), "{script}");
            assert!((1..20).contains(&time.as_secs()), "{script}: {time:?}");
        }
        let (exit, _, time) = run(2, &["sh", "-c", "sleep 40 & exit 3"]);
        assert!(exit == Some(3) && time < Duration::from_secs(20), "the output of a child is awaited until the limit: {exit:?}, {time:?}");
    }

    #[test]
    fn a_command_that_ends_in_time_has_its_own_status() {
        for (argv, status) in [
            (&["sh", "-c", "exit 7"][..], 7),
            (&["sh", "-c", "kill -9 $$"], 137),
            (&["sh", "-c", "kill $$"], 143),
            (&["cat"], 0),
            (&["/nonexistent"], 127),
        ] {
            let (exit, printed, time) = run(20, argv);
            assert_eq!(exit, Some(status), "{argv:?}");
            assert!(time < Duration::from_secs(10) && (status == 127 || printed.is_empty()), "{argv:?}: {printed}");
        }
    }

    #[test]
    fn mistakes_are_found_with_their_places() {
        assert_eq!(mistakes(&commands(&json!([["ls", "~*.*"], ["id"]]))), []);
        let wrong = json!({
            "allow": [[], ["~ls"], ["ls", "~("], ["ls", "~*a", "b"], [""], ["-x"]], "time_limit": 0, "max_output": 0, "max_per_user": 0,
        });
        let found = mistakes(&serde_json::from_value(wrong).unwrap());
        let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
        let expected = [
            "allow[0]",
            "allow[1][0]",
            "allow[2][1]",
            "allow[3][1]",
            "allow[4][0]",
            "allow[5][0]",
            "time_limit",
            "max_output",
            "max_per_user",
        ];
        assert_eq!(places, expected);
        assert_eq!(mistakes(&commands(&json!([])))[0].0, "allow");
    }
}
