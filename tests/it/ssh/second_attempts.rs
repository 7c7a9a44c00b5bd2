//! Commands whose connection breaks: which are sent again, and what is said if that fails.

use std::sync::atomic::Ordering::SeqCst;

use goldcrest::error::Classify;
use goldcrest::ssh::{Exec, TransportError};

use super::double::{Behaviour, Double};
use super::{exec, run, to};

fn idempotent(name: &'static str) -> Exec {
    Exec { idempotent: true, ..run(name) }
}

#[tokio::test]
async fn a_command_that_may_have_run_is_not_sent_again_unless_it_may_run_twice() {
    let double = Double::start(Behaviour::default()).await;
    let lanes = to(&double);
    assert!(matches!(exec(&lanes, "ada", run("cut")).await, Err(TransportError::Broken { sent: true })));
    assert_eq!(double.record.commands.load(SeqCst), 1);
    assert!(matches!(exec(&lanes, "ada", idempotent("cut")).await, Err(TransportError::Broken { sent: true })));
    assert_eq!(double.record.commands.load(SeqCst), 3, "one more try, and no more");
    assert!(matches!(exec(&lanes, "ada", idempotent("half")).await, Err(TransportError::Broken { sent: true })));
    assert_eq!(double.record.commands.load(SeqCst), 4, "it had begun to answer");
}

#[tokio::test]
async fn a_second_attempt_that_cannot_be_made_does_not_say_that_nothing_happened() {
    let double = Double::start(Behaviour { accept_logins: Some(1), ..Behaviour::default() }).await;
    let lanes = to(&double);
    let error = exec(&lanes, "ada", idempotent("cut")).await.unwrap_err();
    assert_eq!(double.record.commands.load(SeqCst), 1);
    assert_eq!(error.maybe_effected(), Some(true), "{error:?}");
    // Nothing of this one was sent.
    let error = exec(&lanes, "ada", idempotent("cut")).await.unwrap_err();
    assert_eq!(error.maybe_effected(), Some(false), "{error:?}");
}
