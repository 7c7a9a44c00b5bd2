//! Several questions at once.

use super::*;

#[tokio::test]
async fn several_systems_are_one_question_and_answers_find_theirs_by_id() {
    let service = Service::start(|seen| batch(seen, &["system:b", "system:d"])).await;
    let mut configured = config(&service.url);
    configured.authorization_model_id = Some("01MODEL".to_owned());
    configured.cache_ttl = 60;
    let fga = open_fga(configured);
    let rulings = check_all(&fga, &principal("ann"), &["a", "b", "c", "d"]).await.unwrap();
    assert_eq!(allowed(&rulings), ["system:b", "system:d"]);
    let request = service.seen()[0].json();
    assert_eq!(service.seen()[0].uri.path(), "/stores/01STORE/batch-check");
    assert_eq!(request["authorization_model_id"], "01MODEL");
    assert_eq!(request["checks"][1]["tuple_key"], json!({"user": "user:ann", "relation": "access", "object": "system:b"}));

    // What is remembered is not asked again, and the order stays.
    let rulings = check_all(&fga, &principal("ann"), &["d", "c", "b", "a"]).await.unwrap();
    assert_eq!(
        rulings.iter().map(|ruling| ruling.basis.object.as_str()).collect::<Vec<_>>(),
        ["system:d", "system:c", "system:b", "system:a"]
    );
    assert_eq!(rulings.iter().map(|ruling| ruling.basis.cached).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!(service.seen()[1].json()["checks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn no_batch_is_larger_than_a_server_takes() {
    let service = Service::start(|seen| {
        assert!(seen.json()["checks"].as_array().unwrap().len() <= 50);
        batch(seen, &["system:s7", "system:s113"])
    })
    .await;
    let names: Vec<String> = (0..120).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rulings = check_all(&open_fga(config(&service.url)), &principal("ann"), &names).await.unwrap();
    assert_eq!((rulings.len(), allowed(&rulings)), (120, vec!["system:s7", "system:s113"]));
    assert_eq!(counts(&service), (0, 3));
}

#[tokio::test]
async fn a_server_that_knows_no_batches_is_asked_one_by_one_from_then_on() {
    let unknown = [(404, r#"{"code": "undefined_endpoint", "message": "Not Found"}"#), (404, "404 page not found"), (405, ""), (501, "{}")];
    for (status, body) in unknown {
        let service = Service::start(move |seen| match seen.uri.path() {
            "/stores/01STORE/check" => allows(seen.json()["tuple_key"]["object"] == "system:b"),
            _ => Reply::status(status, body),
        })
        .await;
        let fga = open_fga(config(&service.url));
        for _ in 0..2 {
            assert_eq!(allowed(&check_all(&fga, &principal("ann"), &["a", "b", "c"]).await.unwrap()), ["system:b"]);
        }
        // Three checks, then two: one permission is remembered.
        assert_eq!(counts(&service), (5, 1), "{status} {body}");
    }
}

#[tokio::test]
async fn a_batch_that_is_refused_is_tried_as_checks_and_batches_go_on() {
    let service = Service::start(|seen| match seen.uri.path() {
        "/stores/01STORE/check" => allows(true),
        _ => Reply::status(400, r#"{"code": "validation_error", "message": "the maximum allowed is 2"}"#),
    })
    .await;
    let mut configured = config(&service.url);
    configured.cache_ttl = 0;
    let fga = open_fga(configured);
    for _ in 0..2 {
        assert_eq!(allowed(&check_all(&fga, &principal("ann"), &["a", "b", "c"]).await.unwrap()).len(), 3);
    }
    assert_eq!(counts(&service), (6, 2));
}

#[tokio::test]
async fn a_batch_without_every_answer_fails_closed() {
    let answers: Vec<Value> = vec![
        json!({"result": {"0": {"allowed": true}}}),
        json!({"result": {"0": {"allowed": true}, "1": {"error": {"input_error": "relation_not_found", "message": "hunter2"}}}}),
        json!({"result": {"0": {"allowed": true}, "1": {"allowed": true, "error": {"message": "hunter2"}}}}),
        json!({"result": {"0": {"allowed": true}, "1": {}}}),
        json!({"result": {"0": {"allowed": true}, "1": {"allowed": "true"}}}),
        json!({"result": []}),
        json!({"result": {"0": {"allowed": true}, "1": [true, null]}}),
        json!([{"0": {"allowed": true}, "1": {"allowed": true}}]),
        json!({"allowed": true}),
    ];
    for answer in answers {
        let service = Service::start(move |_| Reply::json(&answer)).await;
        let error = check_all(&open_fga(config(&service.url)), &principal("ann"), &["a", "b"]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(!format!("{} {error:?}", ErrorChain(&error)).contains("hunter2"));
    }
    for (status, body, after) in
        [(500, r#"{"result": {}}"#, 0), (403, "", 0), (429, "", 0), (200, "<html>", 0), (200, r#"{"result": {}}"#, 5)]
    {
        let service = Service::start(move |_| Reply::status(status, body).after(Duration::from_secs(after))).await;
        let error = check_all(&open_fga(config(&service.url)), &principal("ann"), &["a", "b"]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{status} {body}");
        assert_eq!(counts(&service), (0, 1), "it is not asked one by one");
    }
}
