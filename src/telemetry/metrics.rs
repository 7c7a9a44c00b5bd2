//! The metrics, read from the counters of other modules at each scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet, text};
use prometheus_client::registry::Registry;

use super::families::{self, Family};
use super::process::{self, Process};
use crate::cluster::Cluster;
use crate::domain::{ClusterHealth, ServiceType};
use crate::http::{MetricsFormat, RequestMetrics};
use crate::lifecycle::TaskStatus;
use crate::notify::Webhooks;
use crate::scheduler::{CachedScheduler, ReadCounts};
use crate::service::{Decisions, Gate};
use crate::ssh::{Lanes, Stats};
use crate::store::Store;

/// The sources of the counters.
#[derive(Clone)]
pub struct Sources {
    /// The API.
    pub request_metrics: Arc<RequestMetrics>,
    /// The gate, with the operations behind it.
    pub gate: Gate,
    /// The SSH connections to each cluster.
    pub lanes: Vec<Arc<Lanes>>,
    /// The store, if there is one.
    pub store: Option<Arc<dyn Store>>,
    /// The webhooks, if the site has some.
    pub webhooks: Option<Webhooks>,
    /// The background work.
    pub tasks: Vec<TaskStatus>,
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// The metrics of these sources, and of the process, which has just started.
    pub fn new(sources: Sources) -> Self {
        Self::following(move || sources.clone())
    }

    /// As [`Metrics::new`], but the sources are looked up at each scrape, since a reload replaces them.
    pub fn following(sources: impl Fn() -> Sources + Send + Sync + 'static) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Follower { sources: Box::new(sources), process: Process::new() }));
        Self { registry }
    }

    /// The present values in this format.
    ///
    /// # Errors
    /// If the text cannot be written.
    pub fn render(&self, format: MetricsFormat) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(match format {
            MetricsFormat::OpenMetrics => text,
            MetricsFormat::Text => classic(&text),
        })
    }
}

struct Follower {
    sources: Box<dyn Fn() -> Sources + Send + Sync>,
    process: Process,
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

impl Collector for Follower {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reader = Reader { sources: (self.sources)(), process: &self.process };
        let mut writer = Writer(encoder);
        writer.info(&families::BUILD, [env!("CARGO_PKG_VERSION")])?;
        reader.http(&mut writer)?;
        reader.gate(&mut writer)?;
        reader.systems(&mut writer)?;
        reader.mirrors(&mut writer)?;
        reader.health(&mut writer)?;
        reader.ssh(&mut writer)?;
        reader.store(&mut writer)?;
        reader.webhooks(&mut writer)?;
        reader.tasks(&mut writer)?;
        reader.process(&mut writer)
    }
}

/// One reading.
struct Reader<'a> {
    sources: Sources,
    process: &'a Process,
}

impl Reader<'_> {
    fn http(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let request_metrics = &self.sources.request_metrics;
        let answers = request_metrics.answers();
        let answers = answers.iter().map(|answers| ([answers.method, answers.route, answers.status.as_str()], answers.count));
        writer.counters(&families::REQUESTS, answers)?;
        let times = request_metrics.times();
        writer.histograms(&families::DURATION, times.iter().map(|times| ([times.route], (times.sum, times.buckets.as_slice()))))?;
        writer.gauges(&families::IN_FLIGHT, [([], request_metrics.in_flight())])?;
        writer.gauges(&families::CONNECTIONS, [([], request_metrics.connections())])?;
        writer.counters(&families::RECEIVED, [([], request_metrics.received())])?;
        writer.counters(&families::SENT, [([], request_metrics.sent())])
    }

    fn gate(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let gate = &self.sources.gate;
        writer.counters(&families::TOKENS, gate.token_counts().outcomes().map(|(outcome, count)| ([outcome], count)))?;
        let decisions = gate.system_counts().flat_map(|(cluster, counts)| {
            let row = |row: Decisions| ([name(cluster), row.decision, if row.cached { "true" } else { "false" }], row.count);
            counts.decisions().map(row)
        });
        writer.counters(&families::DECISIONS, decisions)
    }

    fn systems(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let systems = || self.sources.gate.system_counts();
        let changes = systems().flat_map(|(cluster, counts)| {
            // Most sites never have most of the other series.
            let seen = counts.changes().filter(|changes| changes.count > 0 || changes.action == "jobs.submit");
            seen.map(|changes| ([name(cluster), changes.action, changes.outcome], changes.count))
        });
        writer.counters(&families::CHANGES, changes)?;
        let content = systems().flat_map(|(cluster, counts)| {
            [([name(cluster), "upload"], counts.uploaded()), ([name(cluster), "download"], counts.downloaded())]
        });
        writer.counters(&families::CONTENT, content)?;
        let reads = systems().flat_map(|(cluster, _)| {
            let scheduler = cluster.without_health_check().compute;
            scheduler.into_iter().flat_map(CachedScheduler::read_counts).flat_map(move |(read, counts)| {
                let ReadCounts { asked, joined, remembered } = counts;
                let row = |(source, count)| ([name(cluster), read, source], count);
                [("asked", asked), ("joined", joined), ("remembered", remembered)].map(row)
            })
        });
        writer.counters(&families::READS, reads)
    }

    fn mirrors(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let mirrors = || self.sources.gate.mirrors().map(|mirror| (mirror.system().as_str(), mirror));
        let queries = mirrors()
            .flat_map(|(system, mirror)| mirror.counters().queries().map(move |(query, outcome, count)| ([system, query, outcome], count)));
        writer.counters(&families::MIRROR_QUERIES, queries)?;
        let answers =
            mirrors().filter_map(|(system, mirror)| Some(([system], mirror.counters().last_answer()?.as_duration().as_secs_f64())));
        writer.gauges(&families::MIRROR_ANSWER, answers)?;
        writer.counters(&families::MIRROR_EVENTS, mirrors().map(|(system, mirror)| ([system], mirror.counters().events())))?;
        writer.gauges(&families::MIRROR_WATCHERS, mirrors().map(|(system, mirror)| ([system], mirror.watchers() as u64)))?;
        let pushes =
            mirrors().flat_map(|(system, mirror)| mirror.counters().pushes().map(move |(outcome, count)| ([system, outcome], count)));
        writer.counters(&families::MIRROR_PUSHES, pushes)
    }

    fn health(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let checked: Vec<_> = self.sources.gate.system_counts().map(|(cluster, _)| (name(cluster), cluster.health())).collect();
        let services = checked.iter().flat_map(|(system, health)| services(health).map(|(service, healthy)| ([*system, service], healthy)));
        writer.gauges(&families::HEALTHY, services)?;
        let ends = checked.iter().filter_map(|(system, health)| Some(([*system], health.last_check?.as_duration().as_secs_f64())));
        writer.gauges(&families::LAST_CHECK, ends)
    }

    fn ssh(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let lanes: Vec<(&str, Stats)> = self.sources.lanes.iter().map(|lanes| (lanes.system().as_str(), lanes.stats())).collect();
        let each = |number: fn(&Stats) -> u64| lanes.iter().map(move |(system, stats)| ([*system], number(stats)));
        writer.gauges(&families::SSH_OPEN, each(|stats| stats.open))?;
        writer.gauges(&families::SSH_WAITING, each(|stats| stats.waiting))?;
        writer.counters(&families::SSH_OPENED, each(|stats| stats.opened))?;
        writer.counters(&families::SSH_FAILED, each(|stats| stats.failed))?;
        writer.counters(&families::SSH_DROPPED, each(|stats| stats.dropped_by_server))?;
        let closed = lanes.iter().flat_map(|(system, stats)| closed(stats).map(|(reason, count)| ([*system, reason], count)));
        writer.counters(&families::SSH_CLOSED, closed)?;
        writer.counters(&families::SSH_CHANNELS, each(|stats| stats.channels))?;
        writer.counters(&families::SSH_REFUSED, each(|stats| stats.refused))?;
        writer.counters(&families::SSH_WAITS, each(|stats| stats.waits))?;
        writer.counters(&families::SSH_RETRIES, each(|stats| stats.retries))?;
        writer.counters(&families::SSH_SHELLS, each(|stats| stats.shells))?;
        writer.counters(&families::SSH_REUSED, each(|stats| stats.reused))
    }

    fn store(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let status = self.sources.store.as_ref().map(|store| store.status());
        writer.gauges(&families::STORE_UP, status.map(|status| ([], u64::from(status.is_up()))))?;
        let operations = status.into_iter().flat_map(crate::store::Status::operations);
        writer.counters(&families::STORE_OPERATIONS, operations.map(|(outcome, count)| ([outcome], count)))
    }

    fn webhooks(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let deliveries = self.sources.webhooks.iter().flat_map(Webhooks::deliveries);
        writer.counters(&families::WEBHOOKS, deliveries.map(|(outcome, count)| ([outcome], count)))
    }

    fn tasks(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let tasks = self.sources.tasks.iter().map(|task| (task.name.as_ref(), u64::from(task.is_running)));
        // Of tasks of one name, such as those of clusters that a reload replaces, one that has panicked counts.
        let mut found = BTreeMap::new();
        for (name, is_running) in tasks {
            found.entry(name).and_modify(|other: &mut u64| *other = is_running.min(*other)).or_insert(is_running);
        }
        writer.gauges(&families::TASKS, found.into_iter().map(|(name, is_running)| ([name], is_running)))
    }

    fn process(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.counters(&families::CPU, [([], process::cpu().as_secs_f64())])?;
        writer.gauges(&families::MEMORY, process::memory().map(|bytes| ([], bytes)))?;
        writer.gauges(&families::OPEN_FILES, process::open_files().map(|files| ([], files)))?;
        writer.gauges(&families::MAX_FILES, process::max_files().map(|files| ([], files)))?;
        writer.gauges(&families::STARTED, [([], self.process.started().as_secs_f64())])
    }
}

/// The same numbers in Prometheus' text format 0.0.4, which knows neither units nor infos, and names counters whole.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut held: Option<&str> = None;
    for line in open_metrics.lines() {
        let (word, rest) = match line.strip_prefix("# ").and_then(|comment| comment.split_once(' ')) {
            Some(comment) => comment,
            None if line == "# EOF" => continue,
            None => {
                text.extend([line, "\n"]);
                continue;
            }
        };
        match word {
            // The name is known with the type, which comes after it.
            "HELP" => held = Some(rest),
            "TYPE" => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, help)) = held.take().and_then(|held| held.split_once(' ')) {
                    text.extend(["# HELP ", name, suffix, " ", help, "\n"]);
                }
                text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
            }
            _ => {}
        }
    }
    text
}

/// Why connections were closed. Every number of the lanes is named here, so that one that is added to them is not forgotten.
fn closed(stats: &Stats) -> [(&'static str, u64); 9] {
    let Stats {
        open: _,
        waiting: _,
        opened: _,
        failed: _,
        dropped_by_server: _,
        closed_idle,
        closed_evicted,
        closed_yielded,
        closed_credential,
        closed_aged,
        closed_frozen,
        closed_lingering,
        closed_lost,
        closed_shutdown,
        channels: _,
        shells: _,
        reused: _,
        refused: _,
        waits: _,
        retries: _,
    } = *stats;
    [
        ("idle", closed_idle),
        ("evicted", closed_evicted),
        ("yielded", closed_yielded),
        ("credential", closed_credential),
        ("aged", closed_aged),
        ("frozen", closed_frozen),
        ("lingering", closed_lingering),
        ("lost", closed_lost),
        ("shutdown", closed_shutdown),
    ]
}

fn name(cluster: &Cluster) -> &str {
    cluster.name().as_str()
}

/// Each service that was checked, and whether it may be used: 1 or 0. Paths are left out, since they may hold names of users.
fn services(health: &ClusterHealth) -> impl Iterator<Item = (&'static str, u64)> {
    let checked = |service| health.services.iter().any(|entry| entry.service == service);
    let found = [ServiceType::Ssh, ServiceType::Scheduler, ServiceType::Filesystem, ServiceType::S3];
    let found = found.map(|service| checked(service).then(|| (service.name(), u64::from(health.unhealthy(service).is_none()))));
    let failed = checked(ServiceType::Exception);
    let checker = (failed || health.last_check.is_some()).then(|| ("checker", u64::from(!failed)));
    found.into_iter().chain([checker]).flatten()
}

/// Writes families.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counters<'v, const N: usize, V: EncodeCounterValue>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], V)>,
    ) -> fmt::Result {
        self.samples(family, samples, |encoder, value| encoder.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    fn gauges<'v, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], V)>,
    ) -> fmt::Result {
        self.samples(family, samples, |encoder, value| encoder.encode_gauge(&value))
    }

    fn histograms<'v, const N: usize>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], (Duration, &'v [(f64, u64)]))>,
    ) -> fmt::Result {
        self.samples(family, samples, |encoder, (sum, buckets)| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, buckets, None)
        })
    }

    /// Writes a family: each sample with its labels, where the family has any.
    fn samples<'v, const N: usize, V>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], V)>,
        encode: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(family.stem(), family.help, family.unit, family.kind)?;
        for (values, value) in samples {
            if N == 0 {
                encode(&mut encoder, value)?;
            } else {
                encode(&mut encoder.encode_family(&labels(family, values))?, value)?;
            }
        }
        Ok(())
    }

    fn info<const N: usize>(&mut self, family: &Family, values: [&str; N]) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(family.stem(), family.help, family.unit, family.kind)?;
        encoder.encode_info(&labels(family, values))
    }
}

/// The labels of a sample. Names and values are given in the same order.
fn labels<'v, const N: usize>(family: &Family, values: [&'v str; N]) -> [(&'static str, &'v str); N] {
    debug_assert_eq!(family.labels.len(), N, "{}", family.stem());
    std::array::from_fn(|place| (family.labels[place], values[place]))
}
