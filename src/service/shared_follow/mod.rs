//! One reader on the cluster for all callers that follow the same output of a job.
//!
//! A [`Hub`] reads from the cluster and keeps the last part of the content. It has no task: a follower that needs more drives
//! it, and the others receive the same content. A follower at another place in the output, at its start or too far behind, gets a separate hub and
//! changes to the one ahead as soon as that has the next content. Followers have the same user and subject, and thus the same rights.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;
use parking_lot::Mutex;

use super::ServiceError;
use super::updates::{EndReason, Update};
use crate::domain::{JobId, LogStream, SystemName, Username};
use crate::filesystem::Followed;

/// The maximum that a hub keeps for the followers behind it, in bytes, and in pieces.
const MAX_KEPT: usize = 512 * 1024;
const MAX_PIECES: usize = 1024;

/// The key of a hub: the output and its reader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FollowKey {
    pub(super) system: SystemName,
    pub(super) user: Username,
    /// The subject of the user's token: two subjects with the same user name are different readers.
    pub(super) subject: String,
    pub(super) job: JobId,
    pub(super) stream: LogStream,
}

/// An event of a source. The first is [`Event::Opened`] or an error; the last is one of the others.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// It can be followed.
    Opened,
    /// Something happened to the file.
    Change(Followed),
    /// The output is complete, and everything was sent.
    Ended,
    /// Its own caller's token has ended.
    Expired,
    /// It cannot be followed any more.
    Failed(Arc<ServiceError>),
}

/// The events of an output from an offset on.
pub(super) type Source = BoxStream<'static, Event>;

/// Opens a separate source for a follower.
pub(super) type OpenSource = Box<dyn Fn(u64) -> Source + Send + Sync>;

/// The permit that counts against the user's limit.
pub(super) type Permit = Arc<dyn Send + Sync>;

/// The event that a hub waits for, driven by all callers that wait for it.
type Pending = Shared<BoxFuture<'static, Event>>;

/// Everything that is followed. Clones share it.
#[derive(Clone, Default)]
pub(super) struct SharedFollows(Arc<Mutex<HashMap<FollowKey, Vec<Weak<Hub>>>>>);

struct Hub {
    source: Arc<tokio::sync::Mutex<Source>>,
    window: Mutex<Window>,
    /// The permit, kept until the last hub of the same output is gone.
    permit: Permit,
}

/// The last events of a hub.
struct Window {
    /// The number of the first that is kept.
    first: u64,
    events: VecDeque<Event>,
    kept: usize,
    /// The end of the part that was read, in bytes from the start of the file.
    offset: u64,
    /// The number of truncations of the file. Offsets are comparable only if it is equal.
    epoch: u64,
    next: Pending,
    over: bool,
}

/// The state of the hub at a follower's offset.
enum At {
    Event(Event),
    /// It is at the end: this comes next.
    Head(Pending),
    /// The content there is no longer kept.
    Passed,
}

/// A position in a hub's events: the number of the next event, and the number of its bytes that were sent already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventPosition {
    index: u64,
    skip: usize,
}

impl Window {
    fn at(&self, index: u64) -> At {
        let Some(at) = index.checked_sub(self.first) else { return At::Passed };
        let event = usize::try_from(at).ok().and_then(|at| self.events.get(at)).cloned();
        event.map_or_else(|| At::Head(self.next.clone()), At::Event)
    }

    /// Takes the event of this number, unless another follower was faster.
    fn push(&mut self, index: u64, event: Event, source: &Arc<tokio::sync::Mutex<Source>>) {
        if index != self.end() {
            return;
        }
        match &event {
            Event::Change(Followed::Data { data, end }) => {
                self.offset = *end;
                self.kept += data.len();
            }
            Event::Change(Followed::Truncated | Followed::Replaced) => {
                self.offset = 0;
                self.epoch += 1;
            }
            Event::Opened | Event::Change(Followed::Removed) => {}
            Event::Ended | Event::Expired | Event::Failed(_) => self.over = true,
        }
        self.events.push_back(event);
        while self.events.len() > 1 && (self.kept > MAX_KEPT || self.events.len() > MAX_PIECES) {
            if let Some(Event::Change(Followed::Data { data, .. })) = self.events.pop_front() {
                self.kept -= data.len();
            }
            self.first += 1;
        }
        self.next = pending(source);
    }

    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The place of the content after `offset`, in the current content of the file.
    fn place(&self, offset: u64) -> Option<EventPosition> {
        let mut index = self.end();
        if offset == self.offset {
            return Some(EventPosition { index, skip: 0 });
        }
        for event in self.events.iter().rev() {
            index -= 1;
            match event {
                Event::Change(Followed::Data { data, end }) => {
                    let start = end.saturating_sub(data.len() as u64);
                    if (start..*end).contains(&offset) {
                        return Some(EventPosition { index, skip: usize::try_from(offset - start).ok()? });
                    }
                }
                Event::Change(Followed::Removed) => {}
                _ => return None,
            }
        }
        None
    }
}

fn pending(source: &Arc<tokio::sync::Mutex<Source>>) -> Pending {
    let source = Arc::clone(source);
    async move { source.lock().await.next().await.unwrap_or(Event::Expired) }.boxed().shared()
}

impl Hub {
    fn new(source: Source, offset: u64, epoch: u64, permit: Permit) -> Arc<Self> {
        let source = Arc::new(tokio::sync::Mutex::new(source));
        let next = pending(&source);
        let window = Window { first: 0, events: VecDeque::new(), kept: 0, offset, epoch, next, over: false };
        Arc::new(Self { source, window: Mutex::new(window), permit })
    }

    /// The place and the content for a follower at `offset`; `None` if the hub does not have the next content.
    fn place(&self, offset: u64, epoch: Option<u64>) -> Option<(u64, EventPosition)> {
        let window = self.window.lock();
        let comparable = !window.over && epoch.is_none_or(|epoch| epoch == window.epoch);
        comparable.then(|| window.place(offset)).flatten().map(|place| (window.offset, place))
    }
}

impl SharedFollows {
    /// Follows from `offset`, together with other followers if there are any. `permit` is called if there are none.
    ///
    /// # Errors
    /// The errors of the permit and of the source.
    pub(super) async fn join(
        &self,
        key: FollowKey,
        offset: u64,
        expires_at: Timestamp,
        permit: impl FnOnce() -> Result<Permit, ServiceError>,
        open: OpenSource,
    ) -> Result<Follower, ServiceError> {
        let shared = self.hubs(&key).first().map(|hub| Arc::clone(&hub.permit));
        let permit = shared.map_or_else(permit, Ok)?;
        let (hub, place) = self.seat(&key, offset, None, permit, &open);
        let epoch = hub.window.lock().epoch;
        let mut follower = Follower { follows: self.clone(), key, open, expires_at, hub, place, offset, epoch, over: false };
        follower.opened().await?;
        Ok(follower)
    }

    /// The hubs of this output.
    fn hubs(&self, key: &FollowKey) -> Vec<Arc<Hub>> {
        self.0.lock().get(key).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    /// A hub that has the data after `offset`: of the existing ones the one that has read most, or else a new one.
    fn seat(&self, key: &FollowKey, offset: u64, epoch: Option<u64>, permit: Permit, open: &OpenSource) -> (Arc<Hub>, EventPosition) {
        let mut follows = self.0.lock();
        follows.retain(|_, hubs| {
            hubs.retain(|hub| hub.strong_count() > 0);
            !hubs.is_empty()
        });
        let hubs = follows.entry(key.clone()).or_default();
        let live: Vec<_> = hubs.iter().filter_map(Weak::upgrade).collect();
        let places = live.iter().filter_map(|hub| hub.place(offset, epoch).map(|(read, place)| (read, hub, place)));
        if let Some((_, hub, place)) = places.max_by_key(|(read, ..)| *read) {
            return (Arc::clone(hub), place);
        }
        let epoch = epoch.or_else(|| live.iter().map(|hub| hub.window.lock().epoch).max()).unwrap_or(0);
        let hub = Hub::new(open(offset), offset, epoch, permit);
        hubs.push(Arc::downgrade(&hub));
        (hub, EventPosition { index: 0, skip: 0 })
    }

    /// A hub that is ahead of this one and has the data after `offset`.
    fn ahead(&self, key: &FollowKey, own: &Arc<Hub>, offset: u64, epoch: u64) -> Option<(Arc<Hub>, EventPosition)> {
        let hubs = self.hubs(key);
        let at = hubs.iter().position(|hub| Arc::ptr_eq(hub, own)).unwrap_or(hubs.len());
        // Of two that are equally far the older one is the one to follow.
        let is_ahead = |index: usize, read: u64| read > offset || (read == offset && index < at);
        let mut others = hubs.into_iter().enumerate().filter(|(_, hub)| !Arc::ptr_eq(hub, own));
        others.find_map(|(index, hub)| {
            let (read, place) = hub.place(offset, Some(epoch))?;
            is_ahead(index, read).then_some((hub, place))
        })
    }
}

/// A follower.
pub(super) struct Follower {
    follows: SharedFollows,
    key: FollowKey,
    open: OpenSource,
    expires_at: Timestamp,
    hub: Arc<Hub>,
    place: EventPosition,
    /// The end of the part that was sent.
    offset: u64,
    epoch: u64,
    over: bool,
}

impl Follower {
    /// The updates, until the output has ended or the caller's token has expired.
    pub(super) fn updates(self) -> BoxStream<'static, Result<Update, ServiceError>> {
        futures::stream::unfold(self, |mut follower| async move { follower.next().await.map(|update| (update, follower)) }).boxed()
    }

    /// Waits until the source is open.
    async fn opened(&mut self) -> Result<(), ServiceError> {
        loop {
            let window = self.hub.window.lock().at(0);
            match window {
                At::Event(Event::Failed(error)) => return Err(ServiceError::Shared(error)),
                At::Event(_) | At::Passed => return Ok(()),
                At::Head(next) => {
                    let event = next.await;
                    self.hub.window.lock().push(0, event, &self.hub.source);
                }
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Update, ServiceError>> {
        while !self.over {
            let found = self.hub.window.lock().at(self.place.index);
            let update = match found {
                At::Event(event) => self.take(event),
                At::Passed => self.fell_behind(),
                At::Head(next) => {
                    if let Some((hub, place)) = self.follows.ahead(&self.key, &self.hub, self.offset, self.epoch) {
                        (self.hub, self.place) = (hub, place);
                        continue;
                    }
                    let event = next.await;
                    self.hub.window.lock().push(self.place.index, event, &self.hub.source);
                    None
                }
            };
            if update.is_some() {
                return update;
            }
        }
        None
    }

    fn take(&mut self, event: Event) -> Option<Result<Update, ServiceError>> {
        let EventPosition { index, skip } = self.place;
        self.place = EventPosition { index: index + 1, skip: 0 };
        match event {
            Event::Opened => None,
            Event::Change(Followed::Data { data, end }) => {
                self.offset = end;
                Some(Ok(Update::Change(Followed::Data { data: data.slice(skip.min(data.len())..), end })))
            }
            Event::Change(change @ (Followed::Truncated | Followed::Replaced)) => {
                self.offset = 0;
                self.epoch += 1;
                Some(Ok(Update::Change(change)))
            }
            Event::Change(Followed::Removed) => Some(Ok(Update::Change(Followed::Removed))),
            Event::Ended => self.end(EndReason::JobEnded),
            Event::Expired if self.expires_at <= Timestamp::now() => self.end(EndReason::TokenEnded),
            Event::Expired => {
                tracing::debug!(index, "the token of the first reader has expired; another reader takes over");
                self.move_on();
                None
            }
            Event::Failed(error) => {
                self.over = true;
                Some(Err(ServiceError::Shared(error)))
            }
        }
    }

    fn end(&mut self, reason: EndReason) -> Option<Result<Update, ServiceError>> {
        self.over = true;
        Some(Ok(Update::End(reason)))
    }

    /// Continues with another hub, because this one no longer keeps the next content.
    fn fell_behind(&mut self) -> Option<Result<Update, ServiceError>> {
        let epoch = self.hub.window.lock().epoch;
        let began_anew = epoch != self.epoch;
        if began_anew {
            (self.offset, self.epoch) = (0, epoch);
        }
        self.move_on();
        began_anew.then_some(Ok(Update::Change(Followed::Truncated)))
    }

    fn move_on(&mut self) {
        let permit = Arc::clone(&self.hub.permit);
        (self.hub, self.place) = self.follows.seat(&self.key, self.offset, Some(self.epoch), permit, &self.open);
    }
}

#[cfg(test)]
mod tests;
