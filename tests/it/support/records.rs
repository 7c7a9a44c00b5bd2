//! What is written to the log.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Keeps every event, as `target: level=... field=value ...`, and the fields of every span.
#[derive(Clone, Default)]
pub struct Records(pub Arc<Mutex<Vec<String>>>);

impl Records {
    /// The lines of this target.
    pub fn of(&self, target: &str) -> Vec<String> {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(target)).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl<S: Subscriber> Layer<S> for Records {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(format!("{}: level={}", event.metadata().target(), event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        let mut line = Line("span:".to_owned());
        attributes.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

/// While one subscriber alone is alive, whether a place in the code is heard is decided by the first thread that comes there, and for
/// all; threads of other tests have none. So there are always two.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

/// Keeps what this thread writes to the log, until the guard is dropped.
pub fn records() -> (Records, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&ANOTHER);
    let records = Records::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(records.clone()));
    (records, guard)
}
