//! Jobs that the site has prepared.

use axum::http::Method;
use serde_json::json;

use super::Api;
use super::doubles::Reply;

const JOBS: &str = "/compute/daint/templates/prepared/jobs";

#[tokio::test]
async fn templates_are_listed_with_what_they_take() {
    let answer = Api::new(vec![], vec![]).get("/compute/daint/templates").await;
    let seconds = json!({"type": "integer", "description": "", "required": false, "default": 60, "minimum": 1, "maximum": 600});
    let expected = json!({"name": "prepared", "description": "A job of the site's.", "parameters": {"seconds": seconds}});
    assert_eq!((answer.status, answer.json()), (200, json!({"templates": [expected]})));
}

#[tokio::test]
async fn a_value_is_in_a_variable_and_not_in_the_script() {
    let expected = r##"alice: submit JobDescription { name: Some("prepared"), account: Some("g1"), reservation: None, partition: None, working_directory: "/home/alice", standard_input: None, standard_output: None, standard_error: None, environment: {"PARAM_SECONDS": "7"}, constraints: None, script: Inline("#!/bin/sh\nsleep \"$PARAM_SECONDS\"\n"), options: ..."##;
    let body = json!({"parameters": {"seconds": 7}, "account": "g1", "workingDirectory": "/home/alice"});
    let answer = Api::new(vec![(expected, Reply::Id("9"))], vec![]).call(Method::POST, JOBS, Some(body)).await;
    assert_eq!((answer.status, answer.json()), (201, json!({"jobId": "9"})));
}

#[tokio::test]
async fn what_the_template_does_not_take_is_refused_by_its_name() {
    for (body, name) in [
        (json!({"parameters": {"seconds": 601}, "workingDirectory": "/home/alice"}), "parameters.seconds"),
        (json!({"parameters": {"seconds": "7; rm -rf ~"}, "workingDirectory": "/home/alice"}), "parameters.seconds"),
        (json!({"parameters": {"second": 7}, "workingDirectory": "/home/alice"}), "parameters.second"),
        (json!({"parameters": {"seconds": 7}}), "workingDirectory"),
        (json!({"parameters": {}, "script": "#!/bin/sh\n"}), "script"),
    ] {
        let answer = Api::new(vec![], vec![]).call(Method::POST, JOBS, Some(body.clone())).await;
        assert_eq!((answer.status, &answer.json()["data"]["fields"][0]["name"]), (400, &json!(name)), "{body}");
    }
    let unknown = Api::new(vec![], vec![]).call(Method::POST, "/compute/daint/templates/none/jobs", Some(json!({}))).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["message"].as_str().unwrap().contains("Template not found"));
}
