//! Share links: who makes them, who follows them, and when they end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use futures::future::join;
use goldcrest::authz::{Authorizer, Relation};
use goldcrest::domain::ClusterHealth;
use goldcrest::filesystem::FileAccess;
use goldcrest::filesystem::sftp::protocol::Request;
use goldcrest::service::links::{Config, Links};
use goldcrest::service::{Gate, State, UserBounds};
use goldcrest::ssh::LaneKind;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::callers::{Relations, Tokens};
use crate::api::{Answer, Api, request};
use crate::files::swap::Swapping;
use crate::files::transport::{Local, Subsystem};
use crate::support::records::records;
use crate::support::{PATIENCE, wait_until};
use crate::tasks::relay::Relay;
use crate::tasks::rights::Withdrawn;
use crate::tasks::{Way, cluster};
use crate::webhooks::store;

const SHARES: &str = "/filesystem/daint/shares";

/// A system whose files lie in a directory, and the store of the links.
struct Site {
    files: TempDir,
    _state: TempDir,
    api: Api,
}

impl Site {
    fn new() -> Self {
        Self::with(Way::sftp(), Arc::new(Relations))
    }

    fn with(way: Way, authorizer: Arc<dyn Authorizer>) -> Self {
        let (files, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = Config { key: "k".repeat(32).into(), max_time: 3600, max_uses: 5, max_per_user: 3 };
        let links = Links::new(store(state.path()), config);
        let gate = Gate::new(
            Arc::new(Tokens),
            authorizer,
            [cluster("daint", way, files.path(), &json!("none"))],
            State::default().with_links(Some(links)),
        );
        let gate = gate.with_bounds(UserBounds { transfers: 2, ..UserBounds::default() });
        let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| state.gate = gate);
        std::fs::write(files.path().join("a"), "content").unwrap();
        Self { files, _state: state, api }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    async fn ask(&self, body: Value) -> Answer {
        self.api.call(Method::POST, SHARES, Some(body)).await
    }

    /// A link to this file: its address and its id.
    async fn share(&self, name: &str, more: Value) -> (String, String) {
        let mut body = json!({"path": self.path(name)});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.ask(body).await;
        assert_eq!(answer.status, 201, "{}", answer.everything());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let text = |member: &str| answer.json()[member].as_str().unwrap().to_owned();
        (text("link"), text("id"))
    }

    /// What somebody without a token is answered.
    async fn follow(&self, link: &str) -> Answer {
        self.api.send(request(Method::GET, link, None, None)).await
    }

    async fn uses(&self, id: &str) -> Value {
        let listed = self.api.get(SHARES).await.json();
        listed["shares"].as_array().unwrap().iter().find(|share| share["id"] == id).unwrap()["uses"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_gives_its_file_to_whoever_has_it_as_often_as_it_may() {
    let site = Site::new();
    let (link, id) = site.share("a", json!({"maxUses": 2})).await;
    let look = site.api.send(request(Method::HEAD, &link, None, None)).await;
    assert_eq!((look.status, look.header("content-length")), (200, Some("7")), "{}", look.everything());
    assert_eq!(site.uses(&id).await, 0, "a look is no use");
    for uses in 1..=2 {
        let answer = site.follow(&link).await;
        assert_eq!((answer.status, &*answer.body), (200, &b"content"[..]));
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"a\"; filename*=UTF-8''a"));
        assert_eq!((answer.header("referrer-policy"), answer.header("cache-control")), (Some("no-referrer"), Some("no-store")));
        assert_eq!(site.uses(&id).await, uses);
    }
    let gone = site.follow(&link).await;
    assert_eq!((gone.status, &gone.json()["retryable"]), (410, &json!(false)), "{}", gone.everything());
    assert!(!site.api.get(SHARES).await.everything().contains("signature"), "a link is shown once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_link_starts_nothing_on_the_cluster() {
    let local = Arc::new(Local::new(Subsystem::Own));
    let site = Site::with(Way::over(local.clone()), Arc::new(Relations));
    std::fs::create_dir(site.path("tree")).unwrap();
    for (name, end) in [("a", ""), ("tree", ".tar")] {
        let (link, id) = site.share(name, json!({})).await;
        let look = site.api.send(request(Method::HEAD, &link, None, None)).await;
        assert_eq!(look.status, 200, "{}", look.everything());
        assert!(look.header("content-disposition").unwrap().contains(&format!("\"{name}{end}\"")));
        assert_eq!(site.uses(&id).await, 0);
        std::fs::rename(site.path(name), site.path("moved")).unwrap();
        assert_eq!(site.api.send(request(Method::HEAD, &link, None, None)).await.status, 410);
        std::fs::rename(site.path("moved"), site.path(name)).unwrap();
        assert_eq!(local.commands.load(Ordering::SeqCst), 0, "{name}");
        // Whether a directory can be read shows its first entry, which takes a session like any walk.
        let is_bulk = |(_, kind): &(String, LaneKind)| *kind == LaneKind::Bulk;
        assert!(name == "tree" || !local.opened.lock().unwrap().iter().any(is_bulk), "content was opened");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_leads_nowhere_else_when_its_file_has_been_replaced_by_a_symbolic_link() {
    let site = Site::new();
    std::fs::write(site.path("secret"), "secret").unwrap();
    let (link, id) = site.share("a", json!({})).await;
    std::fs::remove_file(site.path("a")).unwrap();
    std::os::unix::fs::symlink("secret", site.path("a")).unwrap();
    for method in [Method::HEAD, Method::GET] {
        assert_eq!(site.api.send(request(method, &link, None, None)).await.status, 410);
    }
    assert_eq!(site.uses(&id).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_leads_nowhere_else_when_a_symbolic_link_is_laid_while_it_is_followed() {
    for access in [FileAccess::Sftp, FileAccess::Exec] {
        for (place, end) in [("pub/a", "private/a"), ("pub", "private"), ("pub/tree", "private/tree")] {
            let transport = Swapping::new(Local::new(if access == FileAccess::Exec { Subsystem::Refused } else { Subsystem::Own }));
            let steps = transport.steps.clone();
            let site = Site::with(Way { transport, access }, Arc::new(Relations));
            for (name, content) in [("pub", "content"), ("private", "secret")] {
                std::fs::create_dir_all(site.path(name).join("tree")).unwrap();
                std::fs::write(site.path(name).join("a"), content).unwrap();
                std::fs::write(site.path(name).join("tree/a"), content).unwrap();
            }
            let shared = if place == "pub/tree" { "pub/tree" } else { "pub/a" };
            let (link, id) = site.share(shared, json!({"maxUses": 2})).await;
            let (from, to) = (site.path(place), site.path(end));
            let is_open = |request: &Request| matches!(request, Request::Open { .. });
            let command = if shared == "pub/tree" { "tar --create" } else { "dd " };
            // By SFTP an archive is made by a command too.
            steps.add(is_open, command, if command == "dd " { "/pub/a" } else { "/pub" }, move || {
                std::fs::rename(&from, from.with_extension("old")).unwrap();
                std::os::unix::fs::symlink(to, from).unwrap();
            });
            let answer = site.follow(&link).await;
            assert!(steps.are_done(), "{access:?}, {place}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{access:?}, {place}");
            assert_eq!((answer.status, site.uses(&id).await), (410, json!(0)), "{access:?}, {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_a_symbolic_link_leads_to_what_that_led_to_when_it_was_made() {
    let site = Site::new();
    std::fs::write(site.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("a", site.path("latest")).unwrap();
    let (link, _) = site.share("latest", json!({"maxUses": 2})).await;
    assert_eq!(&*site.follow(&link).await.body, b"content");
    std::fs::remove_file(site.path("latest")).unwrap();
    std::os::unix::fs::symlink("secret", site.path("latest")).unwrap();
    assert_eq!(site.follow(&link).await.status, 410);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_link_uses_up_no_transfer_of_its_user() {
    let site = Site::new();
    let mut held = Vec::new();
    let (last, id) = site.share("a", json!({"maxUses": 5})).await;
    for count in [5, 3] {
        let (link, _) = site.share("a", json!({"maxUses": 5})).await;
        for _ in 0..count {
            let answer = site.api.answer(request(Method::GET, &link, None, None)).await;
            assert_eq!(answer.status(), 200);
            held.push(answer);
        }
    }
    for method in [Method::GET, Method::HEAD] {
        let answer = site.api.send(request(method.clone(), &last, None, None)).await;
        assert_eq!(answer.status, 429, "{method}: {}", answer.everything());
    }
    let own = format!("/filesystem/daint/ops/download?path={}", site.path("a").display());
    assert_eq!(site.api.get(&own).await.status, 200);
    assert_eq!(site.uses(&id).await, 0);
    held.pop();
    assert_eq!(site.follow(&last).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_follow_a_link_for_one_download_do_not_both_get_it() {
    let site = Site::new();
    for _ in 0..3 {
        let (link, _) = site.share("a", json!({})).await;
        let (one, other) = join(site.follow(&link), site.follow(&link)).await;
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 410]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_comes_as_an_archive() {
    let site = Site::new();
    std::fs::create_dir(site.path("tree")).unwrap();
    std::fs::write(site.path("tree/b"), "in the tree").unwrap();
    let (link, _) = site.share("tree", json!({})).await;
    let answer = site.follow(&link).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-tar")), "{}", answer.everything());
    assert!(answer.header("content-disposition").unwrap().contains("\"tree.tar\""));
    assert!(answer.body.windows(11).any(|bytes| bytes == b"in the tree"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_revoked_or_has_ended_is_gone_and_one_that_was_changed_was_never_there() {
    let site = Site::new();
    let (link, id) = site.share("a", json!({"maxUses": 5})).await;
    let (other, _) = site.share("a", json!({})).await;
    let end = |link: &str| link.split_once("expires=").unwrap().1.split('&').next().unwrap().to_owned();
    let later = (end(&link).parse::<u64>().unwrap() + 1).to_string();
    let signature = |link: &str| link.split_once("signature=").unwrap().1.to_owned();
    for forged in [
        link.replace(&end(&link), &later),
        link.replace(&signature(&link), &signature(&other)),
        link.replace(&signature(&link), ""),
        link.replace(&id, &"0".repeat(32)),
        format!("/shares/{id}?signature={}", signature(&link)),
    ] {
        assert_eq!(site.follow(&forged).await.status, 404, "{forged}");
    }
    assert_eq!(site.follow(&format!("/shares/{id}")).await.status, 400);

    let of_bob = request(Method::DELETE, &format!("{SHARES}/{id}"), Some("token-of-bob"), None);
    assert_eq!(site.api.send(of_bob).await.status, 404);
    assert_eq!(site.follow(&link).await.status, 200);
    for status in [204, 404] {
        assert_eq!(site.api.call(Method::DELETE, &format!("{SHARES}/{id}"), None).await.status, status);
    }
    assert_eq!(site.follow(&link).await.status, 410);

    let (short, _) = site.share("a", json!({"expiresIn": 1, "maxUses": 5})).await;
    wait_until(PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(50)).await;
        site.follow(&short).await.status == 410
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_its_user_count_at_each_use() {
    for relation in [Relation::Read, Relation::Share] {
        let authorizer = Arc::new(Withdrawn(relation, AtomicBool::new(false)));
        let site = Site::with(Way::sftp(), authorizer.clone());
        let (link, _) = site.share("a", json!({"maxUses": 5})).await;
        assert_eq!(site.follow(&link).await.status, 200);
        authorizer.1.store(true, Ordering::SeqCst);
        assert_eq!(site.follow(&link).await.status, 410, "{relation:?}");
        assert_eq!(site.ask(json!({"path": site.path("a")})).await.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_does_not_begin_is_no_use_and_shows_nothing_of_the_file() {
    let site = Site::new();
    let (link, id) = site.share("a", json!({})).await;
    std::fs::rename(site.path("a"), site.path("b")).unwrap();
    let answer = site.follow(&link).await;
    assert_eq!(answer.status, 410);
    assert!(!answer.everything().contains(site.files.path().to_str().unwrap()), "{}", answer.everything());
    assert_eq!(site.uses(&id).await, 0);
    std::fs::rename(site.path("b"), site.path("a")).unwrap();
    assert_eq!(site.follow(&link).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_shared_is_refused() {
    let site = Site::new();
    let path = site.path("a");
    for (body, status, word) in [
        (json!({"path": site.path("none")}), 404, "No such file"),
        (json!({"path": "/etc/passwd"}), 400, "does not match any"),
        (json!({"path": path, "expiresIn": 3601}), 400, "expiresIn"),
        (json!({"path": path, "expiresIn": 0}), 400, "expiresIn"),
        (json!({"path": path, "maxUses": 6}), 400, "maxUses"),
        (json!({}), 400, "path"),
    ] {
        let answer = site.ask(body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.everything());
        assert!(answer.everything().contains(word), "{body}: {}", answer.everything());
    }
    for _ in 0..3 {
        site.share("a", json!({})).await;
    }
    let answer = site.ask(json!({"path": path})).await;
    assert_eq!(answer.status, 409);
    assert!(answer.everything().contains("shares.max_per_user"), "{}", answer.everything());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_used_up_are_shown_and_give_place_to_new_ones() {
    let site = Site::new();
    for _ in 0..5 {
        let (link, id) = site.share("a", json!({})).await;
        assert_eq!(site.follow(&link).await.status, 200);
        assert_eq!(site.uses(&id).await, 1);
    }
    let count = async || site.api.get(SHARES).await.json()["shares"].as_array().unwrap().len();
    assert_eq!(count().await, 3);
    for _ in 0..3 {
        site.share("a", json!({})).await;
    }
    assert_eq!((site.ask(json!({"path": site.path("a")})).await.status, count().await), (409, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_links_without_the_section_nor_where_credentials_need_a_token() {
    let needs_token = Site::with(Way::over(Arc::new(Relay { needs_token: true, ..Relay::slow() })), Arc::new(Relations));
    let answer = needs_token.ask(json!({"path": needs_token.path("a")})).await;
    assert_eq!(answer.status, 501, "{}", answer.everything());
    assert!(answer.everything().contains("ssh_credentials"), "{}", answer.everything());

    let files = tempfile::tempdir().unwrap();
    let gate =
        Gate::new(Arc::new(Tokens), Arc::new(Relations), [cluster("daint", Way::sftp(), files.path(), &json!("none"))], State::default());
    let api = Api::assemble(Vec::new(), Vec::new(), ClusterHealth::default(), |state| state.gate = gate);
    let answers = [
        api.call(Method::POST, SHARES, Some(json!({"path": files.path()}))).await,
        api.get(SHARES).await,
        api.call(Method::DELETE, &format!("{SHARES}/1"), None).await,
        api.send(request(Method::GET, "/shares/1?expires=1&signature=a", None, None)).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, 501, "{}", answer.everything());
        assert!(answer.everything().contains("`shares`"), "{}", answer.everything());
    }
}

#[tokio::test]
async fn the_audit_trail_has_each_link_and_each_use_and_no_log_has_the_signature() {
    let (records, _guard) = records();
    let site = Site::new();
    let (link, id) = site.share("a", json!({})).await;
    site.follow(&link).await;
    site.follow(&link).await;
    site.api.call(Method::DELETE, &format!("{SHARES}/{id}"), None).await;
    let lines = records.of("audit");
    for (line, parts) in lines.iter().zip([
        ["action=\"shares.create\"", "outcome=\"done\"", "user=alice"],
        ["action=\"shares.use\"", "outcome=\"done\"", &id],
        ["action=\"shares.revoke\"", "outcome=\"done\"", &id],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?}: {line}");
    }
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let signature = link.split_once("signature=").unwrap().1;
    assert!(!records.of("").iter().any(|line| line.contains(signature)), "the signature is in a log");
}
