//! Amounts as Kubernetes writes them, and the quotas that they count against.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::domain::amount;
use crate::scheduler::SchedulerError;

/// An amount in thousandths; none where the text is no amount.
pub(super) fn thousandths(Quantity(text): &Quantity) -> Option<i128> {
    amount::thousandths(text)
}

/// An amount in whole units, rounded down.
pub(super) fn whole(quantity: &Quantity) -> Option<u64> {
    u64::try_from(thousandths(quantity)? / 1000).ok()
}

/// An amount of memory in MiB, rounded down.
pub(super) fn mebibytes(quantity: &Quantity) -> Option<u64> {
    Some(whole(quantity)? >> 20)
}

/// Refuses a pod that no quota of its namespace could ever hold. One that only has to wait for others is not refused.
///
/// # Errors
/// [`SchedulerError::Denied`] with what was asked, what is used, and the limit.
pub(super) fn check(quotas: &[ResourceQuota], limits: &BTreeMap<String, Quantity>) -> Result<(), SchedulerError> {
    for quota in quotas {
        let spec = quota.spec.clone().unwrap_or_default();
        // A quota with scopes counts some of the pods alone.
        if spec.scopes.is_some() || spec.scope_selector.is_some() {
            continue;
        }
        let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
        for (resource, hard) in spec.hard.iter().flatten() {
            let counted = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits.")).unwrap_or(resource);
            let one = Quantity("1".to_owned());
            let Some(asked) = limits.get(counted).or((counted == "pods").then_some(&one)) else { continue };
            if thousandths(asked).zip(thousandths(hard)).is_some_and(|(asked, hard)| asked > hard) {
                let name = quota.metadata.name.as_deref().unwrap_or_default();
                let used = used.and_then(|used| used.get(resource)).map_or("0", |used| &used.0);
                let message = format!(
                    "exceeded quota: {name}, requested: {resource}={}, used: {resource}={used}, limited: {resource}={}",
                    asked.0, hard.0
                );
                return Err(SchedulerError::Denied(message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_read_in_every_form_that_kubernetes_writes() {
        for (text, expected) in [
            ("1", Some(1000)),
            ("100m", Some(100)),
            ("1.5", Some(1500)),
            ("1Ki", Some(1_024_000)),
            ("2Gi", Some(2_147_483_648_000)),
            ("1e3", Some(1_000_000)),
            ("1E3", Some(1_000_000)),
            ("128M", Some(128_000_000_000)),
            ("0.1m", Some(1)),
            ("", None),
            ("Gi", None),
            ("1Xi", None),
            ("1e999", None),
        ] {
            assert_eq!(thousandths(&Quantity(text.to_owned())), expected, "{text}");
        }
        assert_eq!(whole(&Quantity("3900m".to_owned())), Some(3));
        assert_eq!(mebibytes(&Quantity("1Gi".to_owned())), Some(1024));
    }

    #[test]
    fn only_what_could_never_run_is_refused_with_usage_and_limit() {
        let quota = |hard: serde_json::Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {"name": "jobs"}, "spec": {"hard": hard}, "status": {"used": {"requests.cpu": "3"}}}))
                .unwrap()
        };
        let limits: BTreeMap<String, Quantity> =
            [("cpu", "2"), ("memory", "1Gi")].map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
        assert!(check(&[quota(json!({"requests.cpu": "4", "pods": "1"}))], &limits).is_ok());
        let refused = check(&[quota(json!({"requests.cpu": "1"}))], &limits).unwrap_err().to_string();
        assert_eq!(refused, "exceeded quota: jobs, requested: requests.cpu=2, used: requests.cpu=3, limited: requests.cpu=1");
        assert!(check(&[quota(json!({"limits.memory": "512Mi"}))], &limits).is_err());
        assert!(check(&[quota(json!({"pods": "0"}))], &limits).is_err());
        let mut scoped = quota(json!({"requests.cpu": "1"}));
        scoped.spec.as_mut().unwrap().scopes = Some(vec!["BestEffort".to_owned()]);
        assert!(check(&[scoped], &limits).is_ok());
    }
}
