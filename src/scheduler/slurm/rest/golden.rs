//! Recorded answers of real versions, from `testdata/<version>/`; its README says how they were made.

use serde::de::DeserializeOwned;

use super::wire::Answer;

/// The versions that were recorded.
pub(super) const VERSIONS: [&str; 6] = ["v0.0.36", "v0.0.37", "v0.0.38", "v0.0.40", "v0.0.41", "v0.0.42"];

/// When they were.
pub(super) const NOW: i64 = 1_795_249_803;

/// The status and body of a recorded answer.
pub(super) fn recorded(version: &str, name: &str) -> (u16, Vec<u8>) {
    let folder = format!("{}/src/scheduler/slurm/rest/testdata/{version}", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let file = entry.file_name().into_string().unwrap();
        let mut parts = file.split('.');
        if parts.next() == Some(name) {
            return (parts.next().unwrap().parse().unwrap(), std::fs::read(entry.path()).unwrap());
        }
    }
    panic!("nothing is recorded as {version}/{name}")
}

/// A recorded answer as it is read.
pub(super) fn answer<T: DeserializeOwned>(version: &str, name: &str) -> Answer<T> {
    serde_json::from_slice(&recorded(version, name).1).unwrap_or_else(|error| panic!("{version}/{name}: {error}"))
}

/// The records of a recorded answer that went well.
pub(super) fn records<T: DeserializeOwned>(version: &str, name: &str) -> Vec<T> {
    let (records, faults) = answer(version, name).into_records();
    assert!(faults.is_empty(), "{version}/{name}: {faults:?}");
    records.unwrap()
}
