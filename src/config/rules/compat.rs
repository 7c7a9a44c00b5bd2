//! Rules for `compat`.

use crate::cluster;
use crate::config::interpret::Interpreter;
use crate::domain::nearest_name;
use crate::http::KbatchConfig;
use crate::scheduler::Config;

const SYSTEM: &str = "compat.kbatch.system";

/// `compat.kbatch`, with all clusters.
pub(in crate::config) fn kbatch(walk: &mut Interpreter, config: Option<&KbatchConfig>, clusters: &[(usize, cluster::Config)]) {
    let Some(config) = config.filter(|config| config.enabled) else { return };
    for (key, message, allowed) in config.mistakes() {
        walk.report_allowing(&format!("compat.kbatch.{key}"), message, allowed);
    }
    // The name of a cluster with a mistake is not known here.
    if walk.has_problem_below("clusters") {
        return;
    }
    let found = clusters.iter().map(|(_, cluster)| cluster).find(|cluster| cluster.name == config.system);
    match found.map(|cluster| &cluster.scheduler) {
        Some(Some(Config::Kubernetes { kubernetes, .. })) => {
            for (name, profile) in &config.profiles {
                if let Some(partition) = profile.partition.as_deref().filter(|name| !kubernetes.kueue && !kubernetes.has_profile(name)) {
                    let key = format!("compat.kbatch.profiles.{name}.partition");
                    walk.report_allowing(&key, format!("is no profile of the system: `{partition}`"), "the name of one, or none");
                }
            }
        }
        Some(_) => {
            walk.report_allowing(SYSTEM, "is a system without Kubernetes", "the name of one whose scheduler is of the type kubernetes")
        }
        None => {
            let nearest = nearest_name(config.system.as_str(), clusters.iter().map(|(_, cluster)| cluster.name.as_str()));
            let hint = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
            walk.report(SYSTEM, format!("is the name of no cluster: `{}`{hint}", config.system));
        }
    }
}
