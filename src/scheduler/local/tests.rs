//! What `Local` decides before a host is asked, and the shell programs' use of what it sends.

use super::*;
use crate::ssh::RawOutput;

#[test]
fn a_printed_id_is_never_lost() {
    let submit = Submit {
        script: Vec::new(),
        parameters: CommandLine::new("set"),
        record: String::new(),
        environment: Vec::new(),
        queue_limit: 1,
        attempt: None,
    };
    let parse = |exit, stdout: &str| submit.parse(RawOutput { stdout: stdout.into(), exit, ..RawOutput::default() });
    for (exit, stdout) in [(0, "\ngoldcrest begin\nid 7\n"), (0, "\ngoldcrest begin\nid 7\nGood bye\n"), (3, "hi\ngoldcrest begin\nid 7\n")]
    {
        assert_eq!(parse(exit, stdout).unwrap().unwrap(), Attempt::Submitted(JobId::new("7").unwrap()), "{stdout:?}");
    }
    for stdout in ["", "\ngoldcrest begin\n", "\ngoldcrest begin\nid 7", "\ngoldcrest begin\nid \n", "id 7\n"] {
        assert!(parse(0, stdout).is_err(), "{stdout:?}");
    }
}

#[test]
fn only_plain_numbers_name_a_job() {
    for id in ["1", "42", "999999999999999999"] {
        assert!(known(&JobId::new(id).unwrap()).is_ok(), "{id}");
    }
    for id in ["0", "01", "1_2", "1.2", "1+0", "a", "1[2]", "9999999999999999999"] {
        assert!(matches!(known(&JobId::new(id).unwrap()), Err(SchedulerError::JobNotFound)), "{id}");
    }
}

#[test]
fn patterns_are_expanded_but_for_the_id() {
    assert_eq!(expand("%x-%j-%A-%u-%%-%z-%", "a/b%j", "ada"), "a_b%%j-%j-%j-ada-%%-%%z-%%");
}
