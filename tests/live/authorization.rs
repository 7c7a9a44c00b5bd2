//! Decisions of a real OpenFGA server: the visible systems, the permitted operations, and the audit trail.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::environment::{Live, wait_for};
use crate::instance::{Instance, free_port};
use crate::keycloak::Keycloak;
use crate::openfga::Store;
use crate::relay::Relay;

async fn instance(live: &Live, store: &Store) -> Instance {
    Instance::start(live, &["--authorization-store", &store.name]).await
}

/// The audit lines with this outcome.
fn audited(instance: &Instance, outcome: &str) -> Vec<Value> {
    let lines = instance.log();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "audit" && line["outcome"] == outcome).collect()
}

pub async fn a_caller_is_shown_the_systems_that_the_store_grants(live: &Live) {
    let store = Store::new(
        live,
        &[
            ["user:fireuser", "access", "system:slurm"],
            ["user:*", "access", "system:slurm-nosftp"],
            // The token names the group, the store does not know who is in it.
            ["group:goldcrest-otheruser#member", "admin", "system:slurm-tight"],
            ["group:goldcrest-otheruser#member", "member", "group:everywhere"],
            ["group:everywhere#member", "access", "system:closed"],
        ],
    )
    .await;
    let instance = instance(live, &store).await;
    let shown = async |user: &str| live.api_at(&instance.url(), user).await.systems().await;
    assert_eq!(shown("fireuser").await, ["slurm", "slurm-nosftp"]);
    assert_eq!(shown("otheruser").await, ["closed", "slurm-nosftp", "slurm-tight"]);
    assert_eq!(shown("certuser").await, ["slurm-nosftp"]);

    store.write(&[["user:certuser", "access", "system:stranger"]]).await;
    assert_eq!(shown("certuser").await, ["slurm-nosftp", "stranger"], "a refusal is not remembered");
    store.delete(&[["user:certuser", "access", "system:stranger"]]).await;
    wait_for("a permission that was withdrawn ends", Duration::from_secs(8), || async {
        (shown("certuser").await == ["slurm-nosftp"]).then_some(())
    })
    .await;
}

pub async fn an_operation_needs_the_relation_of_what_it_does(live: &Live) {
    let store = Store::new(live, &[["user:fireuser", "read", "system:slurm"], ["user:otheruser", "access", "system:slurm"]]).await;
    let instance = Instance::start(live, &["--authorization-store", &store.name, "--authorization-by-effect", "true"]).await;
    let (reader, owner) = (live.api_at(&instance.url(), "fireuser").await, live.api_at(&instance.url(), "otheruser").await);
    assert_eq!((reader.systems().await, owner.systems().await), (vec!["slurm".to_owned()], vec!["slurm".to_owned()]));
    reader.file("slurm", "ls", "/home/fireuser").await.expect(200);
    let new = json!({"sourcePath": "/home/fireuser/not-made"});
    reader.post("/filesystem/slurm/ops/mkdir", &new).await.expect(403);
    let job = json!({"job": {"name": "not-run", "workingDirectory": "/home/fireuser", "script": "#!/bin/sh\ntrue\n"}});
    reader.post("/compute/slurm/jobs", &job).await.expect(403);
    let relations: Vec<Value> = audited(&instance, "denied").into_iter().map(|line| line["relation"].clone()).collect();
    assert_eq!(relations, ["write", "submit"]);
    // Whoever has access has all of it.
    let folder = owner.new_folder("slurm", "otheruser").await;
    owner.remove("slurm", &folder).await;
    assert_eq!(audited(&instance, "done")[0]["relation"], "write");
}

pub async fn decisions_are_explained_in_the_audit_trail(live: &Live) {
    let mut store = Store::new(live, &[["user:fireuser", "access", "system:slurm"]]).await;
    let instance = instance(live, &store).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    let folder = api.new_folder("slurm", "fireuser").await;
    api.remove("slurm", &folder).await;
    let expected = |line: &Value, cached: bool, model: &str| {
        for (member, value) in [
            ("user", json!("fireuser")),
            ("system", json!("slurm")),
            ("authorizer", json!("openfga")),
            ("relation", json!("access")),
            ("resource", json!("system:slurm")),
            ("decided_by", json!(model)),
            ("cached", json!(cached)),
        ] {
            assert_eq!(line[member], value, "{member} of {line}");
        }
        assert!(line["decision_ms"].is_u64(), "{line}");
    };
    let done = audited(&instance, "done");
    assert_eq!(done.iter().map(|line| line["action"].as_str().unwrap()).collect::<Vec<_>>(), ["files.mkdir", "files.remove"]);
    expected(&done[0], false, &store.model);
    expected(&done[1], true, &store.model);

    // A newer model holds from the next question on, and the trail tells which one it was.
    let old = store.model.clone();
    let by_admin_alone = |model: &mut Value| {
        let system = &mut model["type_definitions"][2];
        system["relations"]["access"] = json!({"computedUserset": {"relation": "admin"}});
        system["metadata"]["relations"]["access"] = json!({});
    };
    store.load_model(by_admin_alone).await;
    assert_ne!(store.model, old);
    wait_for("the newer model, by which nobody has access, holds", Duration::from_secs(8), || async {
        (api.file("slurm", "ls", "/home/fireuser").await.status == 403).then_some(())
    })
    .await;
    let denied = audited(&instance, "denied");
    expected(&denied[0], false, &store.model);
    assert_eq!(denied[0]["action"], "access");
}

pub async fn a_server_that_is_away_for_a_while_allows_nothing_and_is_used_again(live: &Live) {
    let store = Store::new(live, &[["user:fireuser", "access", "system:slurm"]]).await;
    let mut relay = Relay::to(live.openfga_port()).await;
    let url = format!("http://127.0.0.1:{}", relay.port);
    let instance = Instance::start(live, &["--authorization-url", &url, "--authorization-store", &store.name]).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    api.file("slurm", "ls", "/home/fireuser").await.expect(200);
    relay.cut().await;
    wait_for("what was remembered is forgotten", Duration::from_secs(8), || async {
        (api.file("slurm", "ls", "/home/fireuser").await.status == 503).then_some(())
    })
    .await;
    let answer = api.get("/status/systems", &[]).await.expect(503);
    assert_eq!(answer.json()["retryable"], true);
    assert!(!answer.body.windows(5).any(|window| window == b"slurm"), "{}", answer.json());
    assert!(!audited(&instance, "undecided").is_empty());
    relay.open().await;
    api.file("slurm", "ls", "/home/fireuser").await.expect(200);
    assert_eq!(api.systems().await, ["slurm"]);
}

pub async fn a_server_that_wants_tokens_of_an_identity_provider_is_shown_them(live: &Live) {
    let (port, rpc_port) = (free_port().await, free_port().await);
    let (issuer, audience) = (live.text("keycloak", "/issuer"), live.text("keycloak", "/audience"));
    let _server = tokio::process::Command::new(live.path("openfga", "bin/openfga"))
        .args(["run", "--datastore-engine", "memory", "--playground-enabled=false", "--metrics-enabled=false"])
        .args(["--http-addr", &format!("127.0.0.1:{port}"), "--grpc-addr", &format!("127.0.0.1:{rpc_port}")])
        .args(["--authn-method", "oidc", "--authn-oidc-issuer", &issuer, "--authn-oidc-audience", &audience])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_for("the second OpenFGA server listens", Duration::from_secs(30), || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    let url = format!("http://127.0.0.1:{port}");
    let token = Keycloak::new(live).service("firecrest-health-check").await;
    let store = Store::at(live, &url, &token, &[["user:fireuser", "access", "system:slurm"]]).await;
    let account = format!(
        "    client_credentials:\n      token_url: {}\n      client_id: firecrest-health-check\n      client_secret: {}\n",
        live.text("keycloak", "/tokenUrl"),
        live.file("keycloak", "firecrest-health-check.secret"),
    );
    let edit = |config: String| {
        let (before, line) = config.split_once("    api_token:").expect("the preshared key");
        format!("{before}{account}{}", line.split_once('\n').unwrap().1)
    };
    let options = ["--authorization-url", &url, "--authorization-store", &store.name];
    let instance = Instance::start_edited(live, &options, edit).await;
    let api = live.api_at(&instance.url(), "fireuser").await;
    api.file("slurm", "ls", "/home/fireuser").await.expect(200);
    assert_eq!(api.systems().await, ["slurm"]);
    let unknown = Instance::start(live, &options).await;
    live.api_at(&unknown.url(), "fireuser").await.file("slurm", "ls", "/home/fireuser").await.expect(503);
}
