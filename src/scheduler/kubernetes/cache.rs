//! The jobs of all users as the API server reports their changes, so that a list is answered from memory.
//!
//! The cache answers only while all its watches stand. Otherwise the API server is queried, and its failure is the answer: stale state is
//! never returned as current. A change that Goldcrest itself has made is stored at once, so that users see their own changes. A Job whose
//! removal is reported before it had ended is kept as a cancelled one.

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
use super::removed::{self, RemovedJobs};
use super::state::Observed;
use super::view::annotation;
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
    jobs: ObjectStore<KubernetesJob>,
    pods: ObjectStore<Pod>,
    refusals: ObjectStore<Event>,
    removed: RemovedJobs,
    /// Counts the changes.
    changes: watch::Sender<u64>,
    /// Locked by the task that keeps it current; during a reload there may be two.
    keeper: tokio::sync::Mutex<()>,
}

/// The objects that belong to the jobs of a namespace, or to one of them.
#[derive(Debug, Default)]
pub(super) struct JobObjects {
    pub(super) jobs: Vec<Arc<KubernetesJob>>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// The events about pods that could not be created.
    pub(super) refusals: Vec<Arc<Event>>,
}

impl From<JobObjects> for Observed {
    fn from(known: JobObjects) -> Self {
        Self::new(known.jobs, known.pods).with_refusals(&known.refusals)
    }
}

/// The objects of one kind.
struct ObjectStore<T>(RwLock<Objects<T>>);

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
            jobs: ObjectStore::new(),
            pods: ObjectStore::new(),
            refusals: ObjectStore::new(),
            removed: RemovedJobs::default(),
            changes: watch::Sender::new(0),
            keeper: tokio::sync::Mutex::new(()),
        }
    }

    /// All that is known of the jobs in a namespace; none where it is not current.
    pub(super) fn all(&self, namespace: &str) -> Option<JobObjects> {
        Some(JobObjects {
            jobs: self.jobs.read(namespace, |_| true)?,
            pods: self.pods.read(namespace, |_| true)?,
            refusals: self.refusals.read(namespace, |_| true)?,
        })
    }

    /// All that is known of one job; none where it is not current, or there is no such job.
    pub(super) fn one(&self, namespace: &str, name: &str) -> Option<JobObjects> {
        let jobs = self.jobs.read(namespace, |job| job.metadata.name.as_deref() == Some(name)).filter(|jobs| !jobs.is_empty())?;
        Some(JobObjects {
            jobs,
            pods: self.pods.read(namespace, |pod| is_of_job(pod, name))?,
            refusals: self.refusals.read(namespace, |event| event.involved_object.name.as_deref() == Some(name))?,
        })
    }

    /// The jobs that were removed before they had ended.
    pub(super) fn removed(&self) -> &RemovedJobs {
        &self.removed
    }

    /// Stores a Job as the API server has answered a change of it.
    pub(super) fn store(&self, job: KubernetesJob) {
        self.jobs.put(job);
        self.count();
    }

    /// Stores what was queried, so that a watch that begins with an older list does not answer with less than was answered before.
    pub(super) fn learn(&self, jobs: &[KubernetesJob], pods: &[Pod]) {
        jobs.iter().for_each(|job| drop(self.jobs.put(job.clone())));
        pods.iter().for_each(|pod| drop(self.pods.put(pod.clone())));
    }

    /// Drops a Job that Goldcrest itself has removed. Nothing is shown of it.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.removed.hide(namespace, name);
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
        let notify = |namespace: &str, job: Option<&KubernetesJob>| {
            self.count();
            if let Some(user) = job.and_then(user_of_job).or_else(|| self.user_of(namespace)) {
                changed(&user);
            }
        };
        let notify_of_job = |namespace: &str, removed: Option<&KubernetesJob>| {
            removed.into_iter().for_each(|job| self.note_removal(namespace, job));
            notify(namespace, removed);
        };
        let notify_of_pod = |namespace: &str, _: Option<&Pod>| notify(namespace, None);
        let notify_of_refusal = |namespace: &str, _: Option<&Event>| notify(namespace, None);
        let watches = join3(
            self.jobs.follow(connection, ours, &notify_of_job),
            self.pods.follow(connection, ours, &notify_of_pod),
            self.refusals.follow(connection, REFUSALS, &notify_of_refusal),
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
        user_of_job(job)
    }

    /// Notes that the API server knows no such Job, whatever was known while a watch stood last.
    pub(super) fn note_absence(&self, namespace: &str, name: &str) {
        let known = self.jobs.last_known(namespace, |job| job.metadata.name.as_deref() == Some(name));
        known.iter().for_each(|job| self.note_removal(namespace, job));
    }

    /// Keeps a Job that is there no more, unless it had ended.
    fn note_removal(&self, namespace: &str, job: &KubernetesJob) {
        let Some(name) = job.metadata.name.as_deref() else { return };
        let rows = removed::rows(job, self.pods.last_known(namespace, |pod| is_of_job(pod, name)));
        if !rows.is_empty() {
            self.removed.add(namespace, name, rows);
        }
    }
}

fn is_of_job(pod: &Pod, name: &str) -> bool {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(POD_JOB)).is_some_and(|job| job == name)
}

fn user_of_job(job: &KubernetesJob) -> Option<Username> {
    Username::new(&annotation(&job.metadata, USER)?).ok()
}

/// Called with the namespace of each change, and with the object that is there no more.
type Notify<'a, T> = dyn Fn(&str, Option<&T>) + Sync + 'a;

impl<T: Cached> ObjectStore<T> {
    fn new() -> Self {
        Self(RwLock::new(Objects { by_namespace: HashMap::new(), is_current: false }))
    }

    fn read(&self, namespace: &str, is_chosen: impl Fn(&T) -> bool) -> Option<Vec<Arc<T>>> {
        let objects = self.0.read();
        objects.is_current.then(|| objects.choose(namespace, is_chosen))
    }

    /// Those that were known when a watch stood last.
    fn last_known(&self, namespace: &str, is_chosen: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        self.0.read().choose(namespace, is_chosen)
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

    /// Removes an object. Gives its namespace, and whether it was there.
    fn remove(&self, object: &T) -> Option<(String, bool)> {
        let metadata = object.metadata();
        let (namespace, name) = (metadata.namespace.clone()?, metadata.name.as_deref()?);
        let version = version(metadata.resource_version.as_deref());
        let mut objects = self.0.write();
        let mut was_there = false;
        if let Some(of_namespace) = objects.by_namespace.get_mut(&namespace) {
            // One of the same name may have been made since.
            if of_namespace.get(name).is_some_and(|(stored, _)| *stored <= version) {
                was_there = of_namespace.remove(name).is_some();
            }
            if of_namespace.is_empty() {
                objects.by_namespace.remove(&namespace);
            }
        }
        Some((namespace, was_there))
    }

    /// Stores a whole list of this version, and drops what is older and not in it. Gives the namespaces that it concerns, and what was dropped.
    fn replace(&self, list: Vec<T>, listed: &str) -> (Vec<String>, Vec<Arc<T>>) {
        let listed = version(Some(listed));
        let mut objects = self.0.write();
        let mut namespaces: Vec<String> = objects.by_namespace.keys().cloned().collect();
        let mut dropped: HashMap<(String, String), Arc<T>> = HashMap::new();
        for (namespace, of_namespace) in &mut objects.by_namespace {
            let old = of_namespace.extract_if(.., |_, (stored, _)| *stored <= listed);
            dropped.extend(old.map(|(name, (_, object))| ((namespace.clone(), name), object)));
        }
        objects.by_namespace.retain(|_, of_namespace| !of_namespace.is_empty());
        drop(objects);
        for object in list {
            let metadata = object.metadata();
            dropped.remove(&(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default()));
            namespaces.extend(self.put(object));
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        (namespaces, dropped.into_values().collect())
    }

    /// Lists and watches, again and again.
    async fn follow(&self, connection: &Connection, selection: Selection<'_>, notify: &Notify<'_, T>) {
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
    async fn list_and_watch(&self, connection: &Connection, selection: Selection<'_>, notify: &Notify<'_, T>) -> Result<(), ApiFailure> {
        let (list, mut version) = connection.list_all::<T>(selection).await?;
        let mut events = connection.watch::<T>(selection, &version).await?;
        let (namespaces, dropped) = self.replace(list, &version);
        for object in dropped {
            notify(object.metadata().namespace.as_deref().unwrap_or_default(), Some(&object));
        }
        namespaces.iter().for_each(|namespace| notify(namespace, None));
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
                        if let Some((namespace, was_there)) = self.remove(&object) {
                            notify(&namespace, Some(&object).filter(|_| was_there));
                        }
                        None
                    }
                    WatchEvent::Bookmark(bookmark) => {
                        version = bookmark.metadata.resource_version;
                        None
                    }
                    // The version is too old: everything is listed anew.
                    WatchEvent::Error(_) => return Ok(()),
                };
                if let Some(namespace) = concerned {
                    notify(&namespace, None);
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

impl<T> Objects<T> {
    fn choose(&self, namespace: &str, is_chosen: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let all = self.by_namespace.get(namespace).into_iter().flat_map(BTreeMap::values).map(|(_, object)| object);
        all.filter(|object| is_chosen(object)).cloned().collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_watch_that_begins_with_an_older_list_does_not_take_back_what_was_queried() {
        let pod = |version: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {"namespace": "jane", "name": "sim-1-x", "resourceVersion": version}})).unwrap()
        };
        let cache = Cache::new();
        cache.learn(&[], &[pod("12")]);
        cache.pods.replace(vec![pod("7")], "9");
        cache.pods.set_current(true);
        let known = cache.pods.read("jane", |_| true).unwrap();
        assert_eq!(known.iter().map(|pod| pod.metadata.resource_version.as_deref()).collect::<Vec<_>>(), [Some("12")]);
        // What a newer list lacks is there no more.
        cache.pods.replace(Vec::new(), "13");
        assert!(cache.pods.read("jane", |_| true).unwrap().is_empty());
    }
}
