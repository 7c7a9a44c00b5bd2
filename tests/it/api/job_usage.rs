//! The resources that jobs have used, and the limits of jobs.

use goldcrest::domain::{AssociationLimits, FairShare, JobId, JobLimits, JobUsage, PartitionLimits, QosLimits, ResourceUsage};
use serde_json::json;

use super::Api;
use super::doubles::Reply;

#[tokio::test]
async fn what_jobs_have_used_is_summed_by_user_and_account() {
    let job = |id: &str, user: &str, cpu_seconds| JobUsage {
        id: JobId::new(id).unwrap(),
        user: Some(user.to_owned()),
        account: Some("g1".to_owned()),
        resources: ResourceUsage { cpu_seconds: Some(cpu_seconds), energy: Some(7), ..ResourceUsage::default() },
    };
    let call = r#"alice: usage AccountingQuery { all_users: true, account: Some("g1"), jobs: [], since: Some(1767225600), until: Some(1769904000) }"#;
    let api = Api::new(vec![(call, Reply::Usage(vec![job("1", "alice", 10), job("2", "bob", 20)]))], vec![]);
    let answer = api.get("/compute/daint/usage?allusers=1&account=g1&starttime=2026-01-01&endtime=2026-02-01").await;
    let total = json!({"jobs": 2, "cpuSeconds": 30, "energy": 14});
    let users = json!({"alice": {"jobs": 1, "cpuSeconds": 10, "energy": 7}, "bob": {"jobs": 1, "cpuSeconds": 20, "energy": 7}});
    assert_eq!((answer.status, answer.json()), (200, json!({"total": total, "users": users, "accounts": {"g1": total}})));
    let call = r#"alice: usage AccountingQuery { all_users: false, account: None, jobs: [JobId("1")], since: None, until: None }"#;
    let api = Api::new(vec![(call, Reply::Usage(vec![job("1", "alice", 10)]))], vec![]);
    assert_eq!(api.get("/compute/daint/usage?jobs=1").await.json()["jobs"]["1"]["cpuSeconds"], 10);
    assert_eq!(Api::new(vec![], vec![]).get("/compute/daint/usage?starttime=soon").await.status, 400);
}

#[tokio::test]
async fn limits_are_shown_and_what_is_not_limited_is_absent() {
    let partition = PartitionLimits { name: "normal".to_owned(), is_default: true, max_time: Some(86_400), ..PartitionLimits::default() };
    let fair_share = Some(FairShare { shares: "1".to_owned(), factor: Some(0.5), ..FairShare::default() });
    let limits = JobLimits {
        partitions: vec![partition],
        qos: Some(vec![QosLimits { name: "high".to_owned(), max_jobs_per_user: Some(2), ..QosLimits::default() }]),
        associations: Some(vec![AssociationLimits { account: "g1".to_owned(), fair_share, ..AssociationLimits::default() }]),
    };
    let answer = Api::new(vec![("alice: limits", Reply::Limits(limits))], vec![]).get("/status/daint/limits").await;
    let expected = json!({
        "partitions": [{"name": "normal", "isDefault": true, "maxTime": 86_400}],
        "qos": [{"name": "high", "maxJobsPerUser": 2}],
        "associations": [{"account": "g1", "qos": [], "fairShare": {"shares": "1", "factor": 0.5}}],
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
}
