//! What this process knows of the users of tasks.

use super::*;
use crate::domain::{Secret, SystemName};
use crate::service::audit::Requester;
use crate::store::{Sqlite, SqliteConfig};

struct Fixture {
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::new(SqliteConfig { state_dir: folder.path().to_owned(), ..SqliteConfig::default() });
        Self { tasks: Tasks::new(Arc::new(store), Timing::default()), _folder: folder }
    }

    fn knows(&self, task: &StoredTask) -> bool {
        self.tasks.0.users.lock().contains_key(&(task.username().clone(), task.subject().to_owned()))
    }
}

/// A token of this user that is valid for so many milliseconds.
fn token(user: &str, milliseconds: i64) -> Arc<Principal> {
    Arc::new(Principal {
        username: Username::new(user).unwrap(),
        subject: user.to_owned(),
        client_id: None,
        email: None,
        groups: Vec::new(),
        scopes: Vec::new(),
        expires_at: Timestamp::now() + jiff::SignedDuration::from_millis(milliseconds),
        token: Secret::from("token".to_owned()),
        is_service_account: false,
        validator: None,
    })
}

fn task(token: &Arc<Principal>) -> StoredTask {
    let place = |system| Place { system: SystemName::new(system).unwrap(), path: "/f".to_owned() };
    let requester = Requester { principal: Arc::clone(token), request_id: "1".into(), address: None };
    StoredTask::new(&requester, place("daint"), place("eiger"), false)
}

#[tokio::test]
async fn a_user_is_forgotten_when_no_task_is_left_and_not_before() {
    let site = Fixture::new();
    let valid = token("ada", 60_000);
    let mut task = task(&valid);
    let ids = [site.tasks.add(task.clone(), &valid, 9).await, site.tasks.add(task.clone(), &valid, 9).await];
    let ids = ids.map(|added| added.unwrap().unwrap().id);
    task.state = TaskState::Completed;
    site.tasks.put(&ids[0], &task, None).await.unwrap();
    site.tasks.forget_if_idle(task.username()).await.unwrap();
    assert!(site.tasks.token(&task).is_some(), "the second one needs it");
    // Where it ends does not matter.
    site.tasks.put(&ids[1], &task, None).await.unwrap();
    site.tasks.forget_idle().await.unwrap();
    assert!(!site.knows(&task));
}

#[tokio::test]
async fn a_token_that_has_expired_is_forgotten_and_a_newer_one_is_kept_again() {
    let site = Fixture::new();
    let short = token("ada", 1);
    let task = task(&short);
    site.tasks.add(task.clone(), &short, 9).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    site.tasks.forget_idle().await.unwrap();
    assert!(site.tasks.0.users.lock().values().all(Option::is_none));
    site.tasks.renew(&token("ada", 60_000));
    assert!(site.tasks.token(&task).is_some());
}

#[tokio::test]
async fn a_task_that_is_refused_leaves_no_token() {
    let site = Fixture::new();
    let valid = token("ada", 60_000);
    let task = task(&valid);
    assert!(site.tasks.add(task.clone(), &valid, 0).await.unwrap().is_none());
    assert!(!site.knows(&task));
}
