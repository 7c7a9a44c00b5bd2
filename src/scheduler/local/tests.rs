//! What `Local` decides before a host is asked, and the shell programs' use of what it sends.

use super::*;

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
