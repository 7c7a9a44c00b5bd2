//! Counters and response times of the API.
//!
//! Plain numbers: telemetry exports them. They are not histograms and families of prometheus-client, which take a lock for each
//! observation and create a series for any label. The cost of a request here is finding its route and adding to the existing
//! counters; all labels are known before the first request, whatever clients send.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};

/// The upper bounds of the histogram's buckets, in milliseconds.
const BOUNDS: [u64; 15] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// The methods with their own series.
const METHODS: [Method; 7] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// The method of requests with any other one.
const OTHER_METHOD: &str = "other";

/// The statuses with their own series, which are all that the API uses; others are counted by class.
pub(crate) const STATUSES: [u16; 26] =
    [200, 201, 204, 206, 304, 307, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 416, 422, 423, 424, 429, 460, 500, 501, 503, 504];

/// The classes of the others.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The label, in place of a status, for requests whose client did not wait for the response.
const ABANDONED: &str = "abandoned";

/// The number of series for statuses: one for each, one for each class, and one for no status.
const OUTCOMES: usize = STATUSES.len() + CLASSES.len() + 1;

/// The route label of requests whose path matches no route.
const UNMATCHED: &str = "unmatched";

/// The counters since the start. The default has no routes.
#[derive(Default)]
pub struct RequestMetrics {
    /// In the order of their templates.
    routes: Vec<(String, Route)>,
    unmatched: Route,
    connections: AtomicU64,
    in_flight: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// Requests that were answered, of one route, method and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<'a> {
    /// The template of the path.
    pub route: &'a str,
    /// The method.
    pub method: &'a str,
    /// The status, its class, or `abandoned`.
    pub status: String,
    /// The number.
    pub count: u64,
}

/// The response times of one route, from the request's head to the response's.
#[derive(Clone, Debug, PartialEq)]
pub struct Times<'a> {
    /// The template of the path.
    pub route: &'a str,
    /// The count for each upper bound in seconds, without those of the buckets before; the last bound is infinity.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of the times.
    pub sum: Duration,
}

impl RequestMetrics {
    /// Creates counters at zero for these path templates.
    pub(crate) fn new(routes: impl IntoIterator<Item = String>) -> Self {
        let mut routes: Vec<(String, Route)> = routes.into_iter().map(|route| (route, Route::default())).collect();
        routes.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self { routes, ..Self::default() }
    }

    /// Responses so far; series that are still zero are left out.
    pub fn answers(&self) -> Vec<Answers<'_>> {
        let mut found = Vec::new();
        for (route, counts) in self.used() {
            let methods = METHODS.iter().map(Method::as_str).chain([OTHER_METHOD]);
            for (method, outcomes) in methods.zip(&counts.outcomes) {
                let counts = outcomes.iter().map(|count| count.load(Ordering::Relaxed));
                let counts = counts.enumerate().filter(|(_, count)| *count > 0);
                found.extend(counts.map(|(place, count)| Answers { route, method, status: status_of(place), count }));
            }
        }
        found
    }

    /// Response times so far; routes that were never used are left out.
    pub fn times(&self) -> Vec<Times<'_>> {
        let times = self.used().map(|(route, counts)| {
            let bounds = BOUNDS.iter().map(|bound| Duration::from_millis(*bound).as_secs_f64()).chain([f64::INFINITY]);
            let buckets = bounds.zip(&counts.buckets).map(|(bound, count)| (bound, count.load(Ordering::Relaxed))).collect();
            Times { route, buckets, sum: Duration::from_nanos(counts.nanoseconds.load(Ordering::Relaxed)) }
        });
        times.filter(|times| times.buckets.iter().any(|(_, count)| *count > 0)).collect()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests under way now, to the last byte of their answers.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Bytes of the requests' bodies that were read.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes of the answers' bodies that were given to connections.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn used(&self) -> impl Iterator<Item = (&str, &Route)> {
        self.routes.iter().map(|(route, counts)| (route.as_str(), counts)).chain([(UNMATCHED, &self.unmatched)])
    }

    /// Records the start of a request on this route. It is counted as abandoned if it is dropped before its response.
    pub(crate) fn begin(&self, route: Option<&str>, method: &Method, started: Instant) -> UnansweredRequest<'_> {
        UnansweredRequest {
            route: route.and_then(|route| self.find(route)).unwrap_or(&self.unmatched),
            method: place_of_method(method),
            outcome: OUTCOMES - 1,
            started,
        }
    }

    fn find(&self, route: &str) -> Option<&Route> {
        let place = self.routes.binary_search_by(|(template, _)| template.as_str().cmp(route)).ok()?;
        Some(&self.routes[place].1)
    }

    /// A connection was accepted. It is open until the value is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }

    /// A request came in on a connection.
    pub(crate) fn entered(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that a response was sent completely or abandoned.
    pub(crate) fn left(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Bytes of a request's body were read.
    pub(crate) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of an answer's body were given to its connection.
    pub(crate) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// An open connection.
pub(crate) struct Connected(Arc<RequestMetrics>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that was not answered yet.
pub(crate) struct UnansweredRequest<'a> {
    route: &'a Route,
    method: usize,
    outcome: usize,
    started: Instant,
}

impl UnansweredRequest<'_> {
    /// It was answered.
    pub(crate) fn answered(mut self, status: StatusCode) {
        self.outcome = place_of_status(status);
        self.route.add_time(self.started.elapsed());
    }
}

impl Drop for UnansweredRequest<'_> {
    fn drop(&mut self) {
        self.route.outcomes[self.method][self.outcome].fetch_add(1, Ordering::Relaxed);
    }
}

struct Route {
    outcomes: [[AtomicU64; OUTCOMES]; METHODS.len() + 1],
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Default for Route {
    fn default() -> Self {
        let none = |_| AtomicU64::new(0);
        Self { outcomes: std::array::from_fn(|_| std::array::from_fn(none)), buckets: std::array::from_fn(none), nanoseconds: none(0) }
    }
}

impl Route {
    fn add_time(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_millis(*bound) < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn place_of_method(method: &Method) -> usize {
    METHODS.iter().position(|known| known == method).unwrap_or(METHODS.len())
}

fn place_of_status(status: StatusCode) -> usize {
    let status = status.as_u16();
    STATUSES.binary_search(&status).unwrap_or_else(|_| {
        let class = usize::from(status / 100).clamp(1, CLASSES.len());
        STATUSES.len() + class - 1
    })
}

fn status_of(place: usize) -> String {
    match (STATUSES.get(place), place.checked_sub(STATUSES.len()).and_then(|class| CLASSES.get(class))) {
        (Some(status), _) => status.to_string(),
        (None, Some(class)) => (*class).to_owned(),
        (None, None) => ABANDONED.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_place_that_says_it_or_its_class() {
        for status in 100..=999 {
            let text = status_of(place_of_status(StatusCode::from_u16(status).unwrap()));
            let class = CLASSES[usize::from(status / 100).min(5) - 1];
            assert!(text == status.to_string() || text == class, "{status}: {text}");
        }
        assert_eq!(status_of(place_of_status(StatusCode::NOT_FOUND)), "404");
        assert_eq!(status_of(place_of_status(StatusCode::IM_A_TEAPOT)), "4xx");
    }

    #[test]
    fn a_time_is_in_the_first_bucket_that_it_fits() {
        let request_metrics = RequestMetrics::new(["/a".to_owned()]);
        for took in [0, 1_000, 1_001, 60_000_000, 60_000_001] {
            request_metrics.find("/a").unwrap().add_time(Duration::from_micros(took));
        }
        let times = request_metrics.times();
        let counts: Vec<u64> = times[0].buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(times[0].sum, Duration::from_micros(120_002_002));
        assert_eq!((times.len(), times[0].buckets[2].0), (1, 0.005));
    }

    #[test]
    fn a_request_that_nobody_waits_for_is_abandoned_and_has_no_time() {
        let request_metrics = RequestMetrics::new(["/a".to_owned()]);
        drop(request_metrics.begin(Some("/a"), &Method::GET, Instant::now()));
        let expected = Answers { route: "/a", method: "GET", status: ABANDONED.to_owned(), count: 1 };
        assert_eq!(request_metrics.answers(), [expected]);
        assert!(request_metrics.times().is_empty());
    }
}
