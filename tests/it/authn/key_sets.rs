//! The keys of identity providers: which is used, and how sets are read anew.

use super::*;

#[tokio::test]
async fn without_a_key_id_only_a_single_key_is_tried() {
    let (one, two) = (Key::es256("k1"), Key::es256("k2"));
    let header = Header { kid: None, ..one.header(Algorithm::ES256) };
    let token = one.sign_with(&header, &claims(json!({})));
    let (_service, authenticator) = with_set(set(&[&one.jwk])).await;
    authenticator.authenticate(&token).await.unwrap();
    let (_service, authenticator) = with_set(set(&[&one.jwk, &two.jwk])).await;
    assert_eq!(refusal(&authenticator, &token).await, "the access token is not valid: no known key signed it");
}

#[tokio::test]
async fn one_bad_key_does_not_void_the_set() {
    let key = Key::es256("k1");
    let bad = json!({"kty": "RSA", "kid": "k1", "n": [1], "e": "AQAB"});
    let (_service, authenticator) = with_set(set(&[&bad, &json!(null), &key.jwk, &json!({"kty": "oct", "k": "AAAA"})])).await;
    authenticator.authenticate(&key.sign(&claims(json!({})))).await.unwrap();
}

#[tokio::test]
async fn an_unknown_key_makes_the_set_be_read_once() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let served = Arc::new(Mutex::new(set(&[&old.jwk])));
    let shown = Arc::clone(&served);
    let service = Service::start(move |_| Reply::json(&shown.lock().unwrap()).after(Duration::from_millis(50))).await;
    let authenticator = authenticator(config(&service.url));
    authenticator.authenticate(&old.sign(&claims(json!({})))).await.unwrap();
    assert_eq!(service.seen().len(), 1);

    // The key is replaced. Many come with the new one at once: they share one reading, and all pass.
    *served.lock().unwrap() = set(&[&new.jwk]);
    let tokens: Vec<Secret> = (0..20).map(|number| new.sign(&claims(json!({"jti": number})))).collect();
    let results = futures::future::join_all(tokens.iter().map(|token| authenticator.authenticate(token))).await;
    assert!(results.into_iter().all(|result| result.is_ok()));
    assert_eq!(service.seen().len(), 2);

    // Made-up keys, however many come, do not make it be read more often than every two seconds.
    let made_up = Key::es256("made-up");
    let tokens: Vec<Secret> = (0..20).map(|number| made_up.sign(&claims(json!({"jti": number})))).collect();
    let messages = futures::future::join_all(tokens.iter().map(|token| refusal(&authenticator, token))).await;
    for message in messages {
        assert_eq!(message, "the access token is not valid: no known key signed it");
    }
    assert_eq!(service.seen().len(), 3);

    // A token that would not hold whoever signed it asks for nothing.
    refusal(&authenticator, &made_up.sign(&claims(json!({"aud": "another"})))).await;
    assert_eq!(service.seen().len(), 3);
}

#[tokio::test]
async fn nobody_can_make_a_key_that_was_just_brought_in_be_refused() {
    let old = Key::es256("old");
    let served = Arc::new(Mutex::new(set(&[&old.jwk])));
    let shown = Arc::clone(&served);
    let service = Service::start(move |_| Reply::json(&shown.lock().unwrap())).await;
    let authenticator = authenticator(config(&service.url));
    authenticator.authenticate(&old.sign(&claims(json!({})))).await.unwrap();

    // Somebody keeps sending tokens with made-up keys, the name of the key to come among them.
    let stop = CancellationToken::new();
    let forger = tokio::spawn({
        let (stop, authenticator) = (stop.clone(), Arc::clone(&authenticator));
        async move {
            let forged = Key::es256("new");
            let mut number = 0;
            while !stop.is_cancelled() {
                number += 1;
                let token = forged.sign(&claims(json!({"jti": format!("forged {number}")})));
                let _ = tokio::time::timeout(Duration::from_millis(20), authenticator.authenticate(&token)).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for round in 0..3 {
        let next = Key::es256(["new", "newer", "newest"][round]);
        *served.lock().unwrap() = set(&[&old.jwk, &next.jwk]);
        let outcomes = (0..10).map(|number| next.sign(&claims(json!({"jti": number}))));
        let tokens: Vec<Secret> = outcomes.collect();
        for outcome in futures::future::join_all(tokens.iter().map(|token| authenticator.authenticate(token))).await {
            outcome.unwrap();
        }
    }
    stop.cancel();
    forger.await.unwrap();
    assert!(service.seen().len() < 10, "{} readings", service.seen().len());
}

#[tokio::test]
async fn a_removed_key_voids_the_tokens_that_were_remembered() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let served = Arc::new(Mutex::new(set(&[&old.jwk])));
    let shown = Arc::clone(&served);
    let service = Service::start(move |_| Reply::json(&shown.lock().unwrap())).await;
    let authenticator = authenticator(config(&service.url));
    let token = old.sign(&claims(json!({})));
    authenticator.authenticate(&token).await.unwrap();
    *served.lock().unwrap() = set(&[&new.jwk]);
    authenticator.authenticate(&new.sign(&claims(json!({})))).await.unwrap();
    refusal(&authenticator, &token).await;
}

#[tokio::test]
async fn keys_are_renewed_in_the_background_and_kept_through_an_outage() {
    let (old, new) = (Key::es256("old"), Key::es256("new"));
    let served = Arc::new(Mutex::new(set(&[&old.jwk])));
    let down = Arc::new(AtomicBool::new(false));
    let (shown, broken) = (Arc::clone(&served), Arc::clone(&down));
    let service = Service::start(move |_| match broken.load(Ordering::SeqCst) {
        true => Reply::status(500, "out of order"),
        false => Reply::json(&shown.lock().unwrap()),
    })
    .await;
    let mut configured = config(&service.url);
    configured.public_certs_refresh = 1;
    let authenticator = authenticator(configured);
    let cancelled = CancellationToken::new();
    let task = tokio::spawn(Arc::clone(&authenticator).run(cancelled.clone()));

    let token = old.sign(&claims(json!({})));
    authenticator.authenticate(&token).await.unwrap();
    *served.lock().unwrap() = set(&[&new.jwk]);
    // The remembered token stops holding with its key, although nobody showed an unknown one.
    wait_until(PATIENCE, async || authenticator.authenticate(&token).await.is_err()).await;

    down.store(true, Ordering::SeqCst);
    let before = service.seen().len();
    wait_until(PATIENCE, async || service.seen().len() >= before + 3).await;
    authenticator.authenticate(&new.sign(&claims(json!({"jti": "during the outage"})))).await.unwrap();

    // A key that nobody knows may be a new one: that cannot be told now, so it is no 401.
    let newer = Key::es256("newer").sign(&claims(json!({})));
    assert_eq!(authenticator.authenticate(&newer).await.unwrap_err().kind(), Kind::Unavailable);

    cancelled.cancel();
    tokio::time::timeout(Duration::from_secs(5), task).await.expect("the task ends when cancelled").unwrap();
}

#[tokio::test]
async fn without_any_key_tokens_are_neither_accepted_nor_refused() {
    let key = Key::es256("k1");
    let token = key.sign(&claims(json!({})));
    let oversized = json!({"keys": [key.jwk], "padding": "x".repeat(300 * 1024)}).to_string();
    for reply in [(500, String::new()), (200, "<html>".to_owned()), (302, String::new()), (200, oversized)] {
        let service = Service::start(move |_| Reply::status(reply.0, reply.1.clone())).await;
        let error = authenticator(config(&service.url)).authenticate(&token).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{}", ErrorChain(&error));
        assert!(error.public_message().contains(&format!("{}/certs", service.url)), "{}", error.public_message());
        assert!(!format!("{error:?} {}", error.public_message()).contains("<html>"));
    }
}

#[tokio::test]
async fn the_keys_of_several_sources_are_used_and_one_may_be_down() {
    let (web, file) = (Key::es256("web"), Key::es256("file"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("certs.json");
    std::fs::write(&path, set(&[&file.jwk]).to_string()).unwrap();
    let service = {
        let jwk = set(&[&web.jwk]);
        Service::start(move |_| Reply::json(&jwk)).await
    };
    let mut configured = config(&service.url);
    configured.public_certs.push("http://127.0.0.1:1/certs".to_owned());
    configured.public_certs.push(format!("file://{}", path.display()));
    let authenticator = authenticator(configured);
    authenticator.authenticate(&web.sign(&claims(json!({})))).await.unwrap();
    authenticator.authenticate(&file.sign(&claims(json!({})))).await.unwrap();
}

#[tokio::test]
async fn a_remembered_token_still_ends_in_time() {
    let key = Key::es256("k1");
    let (service, _) = with_set(set(&[&key.jwk])).await;
    let mut configured = config(&service.url);
    (configured.min_token_ttl, configured.leeway) = (0, 0);
    let authenticator = authenticator(configured);
    let token = key.sign(&claims(json!({"exp": now() + 2})));
    authenticator.authenticate(&token).await.unwrap();
    wait_until(PATIENCE, async || authenticator.authenticate(&token).await.is_err()).await;
    assert_eq!(refusal(&authenticator, &token).await, "the access token is not valid: it has expired");
}

#[test]
fn an_authenticator_without_a_key_set_is_not_made() {
    let mut configured = config("http://127.0.0.1:1");
    configured.public_certs.clear();
    assert!(matches!(JwtAuthenticator::new(configured, Client::new().unwrap()), Err(SetupError::NoKeySet)));
}
