//! The jobs of all users as the API server reports their changes, so that a list is answered from memory.
//!
//! The cache answers only while all its watches stand. Otherwise the API server is queried, and its failure is the answer: stale state is
//! never returned as current. A change that Goldcrest itself has made is stored at once, so that users see their own changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join3;
use futures::stream::StreamExt;
use k8s_openapi::api::batch::v1::Job as KubernetesJob;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use kube::core::WatchEvent;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, Selection};
use super::failure::ApiFailure;
use super::names::{OURS, POD_JOB, USER};
use super::state::{Known, annotation};
use crate::domain::Username;
use crate::scheduler::ChangeListener;

/// Selects the events about pods that could not be created.
pub(super) const REFUSALS: Selection<'static> = Selection { labels: "", fields: "involvedObject.kind=Job,reason=FailedCreate" };

/// The pauses between attempts to watch.
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// For how long a watch may be silent: the API server sends a bookmark about once a minute.
const MAX_SILENCE: Duration = Duration::from_secs(150);

/// The jobs of all users, their pods, and the events about pods that could not be created.
pub(super) struct Cache {
    jobs: Kept<KubernetesJob>,
    pods: Kept<Pod>,
    refusals: Kept<Event>,
    /// Counts the changes.
    changes: watch::Sender<u64>,
    /// Locked by the task that keeps it current; during a reload there may be two.
    keeper: tokio::sync::Mutex<()>,
}

/// The objects of one kind.
struct Kept<T>(RwLock<Objects<T>>);

/// The objects by namespace and name, with their versions.
struct Objects<T> {
    by_namespace: HashMap<String, BTreeMap<String, (u64, Arc<T>)>>,
    /// Whether a watch stands, so that they are current.
    is_current: bool,
}

/// A kind of object that can be kept.
pub(super) trait Cached: Resource + Metadata<Ty = ObjectMeta> + Clone + DeserializeOwned + Send + Sync + 'static {}

impl<T: Resource + Metadata<Ty = ObjectMeta> + Clone + DeserializeOwned + Send + Sync + 'static> Cached for T {}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            jobs: Kept::new(),
            pods: Kept::new(),
            refusals: Kept::new(),
            changes: watch::Sender::new(0),
            keeper: tokio::sync::Mutex::new(()),
        }
    }

    /// All that is known of the jobs in a namespace; none where it is not current.
    pub(super) fn all(&self, namespace: &str) -> Option<Known> {
        Some(Known {
            jobs: self.jobs.read(namespace, |_| true)?,
            pods: self.pods.read(namespace, |_| true)?,
            refusals: self.refusals.read(namespace, |_| true)?,
        })
    }

    /// All that is known of one job; none where it is not current.
    pub(super) fn one(&self, namespace: &str, name: &str) -> Option<Known> {
        let of_job = |pod: &Pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_JOB)).is_some_and(|job| job == name);
        Some(Known {
            jobs: self.jobs.read(namespace, |job| job.metadata.name.as_deref() == Some(name))?,
            pods: self.pods.read(namespace, of_job)?,
            refusals: self.refusals.read(namespace, |event| event.involved_object.name.as_deref() == Some(name))?,
        })
    }

    /// Stores a Job as the API server has answered a change of it.
    pub(super) fn store(&self, job: KubernetesJob) {
        self.jobs.put(job);
        self.count();
    }

    /// Drops a Job that was removed a moment ago.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        if let Some(of_namespace) = self.jobs.0.write().by_namespace.get_mut(namespace) {
            of_namespace.remove(name);
        }
        self.count();
    }

    /// The number of changes, for callers that wait for the next.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn count(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Watches until it is dropped, and calls `changed` with each user whose jobs have changed.
    pub(super) async fn run(&self, connection: &Connection, changed: &ChangeListener<'_>) {
        let _keeper = self.keeper.lock().await;
        let ours = Selection { labels: OURS, fields: "" };
        let notify = |namespace: &str| {
            self.count();
            if let Some(user) = self.user_of(namespace) {
                changed(&user);
            }
        };
        let watches = join3(
            self.jobs.follow(connection, ours, &notify),
            self.pods.follow(connection, ours, &notify),
            self.refusals.follow(connection, REFUSALS, &notify),
        );
        // When this is dropped, nothing keeps the objects current.
        let _outdated = OnDrop(|| {
            _ = (self.jobs.set_current(false), self.pods.set_current(false), self.refusals.set_current(false));
        });
        watches.await;
    }

    fn user_of(&self, namespace: &str) -> Option<Username> {
        let objects = self.jobs.0.read();
        let (_, job) = objects.by_namespace.get(namespace)?.values().next()?;
        Username::new(&annotation(&job.metadata, USER)?).ok()
    }
}

impl<T: Cached> Kept<T> {
    fn new() -> Self {
        Self(RwLock::new(Objects { by_namespace: HashMap::new(), is_current: false }))
    }

    fn read(&self, namespace: &str, is_chosen: impl Fn(&T) -> bool) -> Option<Vec<Arc<T>>> {
        let objects = self.0.read();
        let of_namespace = objects.by_namespace.get(namespace);
        objects.is_current.then(|| {
            let all = of_namespace.into_iter().flat_map(BTreeMap::values).map(|(_, object)| object);
            all.filter(|object| is_chosen(object)).cloned().collect()
        })
    }

    /// Whether it was current before.
    fn set_current(&self, is_current: bool) -> bool {
        std::mem::replace(&mut self.0.write().is_current, is_current)
    }

    /// Stores an object unless a newer one is there. Gives its namespace.
    fn put(&self, mut object: T) -> Option<String> {
        object.metadata_mut().managed_fields = None;
        let metadata = object.metadata();
        let (namespace, name, version) =
            (metadata.namespace.clone()?, metadata.name.clone()?, version(metadata.resource_version.as_deref()));
        let mut objects = self.0.write();
        let of_namespace = objects.by_namespace.entry(namespace.clone()).or_default();
        if of_namespace.get(&name).is_none_or(|(stored, _)| *stored <= version) {
            of_namespace.insert(name, (version, Arc::new(object)));
        }
        Some(namespace)
    }

    fn remove(&self, object: &T) -> Option<String> {
        let metadata = object.metadata();
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.as_deref()?);
        let version = version(metadata.resource_version.as_deref());
        let mut objects = self.0.write();
        if let Some(of_namespace) = objects.by_namespace.get_mut(&namespace) {
            // One of the same name may have been made since.
            if of_namespace.get(name).is_some_and(|(stored, _)| *stored <= version) {
                of_namespace.remove(name);
            }
            if of_namespace.is_empty() {
                objects.by_namespace.remove(&namespace);
            }
        }
        Some(namespace)
    }

    /// Stores a whole list of this version, and drops older objects that are not in it. Gives the namespaces that it concerns.
    fn replace(&self, list: Vec<T>, listed: &str) -> Vec<String> {
        let listed = version(Some(listed));
        let mut objects = self.0.write();
        let mut namespaces: Vec<String> = objects.by_namespace.keys().cloned().collect();
        for of_namespace in objects.by_namespace.values_mut() {
            of_namespace.retain(|_, (stored, _)| *stored > listed);
        }
        objects.by_namespace.retain(|_, of_namespace| !of_namespace.is_empty());
        drop(objects);
        namespaces.extend(list.into_iter().filter_map(|object| self.put(object)));
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// Lists and watches, again and again.
    async fn follow(&self, connection: &Connection, selection: Selection<'_>, notify: &(dyn Fn(&str) + Sync)) {
        let mut pause = MIN_PAUSE;
        let mut is_reported = false;
        loop {
            let begun = Instant::now();
            let outcome = self.list_and_watch(connection, selection, notify).await;
            let was_current = self.set_current(false);
            if begun.elapsed() > MAX_PAUSE {
                pause = MIN_PAUSE;
            }
            // The first failure of a row is reported.
            is_reported &= !was_current;
            if let Err(failure) = outcome
                && !std::mem::replace(&mut is_reported, true)
            {
                tracing::warn!(kind = T::KIND, ?failure, "the objects of Kubernetes are not watched: they are queried meanwhile");
            }
            sleep(pause).await;
            pause = (2 * pause).min(MAX_PAUSE);
        }
    }

    /// Lists the objects and follows their changes, until those cannot be had from there any more.
    async fn list_and_watch(
        &self,
        connection: &Connection,
        selection: Selection<'_>,
        notify: &(dyn Fn(&str) + Sync),
    ) -> Result<(), ApiFailure> {
        let (list, mut version) = connection.list_all::<T>(selection).await?;
        let mut events = connection.watch::<T>(selection, &version).await?;
        self.replace(list, &version).iter().for_each(|namespace| notify(namespace));
        self.set_current(true);
        loop {
            let mut is_empty = true;
            while let Ok(Some(event)) = timeout(MAX_SILENCE, events.next()).await {
                is_empty = false;
                let concerned = match event? {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        advance(&mut version, object.metadata());
                        self.put(object)
                    }
                    WatchEvent::Deleted(object) => {
                        advance(&mut version, object.metadata());
                        self.remove(&object)
                    }
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                        None
                    }
                    // The version is too old: everything is listed anew.
                    WatchEvent::Error(_) => return Ok(()),
                };
                if let Some(namespace) = concerned {
                    notify(&namespace);
                }
            }
            if is_empty {
                return Ok(());
            }
            // A watch ends after some minutes, and the next continues where it was.
            events = connection.watch::<T>(selection, &version).await?;
        }
    }
}

fn advance(version: &mut String, metadata: &ObjectMeta) {
    if let Some(newer) = &metadata.resource_version {
        version.clone_from(newer);
    }
}

/// The version of an object as a number. Kubernetes has them in the order of the changes.
fn version(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Runs something when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
