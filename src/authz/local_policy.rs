//! Rules from the configuration.

use async_trait::async_trait;

use super::{Authorizer, AuthzError, Decision, PolicyConfig, Relation, Rule};
use crate::domain::{Principal, SystemName};

const ALL: &str = "*";

/// The authorizer over [`PolicyConfig`]: what no rule allows is refused.
pub struct LocalPolicy(PolicyConfig);

impl LocalPolicy {
    /// Takes the rules; system names are compared in lower case.
    pub fn new(mut config: PolicyConfig) -> Self {
        for system in config.rules.iter_mut().flat_map(|rule| &mut rule.systems) {
            system.make_ascii_lowercase();
        }
        Self(config)
    }

    /// The policy of a site without one: every caller may use every cluster.
    pub fn open() -> Self {
        let all = || vec![ALL.to_owned()];
        Self(PolicyConfig { rules: vec![Rule { systems: all(), users: all(), groups: Vec::new(), clients: Vec::new() }] })
    }
}

#[async_trait]
impl Authorizer for LocalPolicy {
    async fn check(&self, principal: &Principal, relation: Relation, system: &SystemName) -> Result<Decision, AuthzError> {
        let Relation::Access = relation;
        let allowed = self.0.rules.iter().any(|rule| {
            names(&rule.systems, [system.as_str()])
                && (names(&rule.users, [principal.username.as_str()])
                    || names(&rule.groups, principal.groups.iter().map(String::as_str))
                    || names(&rule.clients, principal.client_id.as_deref()))
        });
        Ok(if allowed { Decision::Allowed } else { Decision::Denied })
    }
}

/// True when the list names one of the values; `*` names any value, but not the lack of one.
fn names<'a>(list: &[String], values: impl IntoIterator<Item = &'a str>) -> bool {
    values.into_iter().any(|value| list.iter().any(|entry| entry == ALL || entry == value))
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::*;
    use crate::domain::{Secret, Username};

    fn principal(user: &str, groups: &[&str], client: Option<&str>) -> Principal {
        Principal {
            username: Username::new(user).unwrap(),
            subject: user.to_owned(),
            client_id: client.map(str::to_owned),
            email: None,
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            scopes: Vec::new(),
            expires_at: jiff::Timestamp::now(),
            token: Secret::from(String::new()),
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    async fn decide(policy: &LocalPolicy, principal: &Principal, system: &str) -> Decision {
        policy.check(principal, Relation::Access, &SystemName::new(system).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn what_no_rule_allows_is_refused() {
        let policy = LocalPolicy::new(PolicyConfig { rules: Vec::new() });
        assert_eq!(decide(&policy, &principal("ann", &["staff"], None), "daint").await, Decision::Denied);
    }

    #[tokio::test]
    async fn a_rule_allows_users_groups_or_clients_on_its_systems() {
        let rule = Rule { systems: list(&["Daint"]), users: list(&["ann"]), groups: list(&["/staff"]), clients: list(&["health"]) };
        let policy = LocalPolicy::new(PolicyConfig { rules: vec![rule] });
        assert_eq!(decide(&policy, &principal("ann", &[], None), "daint").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("bob", &["/staff"], None), "DAINT").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("bob", &[], Some("health")), "daint").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("bob", &["/staffers"], Some("heal")), "daint").await, Decision::Denied);
        assert_eq!(decide(&policy, &principal("ann", &[], None), "eiger").await, Decision::Denied);
    }

    #[tokio::test]
    async fn a_star_stands_for_any_value_but_not_for_none() {
        let anyone_in_a_group = Rule { systems: list(&["*"]), users: list(&[]), groups: list(&["*"]), clients: list(&["*"]) };
        let policy = LocalPolicy::new(PolicyConfig { rules: vec![anyone_in_a_group] });
        assert_eq!(decide(&policy, &principal("ann", &["x"], None), "daint").await, Decision::Allowed);
        assert_eq!(decide(&policy, &principal("ann", &[], None), "daint").await, Decision::Denied);
    }
}
