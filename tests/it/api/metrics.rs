//! The metrics of the API: the series of a scrape, and that no data of users is in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, header};
use goldcrest::domain::{FileStat, ServiceType};
use goldcrest::filesystem::FilesystemError;
use goldcrest::http::metrics;
use goldcrest::telemetry::{Family, Metrics, Sources, families};
use serde_json::json;
use tower::ServiceExt;

use super::doubles::Reply;
use super::{Answer, Api, request};

/// Everything of a user's that must not come out.
const MARKER: &str = "marker7hunter2";

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn metrics_of(api: &Api) -> Metrics {
    Metrics::new(Sources {
        request_metrics: Arc::clone(&api.request_metrics),
        gate: api.gate.clone(),
        lanes: Vec::new(),
        store: None,
        webhooks: None,
        tasks: Vec::new(),
    })
}

/// What Prometheus would get.
async fn scrape(api: &Api) -> Answer {
    let response = metrics_router(metrics_of(api))
        .oneshot(Request::get("/metrics").header("accept", OPEN_METRICS).body(Body::empty()).unwrap())
        .await
        .unwrap();
    Answer::read(response).await
}

fn metrics_router(numbers: Metrics) -> axum::Router {
    metrics(move |format| numbers.render(format))
}

pub async fn text(api: &Api) -> String {
    String::from_utf8(scrape(api).await.body).unwrap()
}

/// The value of one sample.
pub fn sample(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The values that a label has in the whole scrape.
fn values<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
    let start = format!("{label}=\"");
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(&start)?.1.split('"').next()).collect()
}

#[tokio::test]
async fn requests_are_counted_by_method_route_and_status_and_timed() {
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(vec![]))], vec![]);
    assert_eq!(api.get("/status/daint/nodes").await.status, 200);
    assert_eq!(api.send(request(Method::GET, "/status/daint/nodes", None, None)).await.status, 401);
    assert_eq!(api.send(request(Method::GET, "/status/daint/nodes", Some("token-of-mallory"), None)).await.status, 403);
    let answer = scrape(&api).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(OPEN_METRICS)));
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for code in [200, 401, 403] {
        let series = format!("goldcrest_http_requests_total{{method=\"GET\",route=\"/status/{{system_name}}/nodes\",code=\"{code}\"}}");
        assert_eq!(sample(&text, &series), Some(1.0), "{series}\n{text}");
    }
    let times = "goldcrest_http_request_duration_seconds";
    assert_eq!(sample(&text, &format!("{times}_count{{route=\"/status/{{system_name}}/nodes\"}}")), Some(3.0), "{text}");
    assert_eq!(sample(&text, &format!("{times}_bucket{{le=\"60.0\",route=\"/status/{{system_name}}/nodes\"}}")), Some(3.0), "{text}");
    assert_eq!(sample(&text, &format!("{times}_bucket{{le=\"+Inf\",route=\"/status/{{system_name}}/nodes\"}}")), Some(3.0), "{text}");
    for (outcome, count) in [("accepted", 2.0), ("missing", 1.0), ("invalid", 0.0)] {
        assert_eq!(sample(&text, &format!("goldcrest_tokens_total{{outcome=\"{outcome}\"}}")), Some(count), "{text}");
    }
    for (decision, count) in [("allowed", 1.0), ("denied", 1.0)] {
        let series = format!("goldcrest_authorization_decisions_total{{system=\"daint\",decision=\"{decision}\",cached=\"true\"}}");
        assert_eq!(sample(&text, &series), Some(count), "{text}");
    }
    assert_eq!(sample(&text, "goldcrest_scheduler_reads_total{system=\"daint\",read=\"nodes\",source=\"asked\"}"), Some(1.0), "{text}");
    assert!(sample(&text, "process_resident_memory_bytes").unwrap() > 1e6, "{text}");
    assert!(text.contains(&format!("goldcrest_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[tokio::test]
async fn a_refused_token_is_counted_by_why() {
    let api = Api::new(vec![], vec![]);
    for token in ["expiring", "no-keys", "stolen", "semi;colon"] {
        api.send(request(Method::GET, "/status/systems", Some(token), None)).await;
    }
    let text = text(&api).await;
    for outcome in ["ends_too_soon", "unchecked", "invalid", "malformed"] {
        assert_eq!(sample(&text, &format!("goldcrest_tokens_total{{outcome=\"{outcome}\"}}")), Some(1.0), "{outcome}: {text}");
    }
}

#[tokio::test]
async fn a_decision_that_could_not_be_had_is_counted_and_so_are_those_of_the_list_of_systems() {
    let api = Api::new(vec![], vec![]);
    for (user, path) in [("nobody", "/status/daint/nodes"), ("nobody", "/status/systems"), ("alice", "/status/systems")] {
        api.send(request(Method::GET, path, Some(&format!("token-of-{user}")), None)).await;
    }
    let text = text(&api).await;
    let decisions = |decision: &str, cached| {
        sample(&text, &format!("goldcrest_authorization_decisions_total{{system=\"daint\",decision=\"{decision}\",cached=\"{cached}\"}}"))
    };
    assert_eq!((decisions("undecided", false), decisions("allowed", true)), (Some(2.0), Some(1.0)), "{text}");
}

#[tokio::test]
async fn jobs_are_counted_by_outcome() {
    let submission = || Some(json!({"job": {"workingDirectory": "/home/alice", "script": "#!/bin/sh\n"}}));
    let api = Api::new(vec![("alice: submit...", Reply::Id("7"))], vec![]);
    let answer = api.call(Method::POST, "/compute/daint/jobs", submission()).await;
    assert_eq!(answer.status, 201, "{answer}");
    let text = text(&api).await;
    let jobs =
        |outcome| sample(&text, &format!("goldcrest_changes_total{{system=\"daint\",action=\"jobs.submit\",outcome=\"{outcome}\"}}"));
    assert_eq!((jobs("done"), jobs("failed"), jobs("unknown"), jobs("cancelled")), (Some(1.0), Some(0.0), Some(0.0), Some(0.0)), "{text}");
}

#[tokio::test]
async fn no_path_and_no_method_of_a_client_becomes_a_label() {
    let api = Api::new(vec![], vec![]);
    let before = text(&api).await;
    assert!(values(&before, "route").is_empty() && values(&before, "method").is_empty(), "{before}");
    for number in 0..50 {
        api.get(&format!("/nowhere/{number}")).await;
        api.get(&format!("/status/daint/{number}")).await;
        api.get(&format!("/filesystem/system{number}/ops/ls?path=/{number}")).await;
        let method = Method::from_bytes(format!("BREW{number}").as_bytes()).unwrap();
        api.send(request(method, "/status/systems", None, None)).await;
    }
    let text = text(&api).await;
    assert_eq!(values(&text, "route"), ["/filesystem/{system_name}/ops/ls", "/status/systems", "unmatched"].into());
    assert_eq!(values(&text, "method"), ["GET", "other"].into());
    assert_eq!(values(&text, "system"), ["daint"].into());
    let unmatched = sample(&text, "goldcrest_http_requests_total{method=\"GET\",route=\"unmatched\",code=\"404\"}");
    assert_eq!(unmatched, Some(100.0), "{text}");
    let other = sample(&text, "goldcrest_http_requests_total{method=\"other\",route=\"/status/systems\",code=\"405\"}");
    assert_eq!(other, Some(50.0), "{text}");
}

#[tokio::test]
async fn nothing_of_a_user_is_in_a_scrape() {
    let path = format!("/home/{MARKER}");
    let files = vec![
        ("marker7hunter2: stat...", Reply::Stat(FileStat::default())),
        ("marker7hunter2: stat...", Reply::FileFails(FilesystemError::TooLarge(1))),
    ];
    let api = Api::new(vec![], files);
    for _ in 0..2 {
        let mut sent = request(Method::GET, &format!("/filesystem/daint/ops/stat?path={path}"), Some(&format!("token-of-{MARKER}")), None);
        sent.headers_mut().insert(header::USER_AGENT, MARKER.parse().unwrap());
        assert_ne!(api.send(sent).await.status, 404);
    }
    api.send(request(Method::GET, &format!("/compute/daint/jobs/{MARKER}"), Some("stolen"), None)).await;
    let text = text(&api).await;
    assert_eq!(sample(&text, "goldcrest_tokens_total{outcome=\"accepted\"}"), Some(2.0), "{text}");
    assert!(!text.contains(MARKER), "{text}");
}

#[tokio::test]
async fn every_route_of_the_document_has_a_place_of_its_own() {
    let api = Api::new(vec![], vec![]);
    let templates: BTreeSet<String> = api.document["paths"].as_object().unwrap().keys().cloned().collect();
    for template in &templates {
        let path = template
            .replace("{system_name}", "daint")
            .replace("{job_id}", "1")
            .replace("{upload_id}", "1")
            .replace("{template_name}", "prepared");
        api.send(request(Method::OPTIONS, &path, None, None)).await;
    }
    for page in ["/", "/docs", "/docs/", "/docs/index.css", "/redoc", "/redoc/redoc.standalone.js", "/openapi.json"] {
        api.send(request(Method::GET, page, None, None)).await;
    }
    let text = text(&api).await;
    let routes = values(&text, "route");
    assert!(!routes.contains("unmatched"), "{text}");
    assert!(templates.iter().all(|template| routes.contains(template.as_str())), "{text}");
}

#[tokio::test]
async fn health_is_told_for_each_service_and_without_paths() {
    let api = Api::unhealthy(ServiceType::Filesystem, Some(&format!("/home/{MARKER}")));
    let text = text(&api).await;
    let healthy = |service| sample(&text, &format!("goldcrest_service_healthy{{system=\"daint\",service=\"{service}\"}}"));
    assert_eq!((healthy("filesystem"), healthy("checker"), healthy("ssh")), (Some(0.0), Some(1.0), None), "{text}");
    assert_eq!(sample(&text, "goldcrest_last_check_timestamp_seconds{system=\"daint\"}"), Some(1_769_846_401.5), "{text}");
    assert!(!text.contains(MARKER), "{text}");
}

#[tokio::test]
async fn a_request_that_is_given_up_is_counted_as_abandoned() {
    let api = Api::new(vec![("alice: nodes", Reply::Hangs)], vec![]);
    let waiting = api.get("/status/daint/nodes");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), waiting).await.is_err());
    let text = text(&api).await;
    let series = "goldcrest_http_requests_total{method=\"GET\",route=\"/status/{system_name}/nodes\",code=\"abandoned\"}";
    assert_eq!(sample(&text, series), Some(1.0), "{text}");
    assert!(!text.contains("duration_seconds_count"), "{text}");
}

#[tokio::test]
async fn a_scrape_has_every_family_once_with_its_type_and_meaning() {
    let text = text(&Api::new(vec![], vec![])).await;
    let types: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(types.len(), families().count());
    assert_eq!(types.iter().collect::<BTreeSet<_>>().len(), types.len());
    for family in families() {
        let name = family.name();
        let stem = name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(&name);
        assert!(types.iter().any(|line| line.split_once(' ').unwrap().0 == stem), "{stem}: {text}");
    }
}

#[test]
fn the_table_in_the_documentation_is_what_is_exported() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let table: Vec<String> = families().map(Family::row).collect();
    let head = "| metric | type | labels | meaning |\n|---|---|---|---|\n";
    let written = page.split_once(head).expect("the page has the table").1.split("\n\n").next().unwrap().trim_end();
    assert_eq!(written, table.join("\n"), "docs/operations.md: the table is to be\n{}", table.join("\n"));
    for name in page.match_indices("goldcrest_").map(|(at, _)| &page[at..]) {
        let name: String = name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let known = families().any(|family| name.strip_suffix("_bucket").unwrap_or(&name) == family.name());
        assert!(known, "docs/operations.md names {name}, which is exported nowhere");
    }
}

/// Names that start as those of our metrics do, in the packaged alerts and the dashboard, with the labels beside them.
#[test]
fn the_alerts_and_the_dashboard_of_the_package_ask_for_metrics_and_labels_that_exist() {
    for file in ["alerts.yaml", "grafana-dashboard.json"] {
        let text = std::fs::read_to_string(format!("{}/build/package/monitoring/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let mut asked = 0;
        for (at, _) in text.match_indices("goldcrest_").chain(text.match_indices("process_")) {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let family = families().find(|family| name.strip_suffix("_bucket").unwrap_or(name) == family.name());
            let family = family.unwrap_or_else(|| panic!("{file} asks for {name}, which is exported nowhere"));
            for label in rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).into_iter().flat_map(|(inside, _)| labels(inside)) {
                let known = ["instance", "job"].contains(&label) || family.row().contains(&format!("`{label}`"));
                assert!(known, "{file} asks for {name} by {label}, which it does not have");
            }
            asked += 1;
        }
        assert!(asked > 10, "{file} asks for {asked} metrics");
    }
}

/// The names before `=`, `!=`, `=~` and `!~` in a selector.
fn labels(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()).map(str::trim).filter(|label| !label.is_empty())
}

/// By the rules of `promtool check metrics`: the format, the names of counters, and a type for each sample.
#[tokio::test]
async fn who_does_not_name_openmetrics_gets_the_text_that_promtool_checks() {
    let api = Api::new(vec![("alice: nodes", Reply::Nodes(vec![]))], vec![]);
    assert_eq!(api.get("/status/daint/nodes").await.status, 200);
    let response = metrics_router(metrics_of(&api)).oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
    let answer = Answer::read(response).await;
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(answer.body).unwrap();
    let (mut name, mut kind) = ("", "");
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "HELP", named, ..] => name = named,
            ["#", "TYPE", named, typed] => {
                assert_eq!(named, name, "{text}");
                kind = typed;
                assert!(["counter", "gauge", "histogram"].contains(&typed), "{line}");
                assert_eq!(typed == "counter", named.ends_with("_total"), "{line}");
            }
            _ => {
                assert!(!line.starts_with('#') && !line.is_empty(), "promtool knows no such line: {line}");
                let sample = line.split(['{', ' ']).next().unwrap();
                let parts = ["_bucket", "_sum", "_count"];
                let base = parts.iter().find_map(|part| sample.strip_suffix(part)).filter(|_| kind == "histogram");
                assert_eq!(base.unwrap_or(sample), name, "a sample stands under the type of its own name: {line}");
            }
        }
    }
    assert!(text.contains("goldcrest_build_info{") && text.contains("# TYPE goldcrest_http_requests_total counter"), "{text}");
}

#[tokio::test]
async fn the_listener_has_this_one_route() {
    let api = Api::new(vec![], vec![]);
    let router = metrics_router(Metrics::new(Sources {
        request_metrics: api.request_metrics,
        gate: api.gate,
        lanes: Vec::new(),
        store: None,
        webhooks: None,
        tasks: Vec::new(),
    }));
    for (method, path, status) in [(Method::POST, "/metrics", 405), (Method::GET, "/status/systems", 404), (Method::GET, "/", 404)] {
        let answer = router.clone().oneshot(request(method, path, Some("token-of-alice"), None)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
    }
}
