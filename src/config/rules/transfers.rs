//! Rules for `clusters[].data_operation.data_transfer`.

use super::{at_least_one, url};
use crate::config::interpret::Interpreter;
use crate::transfer::{self, DataTransfer};

/// The services of one system, written as one section or as a list.
pub(super) fn services(walk: &mut Interpreter, path: &str, services: &[DataTransfer]) {
    let is_list = walk.is_written(&format!("{path}[0]"));
    for (index, service) in services.iter().enumerate() {
        let path = if is_list { format!("{path}[{index}]") } else { path.to_owned() };
        match service {
            DataTransfer::S3(store) => object_store(walk, &path, store),
            DataTransfer::Streamer(config) => streamer(walk, &path, config),
            DataTransfer::Wormhole(_) => {
                walk.warning(&format!("{path}.service_type"), "wormhole is not built yet: transfers by it are answered with 501");
            }
        }
        let method = service.method();
        if services[..index].iter().any(|other| other.method() == method) {
            walk.report(
                &format!("{path}.service_type"),
                format!("a system has one service of each type, and {} is given twice", method.as_str()),
            );
        }
    }
}

fn streamer(walk: &mut Interpreter, path: &str, config: &transfer::Streamer) {
    let [first, last] = config.port_range;
    if first > last {
        walk.report_allowing(&format!("{path}.port_range"), "ends before it begins", "the first port and the last one");
    }
    at_least_one(walk, &format!("{path}.wait_timeout"), config.wait_timeout);
    if config.public_ips.as_ref().is_some_and(Vec::is_empty) {
        walk.report_allowing(&format!("{path}.public_ips"), "is empty: no client could connect", "a list of addresses or names");
    }
    if config.pypi_index_url.is_some() {
        walk.warning(&format!("{path}.pypi_index_url"), "has no effect: nothing is installed on the cluster");
    }
}

fn object_store(walk: &mut Interpreter, path: &str, config: &transfer::S3) {
    // The minimum size of a part except the last, and the maximum validity of a URL, as S3 has them.
    const MIN_PART: u64 = 5 * 1024 * 1024;
    const MAX_TTL: u64 = 7 * 24 * 60 * 60;
    let key = |name: &str| format!("{path}.{name}");
    url(walk, &key("public_url"), &config.public_url);
    // A secret file that could not be read was reported already.
    if !walk.is_wrong(&key("private_url")) {
        url(walk, &key("private_url"), config.private_url.expose());
    }
    at_least_one(walk, &key("ttl"), config.ttl);
    if config.ttl > MAX_TTL {
        walk.warning(&key("ttl"), format!("is longer than {MAX_TTL} seconds: most stores refuse such URLs"));
    }
    let part = config.multipart.max_part_size;
    at_least_one(walk, &key("multipart.max_part_size"), part);
    if (1..MIN_PART).contains(&part) {
        walk.warning(&key("multipart.max_part_size"), format!("is less than {MIN_PART} bytes: most stores refuse such parts"));
    }
    at_least_one(walk, &key("multipart.parallel_runs"), config.multipart.parallel_runs.into());
    at_least_one(walk, &key("bucket_lifecycle_configuration.days"), config.bucket_lifecycle_configuration.days.into());
}
