//! A site that comes with the configuration of its FirecREST v2: with other addresses and nothing else changed it is checked, built
//! and served, and every system shows.

use std::net::Ipv4Addr;
use std::path::Path;

use goldcrest::app::App;
use goldcrest::config;
use goldcrest::demo::issuer::{DevelopmentClient, DevelopmentIssuer};
use goldcrest::domain::{Secret, Username};
use goldcrest::rest::{Client, Request, Url};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::service::{Reply, Service};
use crate::support::{PATIENCE, wait_until};

const SECRETS: [&str; 5] = ["user_key", "service_key", "service_passphrase", "client_secret", "s3_secret"];

/// The provider of the site: `fireuser` is a person's client, `health` that of the service account.
fn issuer() -> DevelopmentIssuer {
    let client = |id: &str| DevelopmentClient {
        id: id.to_owned(),
        secret: Secret::from("client_secret".to_owned()),
        username: Username::new("fireuser").unwrap(),
        email: None,
        groups: Vec::new(),
    };
    DevelopmentIssuer::new("http://idp:8080/realms/test", vec![client("fireuser"), client("health")]).unwrap()
}

/// The file, with the addresses of this test.
fn site(folder: &Path, provider: &str) -> String {
    for name in SECRETS {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let text = include_str!("fixtures/firecrest-local.yaml");
    let text = text.replace("SECRETS", folder.to_str().unwrap()).replace("http://idp:8080", provider);
    text.replace("10.1.0.2", "127.0.0.1").replace("10.1.0.4", "127.0.0.1").replace("10.1.0.19", "127.0.0.1")
}

#[tokio::test]
async fn the_configuration_of_a_firecrest_site_is_served_and_shows_every_system() {
    let (issuer, folder) = (issuer(), tempfile::tempdir().unwrap());
    let token = |id: &str, issuer: &DevelopmentIssuer| issuer.token(id, &Secret::from("client_secret".to_owned())).unwrap().access_token;
    let callers = token("fireuser", &issuer);
    let provider = Service::start(move |seen| match seen.uri.path() {
        "/realms/test/protocol/openid-connect/certs" => Reply::json(&issuer.jwks()),
        "/realms/test/protocol/openid-connect/token" => {
            Reply::json(&json!({"access_token": token("health", &issuer).expose(), "expires_in": 300, "token_type": "Bearer"}))
        }
        path => Reply::status(404, path),
    })
    .await;
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, site(folder.path(), &provider.url)).unwrap();
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_goldcrest")).args(["check-config", "--config"]).arg(&file).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    let app = App::build(config::load(&file, std::iter::empty()).unwrap().config).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/status/systems", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let serving = tokio::spawn(app.serve(listener, stop.clone()));

    let client = Client::new().unwrap();
    let mut systems = Value::Null;
    let all_were_checked = async || {
        let request = Request::get(Url::parse(&url).unwrap()).timeout(PATIENCE).bearer(&callers);
        let Ok(response) = client.send(request).await else { return false };
        systems = response.success().and_then(|response| response.json::<Value>()).unwrap_or_default()["systems"].clone();
        systems.as_array().is_some_and(|systems| systems.len() == 3 && systems.iter().all(|system| system["servicesHealth"].is_array()))
    };
    wait_until(PATIENCE, all_were_checked).await;
    let shown: Vec<_> = systems.as_array().unwrap().iter().map(shown).collect();
    let by_rest = [
        "jobs with scriptPath",
        "jobs/{job_id}/attach",
        "jobs/{job_id}/requeue",
        "jobs/validate",
        "usage",
        "profiles",
        "schedules",
        "commands",
    ];
    let expected = [
        (
            "pbs",
            "pbs",
            "ssh",
            "wormhole",
            &["acct", "jobs/{job_id}/attach", "jobs/validate", "usage", "profiles", "schedules", "commands"][..],
        ),
        ("slurm-api", "slurm", "rest", "streamer", &by_rest),
        ("slurm-ssh", "slurm", "ssh", "s3", &["profiles", "schedules", "commands"]),
    ];
    let named = |lacks: &[&str]| lacks.iter().map(|lacks| format!("/compute/{{system_name}}/{lacks}")).collect::<Vec<_>>();
    assert_eq!(shown, expected.map(|(name, kind, mode, service, lacks)| (json!([name, kind, mode, service]), named(lacks))));
    stop.cancel();
    serving.await.unwrap();
}

/// What a system is, and the operations on jobs that it lacks.
fn shown(system: &Value) -> (Value, Vec<String>) {
    let scheduler = &system["scheduler"];
    let service = &system["dataOperation"]["data_transfer"]["serviceType"];
    let lacks = system["unsupported"].as_array().unwrap().iter().map(|entry| entry["operations"].as_str().unwrap());
    let lacks = lacks.filter(|path| path.starts_with("/compute/")).map(str::to_owned).collect();
    (json!([system["name"], scheduler["type"], scheduler["connectionMode"], service]), lacks)
}
