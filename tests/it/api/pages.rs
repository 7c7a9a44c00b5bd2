//! The documentation pages.

use axum::http::Method;
use goldcrest::domain::ClusterHealth;
use goldcrest::http::Examples;
use serde_json::{Value, json};

use super::{Answer, Api, request};

async fn page(path: &str) -> Answer {
    Api::new(vec![], vec![]).send(request(Method::GET, path, None, None)).await
}

#[tokio::test]
async fn the_root_says_what_this_is_and_leads_to_the_pages() {
    let answer = page("/docs").await;
    assert_eq!((answer.status, answer.header("location")), (307, Some("/docs/")));
    let html = String::from_utf8(page("/").await.body).unwrap();
    assert!(html.contains("jobs and files of computing clusters"), "{html}");
    for link in ["docs/", "redoc", "openapi.json", "status/liveness/"] {
        assert!(loaded(&html).iter().any(|url| url == link), "{link}");
    }
}

/// The addresses that a page's markup loads.
fn loaded(html: &str) -> Vec<String> {
    html.split(['"', '\''])
        .zip(html.split(['"', '\'']).skip(1))
        .filter(|(before, _)| before.ends_with("src=") || before.ends_with("href="))
        .map(|(_, url)| url.to_owned())
        .collect()
}

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere_and_all_that_they_load_is_there() {
    for (path, base) in [("/", "/"), ("/docs/", "/docs/"), ("/redoc", "/")] {
        let answer = page(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with("text/html"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self';") && policy.contains("connect-src 'self' https://identity.example.org;"), "{policy}");
        let html = String::from_utf8(answer.body).unwrap();
        assert!(html.to_ascii_lowercase().contains("<meta charset=\"utf-8\""), "{path}");
        // A browser asks for /favicon.ico where a page names no icon.
        assert!(html.contains("rel=\"icon\""), "{path}");
        let urls = loaded(&html);
        assert!(!urls.is_empty(), "{path}");
        for url in urls {
            assert!(!url.contains("//"), "{path} loads {url}");
            let answer = page(&format!("{base}{}", url.trim_start_matches("./"))).await;
            assert_eq!(answer.status, 200, "{path} loads {url}");
            assert!(answer.header("cache-control").is_some() || url.starts_with("status/"));
        }
    }
}

#[tokio::test]
async fn the_pages_show_our_document() {
    let initializer = String::from_utf8(page("/docs/swagger-initializer.js").await.body).unwrap();
    assert!(initializer.contains("../openapi.json"), "{initializer}");
    assert!(String::from_utf8(page("/redoc").await.body).unwrap().contains("spec-url=\"openapi.json\""));
    let script = page("/redoc/redoc.standalone.js").await;
    assert_eq!((script.header("content-encoding"), &script.body[..2]), (Some("gzip"), &[0x1F, 0x8B][..]));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &script.body).unwrap();
    let unpacked = std::process::Command::new("gzip").arg("-dc").stdin(file.reopen().unwrap()).output().unwrap().stdout;
    let unpacked = String::from_utf8(unpacked).unwrap();
    assert!(unpacked.contains("redocly logo") && !unpacked.contains("cdn.redoc.ly"), "its logo would be fetched from elsewhere");
}

#[tokio::test]
async fn the_document_names_the_token_endpoint_of_the_site() {
    let answer = page("/openapi.json").await;
    let document: Value = answer.json();
    let flow = &document["components"]["securitySchemes"]["APIAuthDependency"]["flows"]["clientCredentials"];
    assert_eq!(flow["tokenUrl"], "https://identity.example.org/realms/hpc/token");
    assert_eq!(document, Api::new(vec![], vec![]).document);
}

#[tokio::test]
async fn the_document_names_the_configured_servers_and_the_pages_may_call_them() {
    let servers = json!([{"url": "https://api.example.org/hpc", "description": "production"}, {"url": "/hpc"}]);
    let api = Api::assemble(vec![], vec![], ClusterHealth::default(), |state| {
        state.root_path = "/hpc".to_owned();
        state.docs.servers = serde_json::from_value(servers.clone()).unwrap();
    });
    let get = |path| api.send(request(Method::GET, path, None, None));
    assert_eq!(get("/openapi.json").await.json()["servers"], servers);
    let policy = get("/docs/").await.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("connect-src 'self' https://identity.example.org https://api.example.org;"), "{policy}");
}

#[tokio::test]
async fn the_pages_are_called_after_the_api() {
    for path in ["/docs/", "/redoc"] {
        let html = String::from_utf8(page(path).await.body).unwrap();
        assert!(html.contains("<title>Goldcrest API</title>"), "{path}");
    }
}

#[tokio::test]
async fn the_examples_name_the_system_and_the_home_directory_of_the_site() {
    let api = Api::assemble(vec![], vec![], ClusterHealth::default(), |state| {
        state.docs.examples = Some(Examples { system: "local".to_owned(), home: "/srv/ada".to_owned() });
    });
    let document: Value = api.send(request(Method::GET, "/openapi.json", None, None)).await.json();
    assert!(!document.to_string().contains("/home/user"), "an example names a directory that is not there");
    assert_eq!(document["components"]["schemas"]["PostJobSubmitRequest"]["example"]["job"]["workingDirectory"], "/srv/ada");
    let parameters = &document["paths"]["/filesystem/{system_name}/ops/ls"]["get"]["parameters"];
    assert_eq!((&parameters[0]["example"], &parameters[1]["example"]), (&json!("local"), &json!("/srv/ada")));
}

#[tokio::test]
async fn a_file_that_a_page_does_not_have_is_404() {
    assert_eq!(page("/docs/../Cargo.toml").await.status, 404);
    assert_eq!(page("/docs/none.js").await.status, 404);
}
