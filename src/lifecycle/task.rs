//! Background work and cleanup that has not begun yet: tasks beside the requests, and closers after them.

use std::borrow::Cow;

use futures::future::{BoxFuture, FutureExt};

use super::Lifecycle;

type Run = Box<dyn FnOnce(Lifecycle) -> BoxFuture<'static, ()> + Send>;

/// Background work with a name, for the log and for the metrics.
pub struct Task {
    pub(super) name: Cow<'static, str>,
    pub(super) run: Run,
}

impl Task {
    /// A task that ends when the token of the lifecycle that it is given is cancelled. Further tasks that it needs, it starts there.
    pub fn new<W>(name: impl Into<Cow<'static, str>>, run: impl FnOnce(Lifecycle) -> W + Send + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        Self { name: name.into(), run: Box::new(move |lifecycle| run(lifecycle).boxed()) }
    }
}

/// A resource to close when nothing uses it any more.
pub struct Closer(pub(super) BoxFuture<'static, ()>);

impl Closer {
    /// Closes by running `close` once.
    pub fn new(close: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(close.boxed())
    }
}
