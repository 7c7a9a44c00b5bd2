//! The cache in front of a provider, with certificates that are valid for seconds.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use goldcrest::credentials::{Cached, CallerKey, Credential, CredentialError, CredentialProvider};
use goldcrest::domain::{Principal, Secret};
use jiff::{SignedDuration, Timestamp};

use super::ada;
use crate::support::{PATIENCE, principal, wait_for, wait_until};

/// A scripted provider.
struct Provider(Arc<Told>);

/// What it is told, and what it has done.
#[derive(Default)]
struct Told {
    calls: AtomicUsize,
    /// How long a credential lasts; none for ever.
    life: Mutex<Option<Duration>>,
    /// How long a call takes.
    slow: Mutex<Duration>,
    fails: Mutex<bool>,
    panics: Mutex<bool>,
    tokens: Mutex<Vec<String>>,
}

#[async_trait]
impl CredentialProvider for Provider {
    async fn credential(&self, principal: &Principal) -> Result<Arc<Credential>, CredentialError> {
        let told = &self.0;
        let call = told.calls.fetch_add(1, SeqCst);
        told.tokens.lock().unwrap().push(principal.token.expose().to_owned());
        let slow = *told.slow.lock().unwrap();
        tokio::time::sleep(slow).await;
        assert!(!std::mem::take(&mut *told.panics.lock().unwrap()), "told to");
        if *told.fails.lock().unwrap() {
            return Err(CredentialError::Token { service: "test", user: principal.username.clone(), status: 401 });
        }
        let not_after = told.life.lock().unwrap().map(|life| Timestamp::now() + SignedDuration::try_from(life).unwrap());
        Ok(Arc::new(Credential {
            private_key: Secret::from(format!("key {call}")),
            passphrase: None,
            certificate: None,
            not_after,
            caller: Some(Arc::new(CallerKey::of(principal))),
        }))
    }

    fn needs_token(&self) -> bool {
        false
    }
}

fn cached(life: Option<Duration>) -> (Arc<Told>, Cached<Provider>) {
    let told = Arc::new(Told::default());
    *told.life.lock().unwrap() = life;
    (Arc::clone(&told), Cached::new(Provider(told)))
}

#[tokio::test]
async fn the_same_credential_is_given_by_the_same_address() {
    let (told, cached) = cached(Some(Duration::from_secs(60)));
    let first = cached.credential(&ada()).await.unwrap();
    for _ in 0..10 {
        assert!(Arc::ptr_eq(&first, &cached.credential(&ada()).await.unwrap()));
    }
    assert_eq!(told.calls.load(SeqCst), 1);
}

#[tokio::test]
async fn nobody_is_given_what_was_obtained_with_the_token_of_another() {
    let (told, cached) = cached(None);
    let person = Principal { token: Secret::from("one".to_owned()), ..ada() };
    let portal = Principal { client_id: Some("portal".to_owned()), token: Secret::from("two".to_owned()), ..ada() };
    let namesake = Principal { subject: "another".to_owned(), token: Secret::from("three".to_owned()), ..ada() };
    let stranger = Principal { token: Secret::from("four".to_owned()), ..principal("bob") };
    let mut seen = Vec::new();
    for caller in [&person, &portal, &namesake, &stranger] {
        seen.push(cached.credential(caller).await.unwrap());
    }
    assert_eq!(*told.tokens.lock().unwrap(), ["one", "two", "three", "four"]);
    for (caller, credential) in [&person, &portal, &namesake, &stranger].into_iter().zip(&seen) {
        assert!(Arc::ptr_eq(credential, &cached.credential(caller).await.unwrap()));
        assert_eq!(*credential.caller.clone().unwrap(), CallerKey::of(caller));
    }
    assert_eq!(told.calls.load(SeqCst), 4);
}

#[tokio::test]
async fn those_who_come_at_once_wait_for_one_answer_good_or_bad() {
    let (told, cached) = cached(None);
    *told.slow.lock().unwrap() = Duration::from_millis(100);
    *told.fails.lock().unwrap() = true;
    let ask = || futures::future::join_all((0..50).map(|_| async { cached.credential(&ada()).await }));
    assert!(ask().await.iter().all(|outcome| matches!(outcome, Err(CredentialError::Token { status: 401, .. }))));
    assert_eq!(told.calls.load(SeqCst), 1);
    *told.fails.lock().unwrap() = false;
    let all = ask().await;
    assert!(all.iter().all(|outcome| Arc::ptr_eq(outcome.as_ref().unwrap(), all[0].as_ref().unwrap())));
    assert_eq!(told.calls.load(SeqCst), 2, "a failure is told to those who waited, and not kept");
}

#[tokio::test]
async fn one_caller_who_leaves_or_fails_takes_nothing_from_the_others() {
    let (told, cached) = cached(None);
    *told.slow.lock().unwrap() = Duration::from_millis(200);
    let impatient = tokio::time::timeout(Duration::from_millis(20), cached.credential(&ada())).await;
    assert!(impatient.is_err());
    cached.credential(&ada()).await.unwrap();
    assert_eq!(told.calls.load(SeqCst), 1, "the call went on");

    *told.panics.lock().unwrap() = true;
    assert!(matches!(cached.credential(&principal("bob")).await, Err(CredentialError::Interrupted)));
    assert!(cached.credential(&principal("bob")).await.is_ok(), "after a panic it is asked anew");
}

#[tokio::test]
async fn the_next_credential_is_there_before_the_end_and_nobody_waits_for_it() {
    // A machine that stands still in the last moments of a credential proves nothing: that is another try.
    for _ in 0..5 {
        if renewals_are_waited_for_by_nobody().await {
            return;
        }
    }
    panic!("the machine stood still each time");
}

/// Fails where a request has to wait although its credential has not ended; false where there was none to hand out.
async fn renewals_are_waited_for_by_nobody() -> bool {
    let (told, cached) = cached(Some(Duration::from_secs(3)));
    let mut seen = vec![cached.credential(&ada()).await.unwrap()];
    *told.slow.lock().unwrap() = Duration::from_millis(500);
    while seen.len() < 3 {
        let answer = cached.credential(&ada()).now_or_never();
        // A tenth of its life before its end it is given up.
        let has_ended = seen.last().unwrap().not_after.unwrap() - SignedDuration::from_millis(300) <= Timestamp::now();
        match answer.transpose().unwrap() {
            Some(credential) if !Arc::ptr_eq(seen.last().unwrap(), &credential) => seen.push(credential),
            Some(_) if !has_ended => {}
            Some(_) | None if has_ended => return false,
            _ => panic!("a request waits for a renewal although there is a credential"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let calls = told.calls.load(SeqCst);
    assert!((3..=4).contains(&calls), "{calls} calls for 3 credentials");
    true
}

#[tokio::test]
async fn while_the_service_is_down_the_old_credential_serves_until_its_end_and_no_longer() {
    let (told, cached) = cached(Some(Duration::from_secs(3)));
    let first = cached.credential(&ada()).await.unwrap();
    *told.fails.lock().unwrap() = true;
    let mut served = 0;
    wait_until(PATIENCE, async || match cached.credential(&ada()).await {
        Ok(credential) => {
            assert!(Arc::ptr_eq(&first, &credential));
            assert!(credential.not_after.unwrap() > Timestamp::now());
            served += 1;
            false
        }
        Err(CredentialError::Token { .. }) => true,
        Err(other) => panic!("{other}"),
    })
    .await;
    assert!(served > 10);
    let calls = told.calls.load(SeqCst);
    assert!((3..=7).contains(&calls), "{calls} calls: it is tried again, and not at each request");
    *told.fails.lock().unwrap() = false;
    cached.credential(&ada()).await.unwrap();
}

#[tokio::test]
async fn a_renewal_that_failed_is_made_good_in_time() {
    let (told, cached) = cached(Some(Duration::from_secs(3)));
    let first = cached.credential(&ada()).await.unwrap();
    *told.fails.lock().unwrap() = true;
    wait_until(PATIENCE, async || {
        cached.credential(&ada()).await.unwrap();
        told.calls.load(SeqCst) == 2
    })
    .await;
    *told.fails.lock().unwrap() = false;
    wait_until(PATIENCE, async || !Arc::ptr_eq(&first, &cached.credential(&ada()).await.unwrap())).await;
    assert!(first.not_after.unwrap() > Timestamp::now());
    wait_for(PATIENCE, || told.calls.load(SeqCst) == 3).await;
}
